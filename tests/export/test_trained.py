"""A trained network, whose sums are rounded: the same spikes but for very few, the same answers."""

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from examples import export
from tests.export.networks import in_a_fresh_process, in_the_library, share_flipped
from tests.networks import noisy_patterns

pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert to run LiteRT files")
pytest.importorskip("onnxruntime", reason="needs onnxruntime to run ONNX files")
pytest.importorskip("tf2onnx", reason="needs tf2onnx to write ONNX files")


NETWORKS = {
    "plain": lambda: ksbp.models.spiking_vgg(
        (8, 8, 2), 4, [(8, 3), "pool"], [24], num_steps=12, seed=0, preset="paper"
    ),
    "residual": lambda: ksbp.models.spiking_resnet(
        (8, 8, 2), 4, [(8, 1), (12, 2)], [24], num_steps=12, kappa=4.0, stem_filters=8, seed=0, preset="paper"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("network", ["plain", "residual"])
def test_all_files_of_the_script(network, tmp_path):
    x, y = noisy_patterns(768)
    model = NETWORKS[network]()
    model.compile(keras.optimizers.Adam(3e-3), ksbp.losses.SparseSumSquaredError(), metrics=["accuracy"])
    model.fit(x[:512], y[:512], batch_size=32, epochs=3, verbose=0)
    inputs, labels = np.asarray(model.layers[1](x[512:]), "float32"), y[512:]
    expected = in_the_library(model, inputs)
    assert (expected["window"].argmax(-1) == labels).mean() > 0.9

    model.save(tmp_path / "model.keras")
    options = ["--model", str(tmp_path / "model.keras"), "--output", str(tmp_path / "made")]
    files = export.main([*options, "--batch-size", str(len(inputs))])
    assert len(files) == 6
    for file, given in zip(files, in_a_fresh_process(files, inputs, tmp_path), strict=True):
        exactly = "int8" not in file.name  # that is the network of the rounded weights
        outputs = [given["window"]] if "window" in given else []
        outputs += [given["outputs"][:, -1]] if "outputs" in given else []
        for output in outputs:
            same = output.argmax(-1) == expected["window"].argmax(-1)
            assert same.mean() >= (0.999 if exactly else 0.97), file
        if "outputs" in given and exactly:
            assert share_flipped(given, expected) <= 0.001, file
