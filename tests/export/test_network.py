"""What cannot be exported is refused before anything is computed, with the way out."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from tests.export.networks import lenet


def small(**kwargs):
    return ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(3), name="hidden"), name="time", **kwargs)


def refused(model, error, match, tmp_path):
    with pytest.raises(error, match=match):
        ksbp.export.export_saved_model(model, tmp_path / "saved_model")
    assert not list(tmp_path.iterdir())


def test_a_model_without_a_spiking_layer(tmp_path):
    inputs = keras.Input((4,))
    refused(keras.Model(inputs, keras.layers.Dense(2)(inputs)), TypeError, "must have a SpikingRNN", tmp_path)


def test_a_model_with_a_call_of_its_own(tmp_path):
    class Probabilities(keras.Model):
        def call(self, inputs, training=None):
            return keras.ops.softmax(super().call(inputs, training=training))

    class TrainedOtherwise(keras.Model):
        def train_step(self, data):
            return super().train_step(data)

    inputs = keras.Input((5, 4))
    refused(Probabilities(inputs, small()(inputs)), TypeError, "a `call` of its own, Probabilities", tmp_path)
    ksbp.export.export_saved_model(TrainedOtherwise(inputs, small()(inputs)), tmp_path / "a")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value, tmp_path):
    """They would be written, and give no spikes."""
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, small()(inputs))
    weights = model.get_weights()
    weights[0][1, 2] = value
    model.set_weights(weights)
    refused(model, ValueError, "must have finite weights.*'time/.*kernel'", tmp_path)


def test_names_that_tensorflow_does_not_tell_apart(tmp_path):
    def model(*names):
        inputs = keras.Input((5, 4))
        cell = ksbp.SequentialCell([ksbp.LIFCell(keras.layers.Dense(3), name=name) for name in names])
        return keras.Model(inputs, ksbp.SpikingRNN(cell)(inputs))

    refused(model("Conv", "conv"), ValueError, "This stands for more than one: 'membrane_conv'", tmp_path)


def test_a_layer_and_a_subclassed_model(tmp_path):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.time = small()

        def call(self, inputs):
            return self.time(inputs)

    model = Own()
    model(keras.ops.zeros((1, 5, 4)))
    refused(model, TypeError, "functional or sequential", tmp_path)
    refused(model.time, TypeError, "functional or sequential", tmp_path)


def test_layers_behind(tmp_path):
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, keras.layers.Softmax()(small()(inputs)))
    refused(model, ValueError, r"must end in its SpikingRNN layer 'time'.*Make one without them, keras.Model", tmp_path)
    ksbp.export.export_saved_model(keras.Model(model.inputs, model.get_layer("time").output), tmp_path / "way_out")


def test_states_among_the_outputs(tmp_path):
    inputs = keras.Input((5, 4))
    output, *states = small(return_state=True)(inputs)
    for outputs in (states[0], [states[0], output]):
        refused(
            keras.Model(inputs, outputs), ValueError, "output of its SpikingRNN layer 'time' as its first", tmp_path
        )
    ksbp.export.export_saved_model(keras.Model(inputs, output), tmp_path / "way_out")


def test_two_inputs(tmp_path):
    inputs = [keras.Input((5, 4)), keras.Input((5, 4))]
    refused(keras.Model(inputs, small()(keras.layers.add(inputs))), ValueError, "one input. Received: 2", tmp_path)


def test_backwards(tmp_path):
    inputs = keras.Input((5, 4))
    refused(keras.Model(inputs, small(go_backwards=True)(inputs)), ValueError, "go_backwards", tmp_path)


def test_cells_of_one_name(tmp_path):
    inputs = keras.Input((5, 4))
    cell = ksbp.SequentialCell([ksbp.LIFCell(keras.layers.Dense(3), name=name) for name in ("a.b", "a_b")])
    refused(keras.Model(inputs, ksbp.SpikingRNN(cell)(inputs)), ValueError, "'membrane_a_b'", tmp_path)


def test_a_sequential_model(tmp_path):
    model = keras.Sequential([keras.Input((4,)), ksbp.PoissonEncoder(5), small()])
    ksbp.export.export_saved_model(model, tmp_path / "saved_model")
    serve = tf.saved_model.load(tmp_path / "saved_model").signatures["images"]
    images = np.random.default_rng(0).random((2, 4), "float32")
    np.testing.assert_allclose(serve(images=tf.constant(images))["outputs"], model(images), atol=1e-5)


@pytest.mark.parametrize("arguments", [{}, {"form": "step"}])
def test_lower_precision_in_litert(tmp_path, arguments):
    model = lenet(num_steps=5, policy="mixed_bfloat16")
    with pytest.raises(ValueError, match=r"float32 for LiteRT.*'mixed_bfloat16'.*set_weights"):
        ksbp.export.export_litert(model, tmp_path / "x.tflite", **arguments)
    assert not list(tmp_path.iterdir())


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
        with pytest.raises(TypeError, match=r"whose class has a `call` of its own, 'time' \(Scaled\)"):
            refused()
    assert not list(tmp_path.iterdir())
