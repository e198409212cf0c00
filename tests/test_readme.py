"""The code of the README runs as it stands (on fewer digits)."""

import re

import keras_spiking_bp as ksbp
from tests.pages import ROOT, run, snippets

README = ROOT / "README.md"


def test_snippets(monkeypatch, capsys, tmp_path):
    (x, y), (x_test, y_test) = ksbp.datasets.mnist_5k()
    monkeypatch.setattr(ksbp.datasets, "mnist_5k", lambda: ((x[:32], y[:32]), (x_test[:16], y_test[:16])))
    assert len(snippets(README)) == 3
    monkeypatch.chdir(tmp_path)
    assert run(README)["model"]


def test_is_short():
    assert len(README.read_text().splitlines()) <= 150


def test_linked_files_exist():
    prose = re.sub(r"```.*?```", "", README.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", prose)
    assert len(targets) > 5
    for target in targets:
        assert (README.parent / target).exists(), target
