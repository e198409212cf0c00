"""The code of the README runs as it stands."""

import re

import pytest

import keras_spiking_bp as ksbp
from tests.pages import ROOT, snippets

README = ROOT / "README.md"


@pytest.mark.slow
def test_snippets(monkeypatch, tmp_path):
    """The first is that of docs/index.md, which tests/test_docs.py runs."""
    first, *others = snippets(README)
    assert first == snippets(ROOT / "docs" / "index.md")[0] and len(others) == 2
    monkeypatch.chdir(tmp_path)
    names = {"ksbp": ksbp}
    for code in others:
        exec(code, names)
    assert names["digits"].output_shape == (None, 10) and names["scores"].shape == (1, 10)
    assert (tmp_path / "exported" / "saved_model.pb").exists()


@pytest.mark.slow
def test_the_first_example_learns():
    names = {}
    exec(snippets(README)[0], names)
    _, (x_test, y_test) = ksbp.datasets.mnist_5k()
    assert names["model"].evaluate(x_test, y_test, verbose=0)[1] > 0.95


def test_linked_files_exist():
    prose = re.sub(r"```.*?```", "", README.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", prose)
    assert len(targets) > 5 and sum(bool(anchor) for _, anchor in targets) > 3
    for target, anchor in targets:
        file = ROOT / target if target else README
        assert file.exists(), target
        if anchor:
            text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
            headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, (target, anchor)
