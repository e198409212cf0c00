"""Batch normalisation folded into kernel and bias: the same spikes from the same network."""

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from keras_spiking_bp.cells import LIFCell, MaxPoolingCell, ReadoutCell, ResidualCell, SequentialCell
from keras_spiking_bp.rnn.observe import traces
from tests.networks import exact_with_statistics

STEPS = 12


def normalization():
    return keras.layers.BatchNormalization(epsilon=2.0**-10)


def normalized(*layers):
    return keras.Sequential([*layers, normalization()])


def network():
    """Padded, strided, depthwise and pointwise convolutions, pooling of all kinds, a normalised shortcut, a bias."""
    conv = lambda *args, **kwargs: keras.layers.Conv2D(*args, use_bias=False, **kwargs)  # noqa: E731
    lif = {"beta": 0.5, "initial_membrane": 0.5}
    cell = SequentialCell([
        LIFCell(normalized(conv(6, 3, padding="same")), name="a", surrogate="triangle", **lif),
        MaxPoolingCell(keras.layers.MaxPooling2D(2), of="spikes", name="pool"),
        LIFCell(normalized(keras.layers.DepthwiseConv2D(3, depth_multiplier=2)), name="b", dropout=0.2, **lif),
        ResidualCell(
            LIFCell(normalized(conv(6, 3, padding="same")), name="c", **lif),
            LIFCell(normalized(keras.layers.ZeroPadding2D(1), conv(8, 3, strides=2)), name="d", **lif),
            normalized(conv(8, 1, strides=2)),
            name="block",
        ),
        keras.layers.AveragePooling2D(2),
        keras.layers.Flatten(),
        LIFCell(normalized(keras.layers.Dense(10)), name="e", reset_mechanism="subtract", **lif),
        LIFCell(keras.layers.Dense(10), name="f", **lif),
        ReadoutCell(keras.layers.Dense(3, use_bias=False), beta=0.5, name="out"),
    ])  # fmt: skip
    inputs = keras.Input((STEPS, 12, 12, 2))
    return keras.Model(inputs, ksbp.SpikingRNN(cell, name="time")(inputs))


def small_network():
    lif = LIFCell(normalized(keras.layers.Conv2D(3, 3, use_bias=False)), beta=0.5, initial_membrane=0.5)
    cell = SequentialCell([lif, keras.layers.Flatten(), ReadoutCell(keras.layers.Dense(3), beta=0.5)])
    inputs = keras.Input((STEPS, 6, 6, 2))
    return exact_with_statistics(keras.Model(inputs, ksbp.SpikingRNN(cell)(inputs)))


def norms_in(model):
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]


def test_equal_spikes(tmp_path):
    model = exact_with_statistics(network())
    spikes = np.random.default_rng(1).integers(-1, 2, (3, STEPS, 12, 12, 2)).astype("float32")
    before = model.get_weights()
    folded = ksbp.fold_batch_normalization(model)
    assert len(norms_in(model)) == 6 and not norms_in(folded)
    expected, given = traces(model, spikes), traces(folded, spikes)
    assert list(given) == list(expected)
    for name, trace in expected.items():
        if "spikes" in trace:
            assert 0.02 < trace["spikes"].mean() < 0.9, name
            np.testing.assert_array_equal(given[name]["spikes"], trace["spikes"], err_msg=name)
    np.testing.assert_array_equal(given["out"]["membrane"], expected["out"]["membrane"])
    np.testing.assert_equal(model.get_weights(), before)
    folded.save(tmp_path / "folded.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "folded.keras")(spikes), folded(spikes))


def test_operations_between_layers_are_copied():
    """Arithmetic and `keras.ops` around the SpikingRNN, in the model and in a model inside of it."""
    whole = small_network()
    x = keras.Input(whole.input_shape[1:])
    inner = keras.Model(x, keras.ops.negative(whole(x * 0.5)) * 3.0)
    outer = keras.Input(x.shape[1:])
    model = keras.Model(outer, keras.layers.BatchNormalization()(inner(outer)) + 1.0)
    folded = ksbp.fold_batch_normalization(model)
    spikes = np.random.default_rng(1).integers(-2, 3, (3, STEPS, 6, 6, 2)).astype("float32")
    expected = model(spikes)
    assert np.std(expected) > 0.01
    np.testing.assert_array_equal(folded(spikes), expected)
    assert len(norms_in(folded)) == 1  # the one outside of time


def test_a_compiled_model_stays_so_and_the_new_one_is_not():
    """Keras compiles a clone like its model, which it cannot do with a loss that is not serialisable."""
    inner = small_network()
    inputs = keras.Input((STEPS, 6, 6, 2))
    outer = keras.Model(inputs, inner(inputs))
    for model in (inner, outer):
        model.compile("sgd", lambda y, p: keras.ops.sum((y - p) ** 2, -1))
    folded = ksbp.fold_batch_normalization(outer)
    assert not folded.compiled and not folded.layers[-1].compiled
    assert outer.compiled and inner.compiled
    assert not norms_in(folded)


def one_cell(synapse, shape=(4, 4, 2)):
    inputs = keras.Input((3, *shape))
    return keras.Model(inputs, ksbp.SpikingRNN(LIFCell(synapse), gradient="bptt")(inputs))


class Standardised(keras.layers.Conv2D):
    is_affine = True

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel - keras.ops.mean(kernel, axis=(0, 1, 2)))


class Centred(keras.layers.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return inputs - self.moving_mean


def inside(x):
    return keras.Model(x, keras.layers.BatchNormalization(name="norm")(x), name="whole")


@pytest.mark.parametrize(("layers", "match"), [
    ([inside(keras.Input((4, 4, 2)))], "it is inside of 'sequential"),
    ([keras.layers.AveragePooling2D(2, name="mean")], "it stands behind 'mean'"),
    ([keras.layers.Conv2D(2, 3, activation="relu", name="rectified")], "'rectified' before it has the activation"),
    ([], "there is no layer before it"),
    ([Standardised(2, 3, name="conv")], "'conv' is unknown: its class has a `convolution_op`.*Conv2D"),
    ([keras.layers.Conv2D(2, 3), Centred(name="norm")], "'norm' is unknown: its class has a `call`"),
    ([keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization(axis=1, name="norm")], "it has axis=1"),
])  # fmt: skip
def test_what_cannot_be_folded_is_refused_by_name(layers, match):
    if not layers or layers[-1].name not in ("norm", "whole"):
        layers = [*layers, keras.layers.BatchNormalization(name="norm", trainable=False)]
    with pytest.raises(ValueError, match=f"batch normalisation 'norm' cannot be folded.*{match}"):
        ksbp.fold_batch_normalization(one_cell(keras.Sequential(layers)))


@keras.saving.register_keras_serializable(package="tests")
class Skips(keras.Sequential):
    def call(self, inputs, training=None, mask=None):
        return inputs + super().call(inputs)


def test_models_with_a_call_of_their_own_are_copied_whole():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    front = Skips([keras.layers.Dense(6, activation="tanh")], name="skips")(inputs)
    cell = SequentialCell([LIFCell(normalized(keras.layers.Dense(5))), ReadoutCell(keras.layers.Dense(3))])
    model = keras.Model(inputs, ksbp.SpikingRNN(cell)(ksbp.ConstantEncoder(8)(front)))
    x = np.random.default_rng(0).normal(0, 1, (4, 6)).astype("float32")
    folded = ksbp.fold_batch_normalization(model)
    assert type(folded.get_layer("skips")) is Skips
    np.testing.assert_allclose(folded(x), model(x), rtol=1e-5, atol=1e-6)
