"""A trained network, whose sums are rounded: the same spikes but for very few, the same answers."""

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from tests.export.networks import in_a_fresh_process, in_the_library, share_flipped
from tests.networks import noisy_patterns

pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert to run LiteRT files")
pytest.importorskip("onnxruntime", reason="needs onnxruntime to run ONNX files")
pytest.importorskip("tf2onnx", reason="needs tf2onnx to write ONNX files")


def test_all_formats(tmp_path):
    x, y = noisy_patterns(768)
    model = ksbp.models.spiking_vgg((8, 8, 2), 4, [(8, 3), "pool"], [24], num_steps=12, seed=0)
    model.compile(keras.optimizers.Adam(3e-3), ksbp.losses.SparseSumSquaredError(), metrics=["accuracy"])
    model.fit(x[:512], y[:512], batch_size=32, epochs=4, verbose=0)
    inputs, labels = np.asarray(model.layers[1](x[512:]), "float32"), y[512:]
    expected = in_the_library(model, inputs)
    assert (expected["window"].argmax(-1) == labels).mean() > 0.9

    ksbp.export.export_saved_model(model, tmp_path / "saved_model")
    ksbp.export.export_litert(model, tmp_path / "window.tflite", batch_size=256)
    ksbp.export.export_litert(model, tmp_path / "step.tflite", form="step", batch_size=256)
    ksbp.export.export_litert(model, tmp_path / "int8.tflite", form="step", batch_size=256, weights="int8")
    ksbp.export.export_onnx(model, tmp_path / "step.onnx")
    for name in ("saved_model", "window.tflite", "step.tflite", "step.onnx", "int8.tflite"):
        given = in_a_fresh_process(tmp_path / name, inputs, tmp_path)
        outputs = [given["window"]] if "window" in given else []
        outputs += [given["outputs"][:, -1]] if "outputs" in given else []
        for output in outputs:
            agree = (output.argmax(-1) == expected["window"].argmax(-1)).mean()
            assert agree >= (0.97 if name == "int8.tflite" else 0.999), name
        if "outputs" in given and name != "int8.tflite":
            assert share_flipped(given, expected) <= 0.001, name
