"""LiteRT: the numbers of the library in a process without it and without TensorFlow."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.layers import BatchNormalization

import keras_spiking_bp as ksbp
from tests.export.networks import (
    assert_the_same,
    averages,
    exact,
    expected_of,
    in_a_fresh_process,
    in_the_library,
    lenet,
    recurrent,
    share_flipped,
    small,
    spikes,
)
from tests.slow import slow

interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert to run the files")


def rounded(model, file):
    """The model with the 8-bit weights of a LiteRT file; how many of its weight tensors have 8 bits."""
    reader = interpreter.Interpreter(str(file))
    reader.allocate_tensors()
    weights, found = model.get_weights(), 0
    factor_of = {}
    for synapse in model._flatten_layers():
        if isinstance(synapse, keras.Sequential) and isinstance(norm := synapse.layers[-1], BatchNormalization):
            factor_of[synapse.layers[-2].kernel.path] = norm.gamma / np.sqrt(norm.moving_variance + norm.epsilon)
    factors = [np.asarray(factor_of.get(weight.path, 1.0)) for weight in model.weights]
    for detail in reader.get_tensor_details():
        scales = detail["quantization_parameters"]["scales"]
        if detail["dtype"] != np.int8 or not len(scales):
            continue
        tensor = np.moveaxis(reader.get_tensor(detail["index"]), 0, -1) * scales  # output channels come first there
        i = next(
            i for i, w in enumerate(weights)
            if w.shape == tensor.shape and np.abs(w * factors[i] - tensor).max() < np.abs(w * factors[i]).max() / 127
        )  # fmt: skip
        weights[i] = (tensor / factors[i]).astype("float32")
        found += 1
    model.set_weights(weights)
    return model, found


@pytest.mark.parametrize("network", [lenet, *(slow(network) for network in (recurrent, averages))])
def test_window_and_steps_in_a_fresh_process(tmp_path, network):
    """With weights of 8 bits, of a folded batch normalisation too: rounded weights and nothing else."""
    model, expected = exact(network(num_steps=40)), expected_of(network)
    files = {(form, weights): tmp_path / f"{form}_{weights}.tflite" for weights, form in itertools.product(
        ("float32",) if network is recurrent else ("float32", "int8"), ("window", "step")
    )}  # fmt: skip
    for (form, weights), file in files.items():
        ksbp.export.export_litert(model, file, form=form, weights=weights, batch_size=3)
    results = dict(zip(files, in_a_fresh_process(files.values(), spikes(), tmp_path), strict=True))
    for (form, weights), given in results.items():
        assert ("window" in given) == (form == "window")
        if weights == "float32":
            assert_the_same(given, expected)
    if network is recurrent:
        return
    given = results["step", "int8"]
    assert files["step", "int8"].stat().st_size < 0.4 * files["step", "float32"].stat().st_size
    model, found = rounded(model, files["step", "int8"])
    assert found >= 2
    assert share_flipped(given, in_the_library(model, spikes())) <= 0.001
    np.testing.assert_allclose(given["outputs"][:, -1], 40 * results["window", "int8"]["window"], rtol=0, atol=1e-5)


def test_constant_currents_from_images(tmp_path):
    model = small(encoder=ksbp.ConstantEncoder(5, largest=16.0))
    ksbp.export.export_litert(model, tmp_path / "images.tflite", inputs="images", batch_size=2)
    serve = interpreter.Interpreter(str(tmp_path / "images.tflite")).get_signature_runner("images")
    images = np.random.default_rng(0).uniform(0, 1, (2, 12, 12, 1)).astype("float32")
    np.testing.assert_allclose(serve(images=images)["outputs"], model(images), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"linear": True}, {"clip": True, "threshold": 0.2}])
def test_latencies_from_images(tmp_path, options):
    model = exact(lenet(encoder=ksbp.LatencyEncoder(8, **options)))
    ksbp.export.export_litert(model, tmp_path / "images.tflite", inputs="images", batch_size=2)
    serve = interpreter.Interpreter(str(tmp_path / "images.tflite")).get_signature_runner("images")
    images = np.random.default_rng(0).uniform(0, 1, (2, 12, 12, 1)).astype("float32")
    expected = model(images)
    assert np.ptp(expected) > 1e-4
    np.testing.assert_allclose(serve(images=images)["outputs"], expected, atol=1e-7)


def test_a_window_that_runs_backwards(tmp_path):
    """Without steps in the inputs: `num_steps` of the file are those asked for."""
    inputs = keras.Input((None, 12, 12, 1))
    cell = exact(small(encoder=None)).layers[-1].cell
    model = keras.Model(inputs, ksbp.SpikingRNN(cell, go_backwards=True)(inputs))
    ksbp.export.export_litert(model, tmp_path / "window.tflite", num_steps=7, batch_size=3)
    serve = interpreter.Interpreter(str(tmp_path / "window.tflite")).get_signature_runner("spikes")
    assert serve.get_input_details()["spikes"]["shape"].tolist() == [3, 7, 12, 12, 1]
    x = spikes(num_steps=7)
    assert np.abs(model(x) - model(x[:, ::-1])).max() > 1e-2
    np.testing.assert_allclose(serve(spikes=x)["outputs"], model(x), atol=1e-5)
    with pytest.raises(ValueError, match="`model` must not have go_backwards=True"):
        ksbp.export.export_litert(model, tmp_path / "step.tflite", form="step")


@pytest.mark.parametrize(("arguments", "match"), [
    ({"form": "steps"}, r"`form` must be one of \['window', 'step'\]. Received: form='steps'"),
    ({"weights": "int4"}, r"`weights` must be one of \['float32', 'int8'\]"),
    ({"inputs": "pixels"}, r"`inputs` must be one of \['spikes', 'images'\]"),
    ({"batch_size": 0}, "`batch_size` must be an integer of at least 1"),
    ({"num_steps": 0}, "`num_steps` must be an integer of at least 1"),
    ({"form": "step", "num_steps": 3}, "`num_steps` is that of a window of spikes. Received: num_steps=3"),
])  # fmt: skip
def test_what_cannot_be(tmp_path, monkeypatch, arguments, match):
    model = small(num_steps=5)
    monkeypatch.setattr(tf, "function", None)  # refused before anything is traced
    with pytest.raises(ValueError, match=match):
        ksbp.export.export_litert(model, tmp_path / "x.tflite", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_layer_in_a_lower_precision_before_time(tmp_path):
    images = keras.Input((8, 8, 1))
    currents = ksbp.ConstantEncoder(5)(keras.layers.Conv2D(2, 3, dtype="mixed_bfloat16")(images))
    cell = ksbp.SequentialCell([keras.layers.Flatten(), ksbp.LIFCell(keras.layers.Dense(3))])
    model = keras.Model(images, ksbp.SpikingRNN(cell)(currents))
    with pytest.raises(ValueError, match="must compute in float32 for LiteRT. Received: layer 'conv2d"):
        ksbp.export.export_litert(model, tmp_path / "x.tflite", inputs="images")
    ksbp.export.export_litert(model, tmp_path / "x.tflite")  # without that layer


def test_integers_before_time(tmp_path):
    images = keras.Input((64,), dtype="uint8")
    pixels = keras.layers.Reshape((8, 8, 1), dtype="uint8")(images)
    currents = ksbp.ConstantEncoder(5)(keras.layers.Rescaling(1 / 255)(pixels))
    cell = ksbp.SequentialCell([keras.layers.Flatten(), ksbp.ReadoutCell(keras.layers.Dense(3))])
    model = keras.Model(images, ksbp.SpikingRNN(cell)(currents))
    ksbp.export.export_litert(model, tmp_path / "x.tflite", inputs="images")
    given = np.random.default_rng(0).integers(0, 256, (1, 64)).astype("uint8")
    run = interpreter.Interpreter(str(tmp_path / "x.tflite")).get_signature_runner("images")
    np.testing.assert_allclose(run(images=given)["outputs"], model(given), atol=1e-5)


def test_series_of_any_length(tmp_path):
    series = keras.Input((None, 3))
    layer = ksbp.SpikingRNN(ksbp.ReadoutCell(keras.layers.Dense(4)))
    model = keras.Model(series, layer(ksbp.DeltaEncoder(0.25)(series)))
    ksbp.export.export_litert(model, tmp_path / "x.tflite", inputs="images")
    serve = interpreter.Interpreter(str(tmp_path / "x.tflite")).get_signature_runner("images")
    for steps in (5, 9):
        x = np.random.default_rng(0).random((1, steps, 3), "float32")
        np.testing.assert_allclose(serve(images=x)["outputs"], model(x), atol=1e-6)


def test_a_free_number_of_steps_must_be_given(tmp_path):
    model = small(encoder=None)
    with pytest.raises(ValueError, match="`num_steps` must be given"):
        ksbp.export.export_litert(model, tmp_path / "x.tflite")
    with pytest.raises(ValueError, match="Give inputs='spikes' for this one"):
        ksbp.export.export_litert(model, tmp_path / "x.tflite", inputs="images")
    with pytest.raises(ValueError, match="`num_steps` is that of a window of spikes"):
        model = small(encoder=ksbp.ConstantEncoder(5))
        ksbp.export.export_litert(model, tmp_path / "x.tflite", inputs="images", num_steps=7)
    assert not list(tmp_path.iterdir())
