"""The losses against NumPy."""

import keras
import numpy as np
import pytest

from keras_spiking_bp import losses

RNG = np.random.default_rng(0)
PREDICTIONS = RNG.normal(size=(5, 3)).astype("float32")
LABELS = np.array([0, 2, 1, 1, 0])
ONE_HOT = np.eye(3, dtype="float32")[LABELS]
EXPECTED = ((PREDICTIONS - ONE_HOT) ** 2).sum()


def test_sum_over_classes_and_batch():
    np.testing.assert_allclose(losses.SumSquaredError()(ONE_HOT, PREDICTIONS), EXPECTED, rtol=1e-6)


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], LABELS.astype("float32")])
def test_integer_labels(labels):
    np.testing.assert_allclose(losses.SparseSumSquaredError()(labels, PREDICTIONS), EXPECTED, rtol=1e-6)


@pytest.mark.parametrize("loss", [losses.SumSquaredError, losses.SparseSumSquaredError])
def test_round_trip(loss):
    made = keras.losses.deserialize(keras.losses.serialize(loss(reduction="sum_over_batch_size")))
    assert type(made) is loss and made.reduction == "sum_over_batch_size"


def test_wrong_labels_are_explained():
    with pytest.raises(ValueError, match=r"`y_true` must be one-hot.*SparseSumSquaredError"):
        losses.SumSquaredError()(LABELS, PREDICTIONS)
    with pytest.raises(ValueError, match=r"`y_true` must be integer labels.*SumSquaredError"):
        losses.SparseSumSquaredError()(ONE_HOT, PREDICTIONS)
