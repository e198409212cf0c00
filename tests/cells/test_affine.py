"""Which layers count as affine."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.cells.affine import why_not_affine


class Own(keras.layers.Layer):
    """A user's own layer: a dense map, then `function`, which no attribute tells of."""

    def __init__(self, function=None, units=4, stddev=1.0, **kwargs):
        super().__init__(**kwargs)
        self.function, self.units, self.stddev = function, units, stddev
        self.is_affine = function is None

    def build(self, input_shape):
        initializer = keras.initializers.RandomNormal(self.stddev)
        self.matrix = self.add_weight(shape=(input_shape[-1], self.units), initializer=initializer)

    def call(self, inputs, training=None):
        currents = inputs @ keras.ops.convert_to_tensor(self.matrix)
        return currents if self.function is None else self.function(currents, training)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)


class Diagonal(keras.layers.Layer):
    """Takes the root of a weight, as normalisations do of a variance."""

    is_affine = True

    def build(self, input_shape):
        self.variance = self.add_weight(shape=(input_shape[-1],), initializer="ones", trainable=False)

    def call(self, inputs):
        return inputs / keras.ops.sqrt(self.variance)


def deep(dtype):
    return keras.Sequential([keras.layers.Dense(16, dtype=dtype, bias_initializer="ones") for _ in range(4)])


AFFINE = [
    keras.layers.Conv2D(2, 3),
    keras.layers.Conv2D(2, 3, dtype="mixed_bfloat16"),
    keras.layers.Conv2D(2, 3, dtype="mixed_float16"),
    keras.layers.DepthwiseConv2D(3),
    keras.layers.SeparableConv2D(4, 3),
    keras.layers.Conv2DTranspose(4, 3),
    keras.layers.AveragePooling2D(2),
    keras.layers.GlobalAveragePooling2D(),
    keras.layers.Flatten(),
    keras.layers.Dense(4, bias_initializer="ones"),
    keras.layers.Dense(4, activation="linear", kernel_initializer="zeros"),
    keras.layers.EinsumDense("abcd,de->abce", output_shape=(None, None, 8), bias_axes="e"),
    keras.Sequential([keras.layers.ZeroPadding2D(1), keras.layers.Conv2D(2, 3, strides=2)]),
    keras.Sequential([keras.layers.Dense(4), keras.layers.Dropout(0.0)]),
    deep("float32"),
    deep("mixed_bfloat16"),
    deep("mixed_float16"),
    Own(),
    Own(dtype="mixed_bfloat16"),
    Diagonal(),
    keras.layers.BatchNormalization(),  # in the time loop
    keras.layers.UpSampling2D(2),
]
NOT_AFFINE = [
    keras.layers.Conv2D(2, 3, activation="relu"),
    keras.layers.Dense(4, activation="tanh", dtype="mixed_bfloat16"),
    keras.layers.MaxPooling2D(2),
    keras.layers.GlobalMaxPooling2D(),
    keras.layers.LayerNormalization(),
    keras.layers.LeakyReLU(),
    keras.Sequential([keras.layers.Conv2D(2, 3), keras.Sequential([keras.layers.ReLU()])]),
    Own(lambda x, _: keras.ops.tanh(x)),
    keras.layers.Lambda(lambda x: 2 * x),
]


@pytest.mark.parametrize("layer", AFFINE + NOT_AFFINE, ids=lambda layer: layer.name)
def test_is_affine(layer):
    layer.build((None, 6, 6, 3))
    assert (why_not_affine(layer) is None) == (layer in AFFINE)


def test_activations_are_refused_by_name():
    normal = keras.initializers.RandomNormal
    for activation, arguments in {
        "hard_sigmoid": {"kernel_initializer": normal(stddev=0.3)},
        "tanh": {"kernel_initializer": normal(stddev=0.02)},
        "relu": {"bias_initializer": keras.initializers.Constant(10.0)},
    }.items():
        dense = keras.layers.Dense(4, activation=activation, **arguments)
        for layer in (dense, keras.Sequential([dense, keras.layers.Dense(4, kernel_initializer="zeros")])):
            message = rf"'{layer.name}'.*'{dense.name}' \(Dense\) has activation='{activation}'.*gradient='bptt'"
            with pytest.raises(ValueError, match=message):
                ksbp.SpikingRNN(ksbp.LIFCell(layer))(np.ones((2, 5, 3), "float32"))


def test_batch_normalisation_is_affine_in_the_loop():
    synapse = keras.Sequential([keras.layers.Dense(4), keras.layers.BatchNormalization()])
    ksbp.SpikingRNN(ksbp.ReadoutCell(synapse))(np.ones((2, 5, 3), "float32"))


def test_random_layers_are_refused_by_name():
    dense = lambda: keras.layers.Dense(4)  # noqa: E731
    for layer in (
        keras.layers.Dropout(0.5),
        keras.layers.Dropout(0.01, noise_shape=(1, 4)),  # the same for all samples of a call
        keras.layers.GaussianNoise(0.1),
        keras.layers.GaussianDropout(0.3),
        keras.layers.AlphaDropout(0.3),
    ):
        message = (
            rf"`gradient='accumulated'`.*'{layer.name}' \({type(layer).__name__}\) draws random.*LIFCell\(dropout="
        )
        for cell in (
            ksbp.SequentialCell([ksbp.LIFCell(dense()), layer, ksbp.ReadoutCell(dense())]),
            ksbp.LIFCell(keras.Sequential([dense(), layer])),
            ksbp.ResidualCell(ksbp.LIFCell(dense()), ksbp.LIFCell(dense()), keras.Sequential([dense(), layer])),
        ):
            with pytest.raises(ValueError, match=message):
                ksbp.SpikingRNN(cell)(np.ones((2, 5, 4), "float32"))


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
    np.testing.assert_allclose(np.diag(gradient), masks.mean(1).sum(0), rtol=1e-5 if dtype == "float32" else 4e-3)
    assert np.any(run()[0] != outputs)  # the stream goes on


def test_a_layer_built_in_a_function():
    """Its weights have no value there yet."""
    x = tf.ones((2, 5, 3))
    layer = ksbp.SpikingRNN(ksbp.ReadoutCell(keras.Sequential([Own(), Diagonal()])))
    outputs = tf.function(lambda x: layer(x))(x)
    np.testing.assert_allclose(outputs, layer(x), rtol=1e-6)
    bad = ksbp.SpikingRNN(ksbp.ReadoutCell(keras.layers.Dense(4, activation="relu")))
    with pytest.raises(ValueError, match="has activation='relu'"):
        tf.function(lambda x: bad(x))(x)


def test_a_shared_layer():
    shared = keras.layers.Dense(3)
    cell = ksbp.SequentialCell([ksbp.LIFCell(shared), ksbp.LIFCell(shared)])
    assert ksbp.SpikingRNN(cell)(np.ones((2, 5, 3), "float32")).shape == (2, 3)


def test_a_block_of_the_users_with_batch_normalisation_is_told_what_to_do():
    class Block(keras.layers.Layer):
        is_affine = True

        def __init__(self):
            super().__init__(name="block")
            self.dense, self.norm = keras.layers.Dense(3), keras.layers.BatchNormalization(name="norm")

        def call(self, inputs, training=None):
            return self.norm(self.dense(inputs), training=training)

    with pytest.raises(ValueError, match="'block'.*'norm' at an unknown place. Put its layers into a keras.Sequential"):
        ksbp.SpikingRNN(ksbp.LIFCell(Block())).build((None, 3, 5))
