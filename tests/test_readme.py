"""The code of the README runs as it stands (on fewer digits)."""

import re
from pathlib import Path

import keras_spiking_bp as ksbp

README = Path(__file__).parent.parent / "README.md"


def test_snippets(monkeypatch, capsys, tmp_path):
    (x, y), (x_test, y_test) = ksbp.datasets.mnist_5k()
    monkeypatch.setattr(ksbp.datasets, "mnist_5k", lambda: ((x[:64], y[:64]), (x_test[:32], y_test[:32])))
    snippets = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(snippets) == 4
    monkeypatch.chdir(tmp_path)
    names = {}
    for snippet in snippets:
        exec(snippet, names)
    assert names["model"]


def test_linked_files_exist():
    prose = re.sub(r"```.*?```", "", README.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", prose)
    assert len(targets) > 5
    for target in targets:
        assert (README.parent / target).exists(), target
