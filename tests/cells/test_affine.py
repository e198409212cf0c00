"""Which layers count as affine."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.cells.affine import why_not_affine


class Own(keras.layers.Layer):
    """A user's own layer: it says itself that it is affine, or does not."""

    def __init__(self, is_affine=True, **kwargs):
        super().__init__(**kwargs)
        self.is_affine = is_affine

    def build(self, input_shape):
        self.matrix = self.add_weight(shape=(input_shape[-1], 4))

    def call(self, inputs):
        return inputs @ keras.ops.convert_to_tensor(self.matrix)


AFFINE = [
    keras.layers.Conv2D(2, 3),
    keras.layers.Conv2D(2, 3, dtype="mixed_bfloat16"),
    keras.layers.DepthwiseConv2D(3),
    keras.layers.SeparableConv2D(4, 3),
    keras.layers.Conv2DTranspose(4, 3),
    keras.layers.AveragePooling2D(2),
    keras.layers.GlobalAveragePooling2D(),
    keras.layers.Flatten(),
    keras.layers.Dense(4, bias_initializer="ones"),
    keras.layers.EinsumDense("abcd,de->abce", output_shape=(None, None, 8), bias_axes="e"),
    keras.Sequential([keras.layers.ZeroPadding2D(1), keras.layers.Conv2D(2, 3, strides=2)]),
    keras.Sequential([keras.layers.Dense(4), keras.layers.Dropout(0.0)]),
    Own(),
    keras.layers.BatchNormalization(),  # in the time loop
    keras.layers.UpSampling2D(2),
]
NOT_AFFINE = [
    keras.layers.Conv2D(2, 3, activation="relu"), keras.layers.Dense(4, activation="tanh", dtype="mixed_bfloat16"),
    keras.layers.MaxPooling2D(2), keras.layers.LayerNormalization(), keras.layers.LeakyReLU(),
    keras.Sequential([keras.layers.Conv2D(2, 3), keras.Sequential([keras.layers.ReLU()])]), Own(is_affine=False),
    keras.layers.Lambda(lambda x: 2 * x),
]  # fmt: skip


@pytest.mark.parametrize("layer", AFFINE + NOT_AFFINE, ids=lambda layer: layer.name)
def test_is_affine(layer):
    layer.build((None, 6, 6, 3))
    assert (why_not_affine(layer) is None) == (layer in AFFINE)


def test_a_rate_of_zero_is_no_randomness():
    """At its making or later: what counts is whether it draws."""
    dropout = keras.layers.Dropout(0.5)
    dropout.rate = 0.0
    cell = ksbp.SequentialCell([ksbp.LIFCell(keras.layers.Dense(4)), keras.layers.Dropout(0.0), dropout])
    assert ksbp.SpikingRNN(cell)(np.ones((2, 5, 3), "float32"), training=True).shape == (2, 4)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_under_bptt_a_random_layer_draws_at_each_step_and_its_derivative_is_that_of_its_masks(dtype):
    kernel = {"use_bias": False, "kernel_initializer": "identity", "dtype": dtype}
    cells = [
        ksbp.LIFCell(keras.layers.Dense(16, **kernel), beta=1.0, threshold=0.5),
        keras.layers.Dropout(0.5, seed=1),
        ksbp.ReadoutCell(keras.layers.Dense(16, **kernel), beta=1.0),
    ]
    layer = ksbp.SpikingRNN(ksbp.SequentialCell(cells), "bptt", return_sequences=True)
    x = tf.ones((2, 6, 16))
    layer.build(x.shape)

    @tf.function
    def run():
        with tf.GradientTape() as tape:
            outputs = layer(x, training=True)  # V[t] / t
            last = tf.reduce_sum(outputs[:, -1])
        return outputs, tape.gradient(last, layer.trainable_variables[1].value)

    outputs, gradient = run()
    masks = np.diff(np.arange(7)[None, :, None] * np.pad(outputs, ((0, 0), (1, 0), (0, 0))), axis=1)
    assert set(np.unique(masks.round(4))) == {0, 2}
    assert all((masks[:, t] != masks[:, 0]).any() for t in range(1, 6))
    np.testing.assert_allclose(np.diag(gradient), masks.mean(1).sum(0), rtol=1e-5 if dtype == "float32" else 8e-3)
    assert np.any(run()[0] != outputs)  # the stream goes on


class Block(keras.layers.Layer):
    is_affine = True

    def __init__(self):
        super().__init__(name="block")
        self.dense, self.norm = keras.layers.Dense(3), keras.layers.BatchNormalization(name="norm")

    def call(self, inputs, training=None):
        return self.norm(self.dense(inputs), training=training)


def dense(**kwargs):
    return keras.layers.Dense(4, name="dense", **kwargs)


def dropout():
    return keras.layers.Dropout(0.5, name="dropout")


@pytest.mark.parametrize(("make", "argument"), [
    (lambda: ksbp.LIFCell(dense(activation="tanh")), "activation"),
    (lambda: ksbp.LIFCell(keras.Sequential([dense(activation="relu"), keras.layers.ReLU(name="r")])), "activation"),
    (lambda: ksbp.SequentialCell([ksbp.LIFCell(dense()), dropout(), ksbp.ReadoutCell(dense())]), "'dropout'"),
    (lambda: ksbp.LIFCell(keras.Sequential([dense(), dropout()])), "'dropout'"),
    (lambda: ksbp.LIFCell(keras.Sequential([dense(), keras.layers.GaussianNoise(0.1, name="noise")])), "'noise'"),
    (lambda: ksbp.LIFCell(Block()), "'norm'"),
])  # fmt: skip
def test_refused(make, argument):
    with pytest.raises(ValueError, match=argument):
        ksbp.SpikingRNN(make())(np.ones((2, 5, 4), "float32"))
