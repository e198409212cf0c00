"""Converted networks: what they give approaches what the ordinary network gives, as 1 / num_steps."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_spiking_bp as ksbp
from keras_spiking_bp.rnn.spiking_model import input_over_time
from tests.slow import slow

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 1, (24, 12, 12, 2)).astype("float32")


def normalised_conv(x, filters, strides=1, relu=True):
    x = layers.Conv2D(filters, 3, strides=strides, padding="same")(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.ReLU()(x) if relu else x


def residual():
    """Max pooling; residual blocks with an identity, a convolution and a closed body; depthwise; global pooling."""
    x = inputs = keras.Input((12, 12, 2))
    x = layers.MaxPooling2D(2)(normalised_conv(x, 8))
    x = layers.ReLU()(layers.Add()([normalised_conv(normalised_conv(x, 8), 8, relu=False), x]))
    around = layers.BatchNormalization()(layers.Conv2D(10, 1, strides=2)(x))
    body = normalised_conv(normalised_conv(x, 10, 2), 10, relu=False)
    x = layers.ReLU()(layers.Add()([around, body]))
    x = layers.Activation("relu")(layers.Add()([normalised_conv(x, 10), x]))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)
    x = layers.Activation("relu")(layers.BatchNormalization(scale=False)(x))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    x = layers.Dropout(0.3)(layers.Dense(20, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(5)(x))


def plain():
    """Padding, average pooling, a nested model, dense layers with normalisation; a softmax of its own at the end."""
    inner = keras.Sequential([layers.ZeroPadding2D(1), layers.Conv2D(8, 3, strides=2, use_bias=False)])
    return keras.Sequential([
        keras.Input((12, 12, 2)),
        layers.Conv2D(6, 5, activation="relu"),
        layers.AveragePooling2D(2),
        inner,
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(16, use_bias=False),
        layers.BatchNormalization(center=False),
        layers.ReLU(),
        layers.Dense(5),
        layers.Softmax(),
    ])  # fmt: skip


def trained_looking(ann):
    """Random weights, biases and statistics, so that nothing is 0 or 1 by chance."""
    rng = np.random.default_rng(1)
    for variable in ann.weights:
        if "seed" in variable.path:
            continue
        if "kernel" in variable.path:
            fan_in = np.prod(variable.shape[:-1])
            variable.assign(rng.normal(0, (2 / fan_in) ** 0.5, variable.shape))
        elif "variance" in variable.path or "gamma" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        else:
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return ann


def error(found, expected):
    """The largest, relative to the largest number expected."""
    return np.abs(found - expected).max() / np.abs(expected).max()


def logits_of(ann, images):
    if isinstance(ann.layers[-1], layers.Softmax):
        ann = keras.Model(ann.inputs, ann.layers[-1].input)
    return np.asarray(ann(images, training=False))


@pytest.mark.parametrize("make", [slow(residual), plain])
def test_error_falls_as_one_over_the_number_of_steps(make):
    ann = trained_looking(make())
    expected = logits_of(ann, IMAGES)
    snn = ksbp.convert_to_snn(ann, IMAGES, 800, percentile=100)
    after_100 = snn.get_layer("time")(input_over_time(snn)(IMAGES)[:, :100])
    few, many = (error(found, expected) for found in (after_100, snn.predict(IMAGES, verbose=0)))
    assert many < few / 4 and many < 0.03


def test_neurons_take_the_reset_and_the_dropout():
    snn = ksbp.convert_to_snn(trained_looking(residual()), IMAGES, 10, reset_mechanism="zero")
    neurons = {n.name: n for n in snn.get_layer("time").cell.neurons()}
    spiking = [n for n in neurons.values() if isinstance(n, ksbp.LIFCell)]
    assert {n.reset_mechanism for n in spiking} == {"zero"} and {n.beta for n in spiking} == {1.0}
    assert neurons["fc1"].dropout == 0.3 and neurons["conv1"].dropout == 0


def test_images_that_an_encoder_cuts_off():
    front = [keras.Input((6, 6, 1)), layers.Rescaling(4.0)]
    ann = keras.Sequential([*front, layers.Conv2D(2, 3, activation="relu"), layers.Flatten(), layers.Dense(2)])
    images = np.linspace(0, 1, 2 * 36, dtype="float32").reshape(2, 6, 6, 1)
    with pytest.warns(UserWarning, match=r"beyond 2, .* up to 4: give PoissonEncoder\(scale=0.25\)"):
        ksbp.convert_to_snn(ann, images, encoder=ksbp.PoissonEncoder(5, scale=0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ksbp.convert_to_snn(ann, images, encoder=ksbp.PoissonEncoder(5, scale=0.25))


def test_counterpart_of_a_spiking_network_comes_back(tmp_path):
    """SNN -> ANN -> SNN -> file -> SNN."""
    source = ksbp.models.spiking_resnet(
        (12, 12, 2), 5, [(4, 1), (6, 2)], dense_units=[10], num_steps=5, stem_filters=4, dropout=0.1, seed=0,
        preset="paper",
    )  # fmt: skip
    ann = ksbp.ann_counterpart(source)
    snn = ksbp.convert_to_snn(ann, IMAGES, 300, percentile=100)
    few = IMAGES[:6]
    expected = ann.predict(few, verbose=0)
    assert np.abs(snn.predict(few, verbose=0) - expected).max() < 0.05 * np.abs(expected).max()
    found, wanted = (model.get_layer("time").cell.neurons() for model in (snn, source))
    assert [n.dropout for n in found] == [n.dropout for n in wanted] and 0.1 in {n.dropout for n in found}

    snn.save(tmp_path / "snn.keras")
    loaded = keras.saving.load_model(tmp_path / "snn.keras")
    np.testing.assert_allclose(loaded.predict(few, verbose=0), snn.predict(few, verbose=0), rtol=1e-5, atol=1e-6)


def test_gradients_of_a_converted_network_are_those_of_the_ann():
    """In the limit of many steps, where spike counts are activations; pooling thresholds are not 1."""
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, activation="relu", use_bias=False)(inputs)
    x = layers.AveragePooling2D(2)(x)
    ann = keras.Model(inputs, layers.Dense(3, use_bias=False)(layers.Flatten()(x)))
    images = IMAGES[:8, :6, :6]
    snn = ksbp.convert_to_snn(ann, images, 800, percentile=100)
    weight = np.random.default_rng(3).normal(size=(8, 3)).astype("float32")
    gradients = []
    for model in (ann, snn):

        @tf.function
        def gradient(model=model):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(model(images, training=True) * weight)
            return tape.gradient(loss, model.trainable_weights[0])

        gradients.append(gradient().numpy().ravel())
    ratio = snn.trainable_weights[0].numpy().ravel() / ann.trainable_weights[0].numpy().ravel()
    assert np.ptp(ratio) < 1e-4 * ratio[0]
    ours = gradients[1] * ratio[0]  # in the units of the ANN
    assert np.corrcoef(ours, gradients[0])[0, 1] > 0.98
    assert np.linalg.norm(ours) / np.linalg.norm(gradients[0]) == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_real_digits_with_max_pooling_addition_and_normalisation():
    """Trained on real digits: the converted network loses at most 1 point."""
    (images, labels), (test_images, test_labels) = ksbp.datasets.mnist_5k(0)
    test_images, test_labels = test_images[:500], test_labels[:500]
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((28, 28, 1))
    x = layers.MaxPooling2D(2)(normalised_conv(x, 8))
    x = layers.ReLU()(layers.Add()([normalised_conv(normalised_conv(x, 8), 8, relu=False), x]))
    x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    ann = keras.Model(inputs, layers.Dense(10, activation="softmax")(x))
    ann.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    ann.fit(images, labels, batch_size=64, epochs=2, verbose=0)
    accuracy = ann.evaluate(test_images, test_labels, verbose=0)[1]
    assert accuracy > 0.9
    snn = ksbp.convert_to_snn(ann, images[:200], 64)
    curve = ksbp.analysis.accuracy_over_time(snn, test_images, test_labels, verbose=0)
    assert curve.rows[-1]["accuracy"] > accuracy - 0.01


def test_a_global_policy_of_low_precision_changes_nothing():
    """Sums of two currents are in float32."""
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.ReLU()(keras.layers.Add()([keras.layers.Conv2D(4, 3, padding="same")(x), x]))
    ann = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    images = np.random.default_rng(0).normal(size=(20, 6, 6, 2)).astype("float32")
    expected = ksbp.convert_to_snn(ann, images, num_steps=20)(images)
    keras.config.set_dtype_policy("mixed_bfloat16")
    np.testing.assert_array_equal(ksbp.convert_to_snn(ann, images, num_steps=20)(images), expected)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_a_full_window_of_saturated_neurons_saturates(reset):
    """Its spikes add up to the threshold exactly, which must be exceeded."""
    ones = {"use_bias": False, "kernel_initializer": "ones"}
    parts = [layers.Conv2D(1, 1, **ones), layers.ReLU(6.0), layers.AveragePooling2D(2), layers.Flatten()]
    ann = keras.Sequential([keras.Input((4, 4, 1)), *parts, layers.Dense(1, **ones)])
    images = np.full((8, 4, 4, 1), 10.0, "float32")
    snn = ksbp.convert_to_snn(ann, images, 40, reset_mechanism=reset)
    np.testing.assert_allclose(snn.predict(images, verbose=0), ann.predict(images, verbose=0), rtol=1e-5)


def small_weights(shape, dtype=None):
    return 0.5 * keras.random.normal(shape, dtype=dtype, seed=3)


class Penalty(keras.regularizers.Regularizer):
    def __call__(self, weight):
        return 1e-3 * keras.ops.sum(weight**2)

    def get_config(self):
        return {}


def test_initial_weights_and_penalties_that_no_config_can_give_back():
    """All layers have the weights of the ANN, whatever they began with."""
    penalty, initial = Penalty(), small_weights
    hidden = layers.Dense(8, "relu", kernel_initializer=initial, kernel_regularizer=penalty)
    ann = keras.Sequential([keras.Input((6,)), hidden, layers.Dense(3)])
    images = np.random.default_rng(0).uniform(0, 1, (20, 6)).astype("float32")
    snn = ksbp.convert_to_snn(ann, images, 200, percentile=100, initial_membrane=0.5)
    np.testing.assert_allclose(snn.predict(images, verbose=0), ann.predict(images, verbose=0), atol=0.04)
    cells = [ksbp.LIFCell(layers.Dense(8, kernel_initializer=initial, kernel_regularizer=penalty), name="hidden")]
    inputs = keras.Input((6,))
    cell = ksbp.SequentialCell([*cells, ksbp.ReadoutCell(layers.Dense(3))])
    model = keras.Model(inputs, ksbp.SpikingRNN(cell)(ksbp.ConstantEncoder(5)(inputs)))
    rows = ksbp.analysis.operations(model, images, verbose=0).rows
    assert [row["synapses"] for row in rows] == [48, 24, 72]


def test_batches_of_a_dataset_are_those_images():
    ann = trained_looking(plain())
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, np.arange(24))).batch(7)
    of_batches, of_images = (ksbp.convert_to_snn(ann, data, num_steps=4) for data in (batches, IMAGES))
    for a, b in zip(of_batches.get_weights(), of_images.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
