"""Names in a converted network: no two are the same, whatever the layers of the ANN are called."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_spiking_bp as ksbp
from tests.conversion.limit import in_the_limit
from tests.conversion.test_convert import trained_looking

IMAGES = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 3)).astype("float32")


def branches():
    """A convolution without neurons that is called as the first cell would be."""
    inputs = keras.Input((8, 8, 3))
    first = layers.Conv2D(4, 3, padding="same", name="conv1")(inputs)
    x = layers.Conv2D(4, 3, padding="same", name="conv2", activation="relu")(layers.ReLU()(first))
    x = layers.MaxPooling2D(2)(layers.ReLU()(layers.Add(name="pool1")([first, x])))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten(name="readout")(x)))


def row():
    parts = [layers.Conv2D(4, 3, name="conv1"), layers.Conv2D(4, 3, activation="relu", name="conv2")]
    return keras.Sequential([keras.Input((8, 8, 3)), *parts, layers.Flatten(name="readout"), layers.Dense(3)])


@pytest.mark.parametrize("build", [branches, row])
def test_no_two_layers_have_the_same_name(build):
    ann = trained_looking(build())
    snn = ksbp.convert_to_snn(ann, IMAGES, 4, percentile=100, calibrate_biases=True)
    cell = snn.get_layer("time").cell
    parts = cell.layers if isinstance(cell, ksbp.GraphCell) else cell.cells
    names = [part.name for part in parts]
    assert len(names) == len(set(names)) and {"conv1", "conv1_1", "readout", "readout_1"} <= set(names)
    assert ksbp.ann_counterpart(snn)(IMAGES).shape == (6, 3)
    snn = ksbp.convert_to_snn(ann, IMAGES, 4, percentile=100)
    expected = ann.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(in_the_limit(snn, IMAGES), expected, atol=1e-5 * np.abs(expected).max())
