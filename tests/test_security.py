"""What SECURITY.md promises: these files cannot run code."""

import sys

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from keras_spiking_bp.training.state import restore_state
from tests.networks import noisy_patterns


def leave_a_trace(x):
    sys.loaded_code_ran = True
    return x


@pytest.fixture
def trace():
    yield lambda: getattr(sys, "loaded_code_ran", False)
    if hasattr(sys, "loaded_code_ran"):
        del sys.loaded_code_ran


def test_python_code_inside_of_a_cell_is_refused(tmp_path, trace):
    synapse = keras.Sequential([keras.layers.Lambda(lambda x: leave_a_trace(x)), keras.layers.Dense(2)])
    layer = ksbp.SpikingRNN(ksbp.ReadoutCell(synapse), gradient="bptt")
    inputs = keras.Input((4, 3))
    keras.Model(inputs, layer(inputs)).save(tmp_path / "model.keras")
    assert trace()
    del sys.loaded_code_ran
    with pytest.raises(ValueError, match="lambda"):
        keras.models.load_model(tmp_path / "model.keras")
    assert not trace()


def test_only_listed_attributes_of_callbacks_are_set():
    stop = keras.callbacks.EarlyStopping("loss", patience=3)
    restore_state([stop], {"EarlyStopping-loss-0/wait": np.array(2), "EarlyStopping-loss-0/patience": np.array(99)})
    assert (stop.wait, stop.patience) == (2, 3)


class Payload:
    def __reduce__(self):
        return leave_a_trace, (1,)


@pytest.mark.parametrize("name", ["callbacks.npz", "metrics.npz", "statistics.npz", "variables.npz"])
def test_a_pickle_in_a_checkpoint_is_refused(name, tmp_path, trace):
    images, labels = noisy_patterns(8, (4, 4, 1))
    model = ksbp.models.spiking_vgg(
        (4, 4, 1), 4, [(4, 3)], [], num_steps=3, normalization="batch", seed=0, preset="paper"
    )
    model.compile("sgd", ksbp.losses.SparseSumSquaredError(), metrics=["accuracy"])
    callback = keras.callbacks.EarlyStopping("accuracy")
    checkpoint = ksbp.training.checkpoint.Checkpoint(tmp_path, ksbp.datasets.Batches(images, labels, 4))
    batch = images[:4], labels[:4]
    checkpoint.restore(model, batch, [callback])
    checkpoint.save(model, ksbp.training.checkpoint.Position(epoch=0, batch=1), [callback])
    (saved,) = tmp_path.glob(f"epoch-*/{name}")
    with np.load(saved) as arrays:
        keys = list(arrays) or ["EarlyStopping-accuracy-0/wait"]
    np.savez(saved, **{key: np.array([Payload()], object) for key in keys})
    with pytest.raises(ValueError, match="allow_pickle=False"):
        checkpoint.restore(model, batch, [callback])
        checkpoint.restore_metrics(model)
    assert not trace()
