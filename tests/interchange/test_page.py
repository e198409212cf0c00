"""The code of docs/nir.md runs as it stands."""

import numpy as np
import pytest

from tests.pages import ROOT, snippets

nir = pytest.importorskip("nir")
FILES, SNNTORCH = snippets(ROOT / "docs" / "nir.md")


def test_files(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(FILES, names)
    assert names["same"](np.zeros((2, 8, 8, 1), "float32")).shape == (2, 3)


def test_snntorch():
    pytest.importorskip("snntorch", reason="needs pip install 'keras-spiking-bp[peers]' (make test-peers)")
    names = {}
    exec(SNNTORCH, names)
    np.testing.assert_array_equal(np.stack(names["theirs"], 1), names["ours"])
    assert 0 < np.mean(names["theirs"]) < 1
