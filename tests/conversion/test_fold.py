"""Batch normalisation folded into kernel and bias: the same currents from one synapse."""

import keras
import numpy as np
import pytest

from keras_spiking_bp.conversion.fold import without_normalization
from tests.networks import exact_with_statistics

SHAPE = (12, 12, 2)


def normalization(**settings):
    return keras.layers.BatchNormalization(epsilon=2.0**-10, **settings)


def synapse(*layers):
    return keras.Sequential([keras.Input(SHAPE), *layers])


@pytest.mark.parametrize("layers", [
    lambda: [keras.layers.Conv2D(6, 3, padding="same", use_bias=False)],
    lambda: [keras.layers.ZeroPadding2D(1), keras.layers.Conv2D(8, 3, strides=2)],
    lambda: [keras.layers.DepthwiseConv2D(3, depth_multiplier=2)],
    lambda: [keras.layers.Flatten(), keras.layers.Dense(10, kernel_constraint="unit_norm", bias_regularizer="l1")],
])  # fmt: skip
def test_equal_currents(layers):
    model = exact_with_statistics(synapse(*layers(), normalization()))
    before = model.get_weights()
    folded = without_normalization(model)
    assert not folded.losses and [weight.constraint for weight in folded.weights] == [None, None]
    spikes = np.random.default_rng(1).integers(-1, 2, (3, *SHAPE)).astype("float32")
    expected = model(spikes).numpy()
    assert expected.std() > 0.1
    np.testing.assert_array_equal(folded(spikes), expected)
    np.testing.assert_equal(model.get_weights(), before)


class Standardised(keras.layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel - keras.ops.mean(kernel, axis=(0, 1, 2)))


class Centred(keras.layers.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return inputs - self.moving_mean


def inside(x):
    return keras.Model(x, keras.layers.BatchNormalization(name="norm")(x), name="whole")


@pytest.mark.parametrize(("layers", "match"), [
    ([inside(keras.Input(SHAPE))], "it is inside of 'sequential"),
    ([keras.layers.AveragePooling2D(2, name="mean"), normalization(name="norm")], "it stands behind 'mean'"),
    ([keras.layers.Conv2D(2, 3, activation="relu", name="rectified"), normalization(name="norm")],
     "'rectified' before it has the activation"),
    ([normalization(name="norm")], "there is no layer before it"),
    ([Standardised(2, 3, name="conv"), normalization(name="norm")],
     "'conv' is unknown: its class has a `convolution_op`.*Conv2D"),
    ([keras.layers.Conv2D(2, 3), Centred(name="norm")], "'norm' is unknown: its class has a `call`"),
    ([keras.layers.Conv2D(2, 3), normalization(axis=1, name="norm")], "it has axis=1"),
])  # fmt: skip
def test_what_cannot_be_folded_is_refused_by_name(layers, match):
    with pytest.raises(ValueError, match=f"batch normalisation 'norm' cannot be folded.*{match}"):
        without_normalization(synapse(*layers))
