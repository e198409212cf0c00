"""Calibration of biases: which of them may be changed, and how much memory it takes."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_spiking_bp as ksbp
from keras_spiking_bp.conversion import bias
from keras_spiking_bp.conversion.read import read
from tests.conversion.test_convert import trained_looking

IMAGES = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 3)).astype("float32")


@pytest.mark.parametrize("between, changed", [
    (layers.ZeroPadding2D(1), False),  # the neurons at its places get no bias
    (layers.Permute((3, 1, 2)), False),  # the channels are elsewhere
    (layers.Reshape((4, 16, 8)), True),
    (layers.Cropping2D(1), True),
    (layers.AveragePooling2D(2), True),
])  # fmt: skip
def test_a_bias_is_changed_only_if_it_reaches_each_neuron_of_its_channel(between, changed):
    conv = layers.Conv2D(8, 3, padding="same", name="before")
    parts = [keras.Input((8, 8, 3)), conv, between, layers.ReLU(), layers.Flatten(), layers.Dense(3)]
    ann = trained_looking(keras.Sequential(parts))

    def bias_before(calibrate_biases):
        snn = ksbp.convert_to_snn(ann, IMAGES, 4, calibrate_biases=calibrate_biases)
        return next(weight for weight in snn.weights if "bias" in weight.path and weight.shape == (8,)).numpy()

    assert (np.abs(bias_before(True) - bias_before(False)).max() > 1e-4) == changed


def test_a_bias_of_one_channel_that_is_added_to_all_is_left():
    inputs = keras.Input((8, 8, 3))
    one, all_three = layers.Conv2D(1, 1, name="one")(inputs), layers.Conv2D(3, 1, name="all")(inputs)
    x = layers.ReLU(name="sum")(layers.Add()([one, all_three]))
    graph = read(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))))
    assert bias._holder(graph, "sum").name == "all"
