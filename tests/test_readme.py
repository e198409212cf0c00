"""The code of the README runs as it stands (on fewer digits)."""

import re

from tests.pages import ROOT, run, snippets

README = ROOT / "README.md"


def test_snippets(few_digits, monkeypatch, capsys, tmp_path):
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
