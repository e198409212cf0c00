"""Which layers count as affine, and how they are tried."""

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
    keras.layers.Lambda(lambda x: 2 * x),
]
NOT_AFFINE = [
    keras.layers.Conv2D(2, 3, activation="relu"),
    keras.layers.Dense(4, activation="tanh", dtype="mixed_bfloat16"),
    keras.layers.MaxPooling2D(2),
    keras.layers.GlobalMaxPooling2D(),
    keras.layers.LayerNormalization(),
    keras.layers.LeakyReLU(),
    keras.Sequential([keras.layers.Conv2D(2, 3), keras.Sequential([keras.layers.ReLU()])]),
    # what the values of the weights, or the size of the inputs, may hide
    keras.Sequential([keras.layers.Dense(4), keras.layers.ReLU(), keras.layers.Dense(4, kernel_initializer="zeros")]),
    keras.Sequential([keras.layers.Dense(8, bias_initializer=keras.initializers.Constant(10.0)), keras.layers.ReLU()]),
    keras.Sequential([keras.layers.Dense(8), keras.layers.LeakyReLU(negative_slope=0.95)]),
    Own(lambda x, _: keras.ops.tanh(x), stddev=0.02),
    Own(lambda x, _: keras.ops.hard_sigmoid(x), stddev=0.01),
    Own(lambda x, _: keras.ops.tanh(x), stddev=0.02, dtype="mixed_bfloat16"),
    Own(lambda x, _: keras.ops.relu(x + 50)),
    Own(lambda x, _: x * keras.ops.cast(keras.ops.abs(x) > 0.1, x.dtype)),
    # what does something else in training
    Own(lambda x, training: x + tf.random.normal(tf.shape(x)) if training else x),
    Own(lambda x, training: (x - keras.ops.mean(x, 0)) if training else x),
    keras.layers.Lambda(lambda x, training=None: tf.nn.dropout(x, 0.5) if training else x),
]


@pytest.mark.parametrize("layer", AFFINE + NOT_AFFINE, ids=lambda layer: layer.name)
def test_is_affine(layer):
    layer.build((None, 6, 6, 3))
    assert (why_not_affine(layer, (6, 6, 3)) is None) == (layer in AFFINE)


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


def test_normalisations_are_refused_by_name():
    for layer in (
        keras.layers.GroupNormalization(2),
        keras.layers.LayerNormalization(),
        keras.layers.UnitNormalization(),
        keras.layers.SpectralNormalization(keras.layers.Dense(4)),
    ):
        synapse = keras.Sequential([keras.layers.Dense(4), layer])
        with pytest.raises(ValueError, match=rf"'{layer.name}' \({type(layer).__name__}\) is a normalisation"):
            ksbp.SpikingRNN(ksbp.ReadoutCell(synapse))(np.ones((2, 5, 3), "float32"))


@pytest.mark.parametrize("gradient", ["accumulated", "bounded"])
def test_random_layers_are_refused_by_name(gradient):
    dense = lambda: keras.layers.Dense(4)  # noqa: E731
    for layer in (
        keras.layers.Dropout(0.5),
        keras.layers.Dropout(0.01, noise_shape=(1, 4)),  # the same for all samples of a call
        keras.layers.GaussianNoise(0.1),
        keras.layers.GaussianDropout(0.3),
        keras.layers.AlphaDropout(0.3),
    ):
        message = rf"`gradient='{gradient}'`.*'{layer.name}' \({type(layer).__name__}\) draws random.*LIFCell\(dropout="
        for cell in (
            ksbp.SequentialCell([ksbp.LIFCell(dense()), layer, ksbp.ReadoutCell(dense())]),
            ksbp.LIFCell(keras.Sequential([dense(), layer])),
            ksbp.ResidualCell(ksbp.LIFCell(dense()), ksbp.LIFCell(dense()), keras.Sequential([dense(), layer])),
        ):
            with pytest.raises(ValueError, match=message):
                ksbp.SpikingRNN(cell, gradient)(np.ones((2, 5, 4), "float32"))


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


def test_the_trial_leaves_the_layer_as_it_was():
    layer = keras.Sequential([keras.layers.Dense(4), keras.layers.Dropout(0.5), Diagonal()])
    layer.build((None, 3))
    before = [v.numpy() for v in layer.variables]
    assert why_not_affine(layer, (3,)) is not None
    for variable, value in zip(layer.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_a_layer_that_refuses_the_inputs_of_the_trial():
    def spikes_only(x, _):
        tf.debugging.assert_less_equal(tf.abs(x), 100.0)
        return x

    with pytest.raises(
        ValueError,
        match=r"(?s)'picky' \(Own\) is not: on random inputs of -\d+ to \d+ it raises Invalid.*bptt",
    ):
        ksbp.SpikingRNN(ksbp.LIFCell(Own(spikes_only, name="picky")))(np.ones((2, 5, 3), "float32"))


def test_a_layer_built_in_a_function():
    """Its weights have no value there yet."""
    x = tf.ones((2, 5, 3))
    layer = ksbp.SpikingRNN(ksbp.ReadoutCell(keras.Sequential([Own(), Diagonal()])))
    outputs = tf.function(lambda x: layer(x))(x)
    np.testing.assert_allclose(outputs, layer(x), rtol=1e-6)
    bad = ksbp.SpikingRNN(ksbp.ReadoutCell(keras.layers.Dense(4, activation="relu")))
    with pytest.raises(ValueError, match="has activation='relu'"):
        tf.function(lambda x: bad(x))(x)


def test_a_layer_built_for_several_devices():
    with tf.distribute.MirroredStrategy(["cpu:0"]).scope():
        layer = ksbp.SpikingRNN(ksbp.LIFCell(keras.Sequential([keras.layers.Dense(4), Own()])))
        assert layer(np.ones((2, 5, 3), "float32")).shape == (2, 4)
        with pytest.raises(ValueError, match="activation"):
            ksbp.SpikingRNN(ksbp.LIFCell(Own(lambda x, _: keras.ops.tanh(x))))(np.ones((2, 5, 3), "float32"))


def test_a_shared_layer():
    shared = keras.layers.Dense(3)
    cell = ksbp.SequentialCell([ksbp.LIFCell(shared), ksbp.LIFCell(shared)])
    assert ksbp.SpikingRNN(cell)(np.ones((2, 5, 3), "float32")).shape == (2, 3)


def test_a_block_of_the_users_with_batch_normalisation_is_told_what_to_do():
    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="block")
            self.dense, self.norm = keras.layers.Dense(3), keras.layers.BatchNormalization(name="norm")

        def call(self, inputs, training=None):
            return self.norm(self.dense(inputs), training=training)

    with pytest.raises(ValueError, match="'block'.*'norm' at an unknown place. Put its layers into a keras.Sequential"):
        ksbp.SpikingRNN(ksbp.LIFCell(Block())).build((None, 3, 5))


def test_the_trial_leaves_the_training_flag_that_keras_passes_on():
    """In a model that is built while it is called, as by its first batch."""

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.rnn = ksbp.SpikingRNN(ksbp.ReadoutCell(keras.layers.Dense(3)))
            self.drop = keras.layers.Dropout(0.99)

        def build(self, shape):
            self.built = True

        def call(self, x, training=None):
            return self.drop(self.rnn(x))

    net, x = Net(), np.ones((64, 5, 4), "float32")
    assert [(net(x, training=True).numpy() == 0).mean() > 0.9 for _ in range(2)] == [True, True]
