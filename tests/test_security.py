"""What SECURITY.md promises: these files cannot run code."""

import sys

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from keras_spiking_bp.training.state import restore_state


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
