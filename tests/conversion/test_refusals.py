"""What only looks as a layer that can be converted is refused by name; what only looks otherwise is not."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_spiking_bp as ksbp
from keras_spiking_bp.conversion.graph import RELU
from keras_spiking_bp.conversion.read import read
from keras_spiking_bp.conversion.rewrite import normal_form
from tests.conversion.limit import in_the_limit
from tests.conversion.test_convert import trained_looking
from tests.slow import slow_except

IMAGES = np.random.default_rng(0).uniform(0, 1, (6, 6, 6, 3)).astype("float32")


def chain(*parts, end=None):
    end = layers.Dense(3) if end is None else end
    return keras.Sequential([keras.Input((6, 6, 3)), *parts, layers.Flatten(), end])


class Standardised(layers.Conv2D):
    def call(self, inputs):
        kernel = self.kernel - tf.reduce_mean(self.kernel, axis=(0, 1, 2))
        return tf.nn.relu(tf.nn.conv2d(inputs, kernel, 1, "VALID"))


class Convolves(layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, 2.0 * kernel)


class Halved(layers.Dense):
    def call(self, inputs, training=None):
        return 0.5 * super().call(inputs)


class Frozen(layers.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=True)


class Negative(layers.MaxPooling2D):
    def call(self, inputs):
        return -super().call(-inputs)


class Difference(layers.Add):
    def _merge_function(self, inputs):
        return inputs[0] - inputs[1]


class Initialised(layers.Conv2D):
    """What it computes is that of its base."""

    def __init__(self, filters, **kwargs):
        super().__init__(filters, kwargs.pop("kernel_size", 3), activation=kwargs.pop("activation", "relu"), **kwargs)


def difference():
    inputs = keras.Input((6, 6, 3))
    parts = [layers.Conv2D(2, 3)(inputs) for _ in range(2)]
    x = layers.ReLU()(Difference(name="own")(parts))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: chain(Standardised(2, 3, name="own")), r"\(Standardised\).*`call` of its own.*Conv2D"),
        (lambda: chain(Convolves(2, 3, activation="relu", name="own")), "`convolution_op` of its own.*Conv2D"),
        (lambda: chain(layers.Conv2D(2, 3, activation="relu"), end=Halved(3, name="own")), "`call` of its own.*Dense"),
        (lambda: chain(layers.Conv2D(2, 3), Frozen(name="own"), layers.ReLU()), "of its own.*BatchNormalization"),
        (lambda: chain(layers.Conv2D(2, 3), Negative(2, name="own"), layers.ReLU()), "of its own.*MaxPooling2D"),
        (difference, "`_merge_function` of its own.*Add"),
    ],
)
def test_a_layer_that_computes_something_of_its_own_is_refused(make, message):
    with pytest.raises(ValueError, match="'own'.*" + message):
        ksbp.convert_to_snn(make(), "not looked at before the network is understood", 5)


def agrees(ann, expected):
    snn = ksbp.convert_to_snn(ann, IMAGES, 2, method="max")
    np.testing.assert_allclose(in_the_limit(snn, IMAGES), expected, atol=1e-5 * np.abs(expected).max())


def test_a_subclass_that_computes_as_its_base_is_converted():
    ann = trained_looking(chain(Initialised(4)))
    agrees(ann, ann.predict(IMAGES, verbose=0))


@pytest.mark.parametrize(("relu", "softmax"), slow_except(
    itertools.product(
        (tf.nn.relu, keras.ops.relu), (tf.nn.softmax, keras.ops.softmax, "softmax", tf.nn.sigmoid)
    ),
    (tf.nn.relu, tf.nn.softmax), (keras.ops.relu, keras.ops.softmax), (tf.nn.relu, "softmax"),
    (keras.ops.relu, tf.nn.sigmoid),
))  # fmt: skip
def test_functions_of_tensorflow_and_keras_are_known(softmax, relu):
    ann = trained_looking(chain(layers.Conv2D(4, 3, activation=relu), end=layers.Dense(3, activation=softmax)))
    logits = keras.Sequential([*ann.layers[:-1], layers.Dense(3)])
    logits.build((None, 6, 6, 3))
    logits.set_weights(ann.get_weights())
    agrees(ann, logits.predict(IMAGES, verbose=0))


def test_a_function_that_is_only_called_relu_is_none():
    def relu(x):
        return x * x

    with pytest.raises(ValueError, match=r"'own'.*its activation is '.*test_refusals\.relu', and only a ReLU"):
        read(chain(layers.Conv2D(2, 3, activation=relu, name="own")))


@pytest.mark.parametrize("shape", [(), (1,), (4,), (1, 1, 4), (1, 1, 1, 4), (1, 1, 1, 1)])
def test_rescaling_between_layers_takes_one_number_or_one_a_channel(shape):
    scale, offset = np.random.default_rng(3).uniform(0.5, 1.5, (2, *shape))
    rescaling = layers.Rescaling(scale, offset)
    ann = trained_looking(chain(layers.Conv2D(4, 3, activation="relu"), rescaling))
    agrees(ann, ann.predict(IMAGES, verbose=0))


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 4), (4, 4, 4)])
def test_other_rescaling_is_refused(shape):
    ann = chain(layers.Conv2D(4, 3, activation="relu"), layers.Rescaling(np.ones(shape), name="own"))
    with pytest.raises(ValueError, match=r"'own' \(Rescaling\).*its scale must be .*one a channel \(4\).*of shape"):
        read(ann)


def dropout_in_a_nested_model(shared):
    inner = keras.Input((4,))
    body = keras.Model(inner, layers.Dense(4, activation="relu")(layers.Dropout(0.5)(inner)))
    inputs = keras.Input((5,))
    x = layers.Dense(4, activation="relu", name="first")(inputs)
    x = layers.Concatenate()([body(x), x]) if shared else body(x)
    return keras.Model(inputs, layers.Dense(3)(x))


def dropout_behind_nothing(shared):
    inputs = keras.Input((5,))
    x = layers.Dense(4, activation="relu", name="first")(inputs)
    dropped = layers.Dropout(0.5)(layers.Identity()(x))
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()([dropped, x]) if shared else dropped))


@pytest.mark.parametrize("build", [dropout_in_a_nested_model, dropout_behind_nothing])
def test_dropout_goes_to_neurons_only_if_nobody_else_takes_their_spikes(build):
    for shared, rate in ((True, 0.0), (False, 0.5)):
        graph = read(build(shared))
        assert next(node.dropout for node in graph if node.kind == RELU) == rate
        assert not any(isinstance(node.layer, layers.Dropout) for node in graph)


def test_what_one_branch_prepares_is_not_prepared_for_the_other():
    """Dropout that passes the input on, to one of two branches: what stands behind it is of that branch alone."""
    inputs = keras.Input((8, 8, 1))
    left = layers.Conv2D(2, 3, activation="relu")(layers.Rescaling(0.1)(layers.Dropout(0.1)(inputs)))
    right = layers.Conv2D(2, 3, activation="relu")(inputs)
    outputs = layers.Dense(3)(layers.Flatten()(layers.Concatenate()([left, right])))
    graph = read(keras.Model(inputs, outputs))
    assert graph.front is None


@pytest.mark.parametrize(
    "dropout", [layers.SpatialDropout2D(0.3), layers.Dropout(0.3, noise_shape=(None, 1, 1, 4)), layers.Dropout(0.3)]
)
def test_dropout_of_whole_channels_is_not_that_of_neurons(dropout):
    graph = read(chain(layers.Conv2D(4, 3, activation="relu"), dropout))
    rate = 0.3 if type(dropout) is layers.Dropout and dropout.noise_shape is None else 0.0
    assert [node.dropout for node in graph if node.kind == RELU] == [rate]
    assert not any(isinstance(node.layer, layers.Dropout) for node in graph)


@pytest.mark.parametrize(
    ("parts", "rates"),
    [
        ([layers.ReLU(), layers.Dropout(0.3), layers.MaxPooling2D(2)], [0.3]),
        ([layers.MaxPooling2D(2), layers.ReLU(), layers.Dropout(0.3)], [0.0]),  # the ReLU goes before the maximum
        ([layers.ReLU(), layers.MaxPooling2D(2), layers.ReLU(), layers.Dropout(0.3)], [0.0]),
    ],
)
def test_dropout_of_what_a_maximum_has_pooled_is_not_that_of_the_neurons_before_it(parts, rates):
    graph = read(chain(layers.Conv2D(4, 3), *parts))
    normal_form(graph)
    assert [node.dropout for node in graph if node.kind == RELU] == rates


def test_a_random_crop_that_is_not_in_front_is_refused():
    """It crops and resizes in inference, too."""
    ann = chain(layers.Conv2D(4, 3, activation="relu"), layers.RandomCrop(2, 2, name="crop"))
    with pytest.raises(ValueError, match=r"'crop' \(RandomCrop\)"):
        ksbp.convert_to_snn(ann, IMAGES)


@keras.saving.register_keras_serializable(package="tests")
class Twice(keras.Sequential):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs)


class TwiceFunctional(keras.Model):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs)


def test_models_with_a_call_of_their_own():
    inputs = keras.Input((6,))
    outputs = layers.Dense(3)(layers.Dense(5, activation="relu")(inputs))
    inner = Twice([layers.Dense(5, activation="relu")], name="inner")
    for ann in (
        Twice([keras.Input((6,)), layers.Dense(5, activation="relu"), layers.Dense(3)], name="inner"),
        TwiceFunctional(inputs, outputs, name="inner"),
        keras.Sequential([keras.Input((6,)), inner, layers.Dense(3)]),
    ):
        with pytest.raises(TypeError, match=r"The model 'inner' \(Twice.*\) has a `call` of its own"):
            ksbp.convert_to_snn(ann, np.ones((2, 6), "float32"))


def test_sums_of_values_of_different_ranks():
    inputs = keras.Input((6, 6, 3))
    added = layers.Add(name="mixed")([layers.Conv2D(4, 3)(inputs), layers.Dense(4)(layers.Flatten()(inputs))])
    ann = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.ReLU()(added))))
    with pytest.raises(ValueError, match=r"The layer 'mixed' \(Add\) cannot be converted: .*as many dimensions"):
        ksbp.convert_to_snn(ann, IMAGES)
