"""Each kind of layer and graph: what the converted network gives approaches what the ordinary network gives."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_spiking_bp as ksbp
from tests.conversion.limit import in_the_limit
from tests.conversion.test_convert import logits_of, trained_looking

IMAGES = np.random.default_rng(0).uniform(0, 1, (8, 8, 8, 3)).astype("float32")


def network(build, shape=(8, 8, 3)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, build(inputs))


def conv(x, filters=4, size=3, **kwargs):
    return layers.Conv2D(filters, size, padding="same", **kwargs)(x)


def rectified(x, filters=4):
    return layers.ReLU()(layers.BatchNormalization()(conv(x, filters)))


def head(x):
    return layers.Dense(3)(layers.Flatten()(x))


def saturating(x):
    """ReLU6, and a ReLU with a maximum that many activations reach."""
    x = layers.ReLU(6.0)(conv(x))
    x = conv(x, activation="relu6")
    return head(layers.ReLU(max_value=0.3)(conv(x)))


def one_dimension(x):
    x = layers.Reshape((16, 12))(x)
    x = layers.Conv1D(6, 3, activation="relu", dilation_rate=2)(x)
    x = layers.AveragePooling1D(2)(layers.ZeroPadding1D(1)(x))
    x = layers.MaxPooling1D(2)(layers.Conv1D(6, 3, groups=3, activation="relu")(x))
    x = layers.SeparableConv1D(5, 2, activation="relu")(x)
    return layers.Dense(3, activation="sigmoid")(layers.GlobalMaxPooling1D()(x))


def three_dimensions(x):
    x = layers.Conv3D(4, 2, activation="relu")(layers.ZeroPadding3D(1)(layers.Reshape((8, 4, 2, 3))(x)))
    x = layers.Conv3D(4, 2, activation="relu")(layers.AveragePooling3D((2, 1, 1))(x))
    return head(layers.MaxPooling3D((2, 1, 1))(x))


def separable(x):
    """Depthwise convolutions with nothing between them and the next; a multiplier, dilation, groups."""
    x = layers.SeparableConv2D(6, 3, depth_multiplier=2, padding="same", activation="relu")(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu")(x)
    x = conv(x, 8, dilation_rate=2, groups=4, activation="relu")
    return head(layers.GlobalAveragePooling2D(keepdims=True)(x))


def maximum_before_relu(x):
    x = layers.Activation("relu")(layers.MaxPooling2D(2)(layers.BatchNormalization()(conv(x))))
    return layers.Softmax()(layers.GlobalAveragePooling2D()(conv(x)))


def maximum_of_currents(x):
    """As in Xception: max pooling of what is below 0 too, added to a shortcut; and at the end."""
    x = rectified(x)
    body = layers.MaxPooling2D(3, strides=2, padding="same")(conv(rectified(x)))
    x = layers.ReLU()(layers.Add()([body, layers.Conv2D(4, 1, strides=2)(x)]))
    return layers.GlobalMaxPooling2D()(conv(x, 3))


def normalised_first(x):
    """Batch normalisation of the input and behind ReLU, in front of padding, where it shifts the border."""
    x = conv(layers.BatchNormalization()(x), activation="relu")
    x = conv(layers.BatchNormalization()(x), activation="relu")
    x = layers.Conv2D(4, 3, activation="relu")(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(2, activation="relu")(layers.BatchNormalization()(x))
    return layers.Dense(3)(layers.BatchNormalization()(layers.Flatten()(x)))


def preactivated(x):
    """As ResNet50V2: normalisation and ReLU of a sum that goes on, too."""
    x = layers.MaxPooling2D(2)(layers.ZeroPadding2D(1)(conv(x)))
    for _ in range(2):
        before = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Add()([x, conv(rectified(before))])
    return head(layers.ReLU()(layers.BatchNormalization()(x)))


def bottlenecks(x):
    """As MobileNetV2: convolutions and sums with no activation behind them."""
    x = layers.ReLU(6.0)(conv(x))
    x = layers.BatchNormalization()(conv(x, 3, 1))
    for _ in range(2):
        inner = layers.ReLU(6.0)(layers.BatchNormalization()(conv(x, 6, 1)))
        inner = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, padding="same")(inner))
        x = layers.Add()([x, layers.BatchNormalization()(conv(inner, 3, 1))])
    return head(layers.ReLU()(conv(x)))


def dense_block(x):
    """As DenseNet: currents and spikes side by side; pooling of them."""
    x = layers.MaxPooling2D(2)(rectified(x))
    for _ in range(2):
        inner = rectified(layers.ReLU()(layers.BatchNormalization()(x)))
        x = layers.Concatenate()([x, conv(inner, 2)])
    x = layers.AveragePooling2D(2)(conv(layers.ReLU()(layers.BatchNormalization()(x)), 3, 1))
    return head(layers.ReLU()(layers.BatchNormalization()(x)))


def inception(x):
    """Spikes of different scales side by side, before all that may come next."""
    x = layers.Concatenate()([rectified(x, 2), layers.AveragePooling2D(3, 1, "same")(rectified(x, 4))])
    left = layers.MaxPooling2D(2)(x)
    right = layers.Conv2D(4, 3, strides=2, padding="same", groups=2, activation="relu")(x)
    x = layers.Concatenate()([left, right])
    side = layers.Dense(4, activation="relu")(layers.Reshape((4, 40))(x))
    x = layers.DepthwiseConv2D(2, activation="relu")(x)
    flat = layers.Concatenate()([layers.Flatten()(x), layers.GlobalAveragePooling2D()(x)])
    flat = layers.Concatenate()([layers.Dense(5, activation="relu")(flat), layers.Flatten()(side)])
    return layers.Dense(3)(flat)


def many_branches(x):
    """A sum of three, one of them the same at all places; a sum that two take."""
    x = rectified(x)
    everywhere = layers.GlobalAveragePooling2D(keepdims=True)(rectified(x))
    total = layers.Add()([x, conv(x), everywhere])
    x = layers.Add()([layers.ReLU()(total), total, x])
    return layers.GlobalAveragePooling2D()(conv(layers.Cropping2D(1)(x), 3))


def nested(x):
    """Models in models; layers that prepare and augment images in front."""
    front = keras.Sequential([layers.Rescaling(2.0, offset=-0.5), layers.RandomFlip(), layers.RandomContrast(0.2)])
    inner = keras.Input((8, 8, 3))
    sum_of_two = layers.Add()([rectified(inner), layers.SpatialDropout2D(0.1)(conv(inner))])
    body = keras.Model(inner, layers.ReLU()(sum_of_two))
    mean = layers.Normalization()
    mean.adapt(2 * IMAGES)
    return keras.Sequential([layers.Flatten(), layers.Dense(3, activation="softmax")])(body(mean(front(x))))


def all_convolutions(x):
    """As SqueezeNet: the mean of a ReLU as the end."""
    x = rectified(layers.Permute((2, 1, 3))(x))
    return layers.Softmax()(layers.GlobalAveragePooling2D()(conv(x, 3, activation="relu")))


KINDS = [
    saturating, one_dimension, three_dimensions, separable, maximum_before_relu, maximum_of_currents, normalised_first,
    preactivated, bottlenecks, dense_block, inception, many_branches, nested, all_convolutions,
]  # fmt: skip


def made(build):
    """The network with weights that look trained."""
    return finalized(trained_looking(network(build)))


def finalized(ann):
    """The same, whose `Normalization` computes with the weights that it was given."""
    for layer in ann.layers:
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
    return ann


def without_end(ann):
    """The same network without its softmax or sigmoid."""
    last = ann.layers[-1]
    if isinstance(last, keras.Sequential):
        config = ann.get_config()
        copied = keras.Model.from_config(config)
        copied.set_weights(ann.get_weights())
        finalized(copied)
        copied.layers[-1].layers[-1].activation = keras.activations.linear
        return keras.Model(copied.inputs, copied.outputs)
    if isinstance(last, layers.Dense):
        last.activation = keras.activations.linear
    return ann


@pytest.mark.parametrize("build", KINDS)
def test_in_the_limit_of_many_steps_it_is_the_ann(build):
    """To the rounding of float32, with rates as real numbers."""
    ann = made(build)
    snn = ksbp.convert_to_snn(ann, IMAGES, 2, percentile=100)
    expected = logits_of(without_end(ann), IMAGES)
    np.testing.assert_allclose(in_the_limit(snn, IMAGES), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("build", [inception, nested])
def test_it_is_saved_and_trained_on(build, tmp_path):
    """Layers in front, thresholds of channels, rescaled currents, normalisations that do not learn."""
    snn = ksbp.convert_to_snn(made(build), IMAGES, 8, initial_membrane=0.5, calibrate_biases=True)
    expected = snn(IMAGES, training=False)
    snn.save(tmp_path / "snn.keras")
    loaded = keras.saving.load_model(tmp_path / "snn.keras")
    np.testing.assert_allclose(loaded(IMAGES, training=False), expected, rtol=1e-5, atol=1e-6)
    clone = keras.models.clone_model(snn)
    clone.set_weights(snn.get_weights())
    np.testing.assert_allclose(finalized(clone)(IMAGES, training=False), expected, rtol=1e-5, atol=1e-6)
    loaded.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = loaded.fit(IMAGES, np.arange(8) % 3, epochs=10, verbose=0).history["loss"]
    assert history[-1] < history[0]
