"""ONNX: the numbers of the library in a process without it and without TensorFlow."""

import sys

import pytest

import keras_spiking_bp as ksbp
from tests.export.networks import (
    assert_the_same,
    exact,
    in_a_fresh_process,
    in_the_library,
    lenet,
    maxima,
    recurrent,
    resnet,
    spikes,
)


@pytest.mark.parametrize("network", [lenet, maxima, recurrent, pytest.param(resnet, marks=pytest.mark.slow)])
def test_step_by_step_in_a_fresh_process(tmp_path, network):
    pytest.importorskip("tf2onnx", reason="needs tf2onnx to write the file")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime to run the file")
    model = exact(network(num_steps=5))
    ksbp.export.export_onnx(model, tmp_path / "step.onnx")
    for samples in (3, 1):
        inputs = spikes(samples, num_steps=100)
        (given,) = in_a_fresh_process([tmp_path / "step.onnx"], inputs, tmp_path)
        assert_the_same(given, in_the_library(model, inputs))

    session = onnxruntime.InferenceSession(tmp_path / "step.onnx")
    names = [f"{of}_{n.name}" for n in model.layers[-1].cell.neurons() if n.carries_state for of in n.carried_shapes]
    assert [tensor.name for tensor in session.get_inputs()] == ["spikes", *names]
    assert [tensor.name for tensor in session.get_outputs()] == ["outputs", *(f"next_{name}" for name in names)]
    assert {tensor.shape[0] for tensor in session.get_inputs() + session.get_outputs()} == {"batch"}


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match="export_onnx needs the package tf2onnx: pip install tf2onnx"):
        ksbp.export.export_onnx(lenet(num_steps=5), tmp_path / "step.onnx")
    assert not list(tmp_path.iterdir())


def test_low_precision(tmp_path):
    pytest.importorskip("tf2onnx", reason="needs tf2onnx to write the file")
    with pytest.raises(ValueError, match=r"float32 for ONNX.*'mixed_bfloat16'.*set_weights"):
        ksbp.export.export_onnx(lenet(num_steps=5, policy="mixed_bfloat16"), tmp_path / "step.onnx")
    assert not list(tmp_path.iterdir())
