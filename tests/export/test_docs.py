"""The code of docs/export.md runs as it stands, and its three streams agree."""

import numpy as np
import pytest

from tests.pages import ROOT, run, snippets

PAGE = ROOT / "docs" / "export.md"


@pytest.mark.slow
def test_snippets(monkeypatch, tmp_path):
    for package in ("ai_edge_litert", "onnxruntime", "tf2onnx"):
        pytest.importorskip(package, reason="needs the packages of the extra `export`")
    assert len(snippets(PAGE)) == 5
    monkeypatch.chdir(tmp_path)
    names = run(PAGE)
    window = names["loaded"].signatures["spikes"](spikes=names["spikes"])["outputs"]
    assert np.abs(window).max() > 0
    for name in ("prediction", "prediction_litert", "prediction_onnx"):
        np.testing.assert_allclose(names[name], window, atol=1e-5)
