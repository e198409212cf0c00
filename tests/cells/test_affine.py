"""Which layers count as affine."""

import keras
import pytest

from keras_spiking_bp.cells.affine import is_affine

AFFINE = [
    keras.layers.Conv2D(2, 3),
    keras.layers.Conv2D(2, 3, dtype="mixed_bfloat16"),
    keras.layers.DepthwiseConv2D(3),
    keras.layers.AveragePooling2D(2),
    keras.layers.GlobalAveragePooling2D(),
    keras.layers.Flatten(),
    keras.layers.Dense(4, bias_initializer="ones"),
    keras.Sequential([keras.layers.ZeroPadding2D(1), keras.layers.Conv2D(2, 3, strides=2)]),
]
NOT_AFFINE = [
    keras.layers.Conv2D(2, 3, activation="relu"),
    keras.layers.Dense(4, activation="tanh", dtype="mixed_bfloat16"),
    keras.layers.MaxPooling2D(2),
    keras.layers.GlobalMaxPooling2D(),
    keras.layers.LayerNormalization(),
    keras.layers.BatchNormalization(),
    keras.layers.LeakyReLU(),
    keras.Sequential([keras.layers.Conv2D(2, 3), keras.Sequential([keras.layers.ReLU()])]),
]


@pytest.mark.parametrize("layer", AFFINE + NOT_AFFINE, ids=lambda layer: layer.name)
def test_is_affine(layer):
    layer.build((None, 6, 6, 3))
    assert is_affine(layer, (6, 6, 3)) == (layer in AFFINE)
