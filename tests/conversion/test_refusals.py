"""What only looks as a layer that can be converted is refused by name; what only looks otherwise is not."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_spiking_bp as ksbp
from keras_spiking_bp.conversion.graph import RELU
from keras_spiking_bp.conversion.read import read
from tests.conversion.limit import in_the_limit
from tests.conversion.test_convert import trained_looking

IMAGES = np.random.default_rng(0).uniform(0, 1, (6, 6, 6, 3)).astype("float32")


def chain(*parts, end=None):
    end = layers.Dense(3) if end is None else end
    return keras.Sequential([keras.Input((6, 6, 3)), *parts, layers.Flatten(), end])


class Convolves(layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, 2.0 * kernel)


class Difference(layers.Add):
    def _merge_function(self, inputs):
        return inputs[0] - inputs[1]


class Initialised(layers.Conv2D):
    """What it computes is that of its base."""

    def __init__(self, filters, **kwargs):
        super().__init__(filters, kwargs.pop("kernel_size", 3), activation=kwargs.pop("activation", "relu"), **kwargs)


@keras.saving.register_keras_serializable(package="tests")
class Twice(keras.Sequential):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs)


def graph(build):
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(build(inputs))))


def relu(x):
    return x * x


def two(x):
    return [layers.Conv2D(2, 3)(x) for _ in range(2)]


def used_twice(x):
    layer = layers.Conv2D(3, 3, padding="same", activation="relu")
    return layer(layer(x))


CONV = {"filters": 2, "kernel_size": 3}


@pytest.mark.parametrize(("make", "error", "argument"), [
    (lambda: chain(Convolves(**CONV, name="own")), ValueError, "'own'.*`convolution_op` of its own.*Conv2D"),
    (lambda: graph(lambda x: Difference(name="own")(two(x))), ValueError, "'own'.*`_merge_function` of its"),
    (lambda: Twice([keras.Input((6, 6, 3)), layers.Dense(3)]), TypeError, "`call`.*<Twice"),
    (lambda: chain(Twice([layers.Dense(3)])), TypeError, "without a `call` of its own.*<Twice"),
    (lambda: chain(layers.Conv2D(**CONV, activation=relu)), ValueError, "'relu', no ReLU of Keras"),
    (lambda: chain(layers.Conv2D(**CONV, activation="tanh", name="c")), ValueError, "'c'.*tanh.*only a ReLU"),
    (lambda: chain(layers.ReLU(negative_slope=0.1, name="slope")), ValueError, "'slope'.*no sign"),
    (lambda: chain(layers.ReLU(threshold=0.1, name="jump")), ValueError, "'jump'.*it jumps"),
    (lambda: chain(layers.Dense(3, "softmax", name="inside")), ValueError, "'inside'.*softmax"),
    (lambda: chain(layers.Conv2D(**CONV), layers.RandomCrop(2, 2, name="crop")), ValueError, "'crop'"),
    (lambda: graph(lambda x: layers.Add()([two(x)[0], layers.Dense(2)(layers.Flatten()(x))])), ValueError, "dimension"),
    (lambda: graph(lambda x: layers.Concatenate(1, name="rows")(two(x))), ValueError, "'rows'.* has axis=1"),
    (lambda: chain(layers.BatchNormalization(1, name="rows")), ValueError, "'rows'.* has axis=1"),
    (lambda: graph(lambda x: x + 1.0), ValueError, "outside of a layer"),
    (lambda: chain(layers.Conv2DTranspose(**CONV, name="up")), ValueError, r"'up' \(Conv2DTranspose\)"),
    (lambda: chain(end=layers.Dense(3, activation="relu")), ValueError, "must end in"),
    (lambda: graph(used_twice), ValueError, "used 2 times"),
    (lambda: chain(layers.AveragePooling2D(2, data_format="channels_first")), ValueError, "channels_last"),
    (lambda: layers.Dense(3), TypeError, "Sequential or functional"),
])  # fmt: skip
def test_what_cannot_be_converted_is_refused_by_name(make, error, argument):
    with pytest.raises(error, match=argument):
        ksbp.convert_to_snn(make(), "not looked at before the network is understood", 5)


@pytest.mark.parametrize(("arguments", "kind", "message"), [
    ({"percentile": 0}, ValueError, "`percentile` must be in per cent.*percentile=0"),
    ({"reset_mechanism": "soft"}, ValueError, "`reset_mechanism` must be one of"),
    ({"initial_membrane": 1}, ValueError, "`initial_membrane` must be .*initial_membrane=1"),
    ({"encoder": ksbp.LatencyEncoder(5)}, TypeError, "must be a ConstantEncoder or PoissonEncoder.*LatencyEncoder"),
    ({"encoder": ksbp.ConstantEncoder(6), "num_steps": 5}, ValueError, "contradicts the encoder: num_steps=5.*=6"),
    ({"num_steps": 0}, ValueError, "`num_steps` must be an integer of at least 1"),
    ({"sample_data": IMAGES[:, :5]}, ValueError, r"`sample_data` must hold images of the shape \(6, 6, 3\)"),
    ({"sample_data": IMAGES[:0]}, ValueError, "`sample_data` must hold"),
    ({"sample_data": 1e38 * IMAGES + 2e38}, ValueError, "'hidden' gives infinity or NaN on `sample_data`"),
    ({"sample_data": -IMAGES}, ValueError, "'hidden' gives 0 for 99.9 % .* Give more data"),
], ids=str)  # fmt: skip
def test_bad_arguments_are_refused(arguments, kind, message):
    ann = chain(layers.Conv2D(2, 3, kernel_initializer="ones", activation="relu", name="hidden"))
    with pytest.raises(kind, match=message):
        ksbp.convert_to_snn(ann, **{"sample_data": IMAGES, **arguments})


def agrees(ann, expected):
    snn = ksbp.convert_to_snn(ann, IMAGES, 2, percentile=100)
    np.testing.assert_allclose(in_the_limit(snn, IMAGES), expected, atol=1e-5 * np.abs(expected).max())


def test_a_subclass_that_computes_as_its_base_is_converted():
    ann = trained_looking(chain(Initialised(4)))
    agrees(ann, ann.predict(IMAGES, verbose=0))


@pytest.mark.parametrize(("relu", "softmax"), [(tf.nn.relu, keras.ops.softmax), (keras.ops.relu, tf.nn.sigmoid)])
def test_functions_of_tensorflow_and_keras_are_known(softmax, relu):
    ann = trained_looking(chain(layers.Conv2D(4, 3, activation=relu), end=layers.Dense(3, activation=softmax)))
    logits = keras.Sequential([*ann.layers[:-1], layers.Dense(3)])
    logits.build((None, 6, 6, 3))
    logits.set_weights(ann.get_weights())
    agrees(ann, logits.predict(IMAGES, verbose=0))


@pytest.mark.parametrize("shape", [(), (4,), (1, 1, 1, 4)])
def test_rescaling_between_layers_takes_one_number_or_one_a_channel(shape):
    scale, offset = np.random.default_rng(3).uniform(0.5, 1.5, (2, *shape))
    rescaling = layers.Rescaling(scale, offset)
    ann = trained_looking(chain(layers.Conv2D(4, 3, activation="relu"), rescaling))
    agrees(ann, ann.predict(IMAGES, verbose=0))


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
