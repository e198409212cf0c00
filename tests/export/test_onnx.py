"""ONNX: the numbers of the library in a process without it and without TensorFlow."""

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from tests.export.networks import (
    assert_the_same,
    exact,
    expected_of,
    in_a_fresh_process,
    lenet,
    maxima,
    recurrent,
    spikes,
)
from tests.slow import slow


@pytest.mark.parametrize("network", [recurrent, slow(lenet), slow(maxima)])
def test_step_by_step_in_a_fresh_process(tmp_path, network):
    pytest.importorskip("tf2onnx", reason="needs tf2onnx to write the file")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime to run the file")
    model = exact(network(num_steps=5))
    ksbp.export.export_onnx(model, tmp_path / "step.onnx")
    inputs, expected = spikes(), expected_of(network)
    (given,) = in_a_fresh_process([tmp_path / "step.onnx"], inputs, tmp_path)
    assert_the_same(given, expected)

    session = onnxruntime.InferenceSession(tmp_path / "step.onnx")
    names = [f"{of}_{n.name}" for n in model.layers[-1].cell.neurons() if n.carries_state for of in n.carried_shapes]
    assert [tensor.name for tensor in session.get_inputs()] == ["spikes", *names]
    assert [tensor.name for tensor in session.get_outputs()] == ["outputs", *(f"next_{name}" for name in names)]
    assert {tensor.shape[0] for tensor in session.get_inputs() + session.get_outputs()} == {"batch"}
    states = [np.zeros((1, *state.shape[1:]), "float32") for state in session.get_inputs()[1:]]  # another batch
    for t in range(inputs.shape[1]):
        feed = {"spikes": inputs[:1, t], **dict(zip(names, states, strict=True))}
        outputs, *states = session.run(None, feed)
    np.testing.assert_allclose(outputs, expected["outputs"][:1, -1], rtol=0, atol=1e-5)


def test_operations_that_onnx_lacks(tmp_path):
    pytest.importorskip("tf2onnx", reason="needs tf2onnx to write the file")
    checker = pytest.importorskip("onnx").checker
    inputs, layer = keras.Input((5, 6, 6, 4)), keras.layers.Conv2D(4, 3, groups=2)
    with pytest.raises(checker.ValidationError, match="No Op registered"):
        ksbp.export.export_onnx(keras.Model(inputs, ksbp.SpikingRNN(ksbp.LIFCell(layer))(inputs)), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_low_precision(tmp_path):
    pytest.importorskip("tf2onnx", reason="needs tf2onnx to write the file")
    with pytest.raises(ValueError, match=r"float32 for ONNX.*'mixed_bfloat16'.*set_weights"):
        ksbp.export.export_onnx(lenet(num_steps=5, dtype="mixed_bfloat16"), tmp_path / "step.onnx")
    assert not list(tmp_path.iterdir())
