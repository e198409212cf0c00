"""What cannot be exported is refused before anything is computed, with the way out."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp


def small(**kwargs):
    return ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(3), name="hidden"), name="time", **kwargs)


def on_sequences(*layers, **kwargs):
    inputs = x = keras.Input((5, 4))
    for layer in layers or [small(**kwargs)]:
        x = layer(x)
    return keras.Model(inputs, x)


def two_cells(*names):
    cells = [ksbp.LIFCell(keras.layers.Dense(3), name=name) for name in names]
    return on_sequences(ksbp.SpikingRNN(ksbp.SequentialCell(cells)))


def with_a_call_of_its_own():
    class Probabilities(keras.Model):
        def call(self, inputs, training=None):
            return keras.ops.softmax(super().call(inputs, training=training))

    inputs = keras.Input((5, 4))
    return Probabilities(inputs, small()(inputs))


def subclassed():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.time = small()

        def call(self, inputs):
            return self.time(inputs)

    model = Own()
    model(keras.ops.zeros((1, 5, 4)))
    return model


def a_state_first(output_too=False):
    inputs = keras.Input((5, 4))
    output, state, *_ = small(return_state=True)(inputs)
    return keras.Model(inputs, [state, output] if output_too else state)


def two_inputs():
    inputs = [keras.Input((5, 4)), keras.Input((5, 4))]
    return keras.Model(inputs, small()(keras.layers.add(inputs)))


def not_finite(value):
    """They would be written, and give no spikes."""
    model = on_sequences()
    weights = model.get_weights()
    weights[0][1, 2] = value
    model.set_weights(weights)
    return model


BAD = {
    "no spiking layer": (lambda: on_sequences(keras.layers.Dense(2)), TypeError, "must have a SpikingRNN"),
    "a call of its own": (with_a_call_of_its_own, TypeError, "Probabilities has a `call` of its own"),
    "nan": (lambda: not_finite(np.nan), ValueError, "must have finite weights.*'time/.*kernel'"),
    "infinity": (lambda: not_finite(np.inf), ValueError, "must have finite weights.*'time/.*kernel'"),
    "case": (lambda: two_cells("Conv", "conv"), ValueError, "stands for more than one: 'membrane_conv'"),
    "words": (lambda: two_cells("a.b", "a_b"), ValueError, "'membrane_a_b'"),
    "subclassed": (subclassed, TypeError, "functional or sequential"),
    "a layer": (lambda: subclassed().time, TypeError, "functional or sequential"),
    "layers behind": (
        lambda: on_sequences(small(), keras.layers.Softmax()), ValueError, "must end in its SpikingRNN layer 'time'"
    ),
    "a state": (a_state_first, ValueError, "output of its SpikingRNN layer 'time' as its first"),
    "a state first": (lambda: a_state_first(True), ValueError, "output of its SpikingRNN layer 'time' as its first"),
    "two inputs": (two_inputs, ValueError, "one input. Received: 2"),
    "backwards": (lambda: on_sequences(go_backwards=True), ValueError, "go_backwards"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_exported(case, tmp_path):
    make, error, message = BAD[case]
    with pytest.raises(error, match=message):
        ksbp.export.export_saved_model(make(), tmp_path / "saved_model")
    assert not list(tmp_path.iterdir())


def test_a_sequential_model(tmp_path):
    model = keras.Sequential([keras.Input((4,)), ksbp.PoissonEncoder(5), small()])
    ksbp.export.export_saved_model(model, tmp_path / "saved_model")
    serve = tf.saved_model.load(tmp_path / "saved_model").signatures["images"]
    images = np.random.default_rng(0).random((2, 4), "float32")
    np.testing.assert_allclose(serve(images=tf.constant(images))["outputs"], model(images), atol=1e-5)


def test_a_spiking_layer_with_a_call_of_its_own(tmp_path):
    class Scaled(ksbp.SpikingRNN):
        def call(self, sequences, initial_state=None, mask=None, training=False):
            return 10 * super().call(sequences, initial_state, mask, training)

    inputs = keras.Input((5, 4))
    layer = Scaled(ksbp.ReadoutCell(keras.layers.Dense(3)), name="time")
    model = keras.Model(inputs, layer(inputs))
    for refused in (
        lambda: ksbp.export.export_saved_model(model, tmp_path / "saved"),
        lambda: ksbp.ann_counterpart(model),
        lambda: ksbp.to_nir(model),
        lambda: ksbp.to_nir(layer),
    ):
        with pytest.raises(TypeError, match="'time', whose class Scaled has a `call` of its own"):
            refused()
    assert not list(tmp_path.iterdir())
