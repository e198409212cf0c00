"""The Python snippets of the documentation run, page by page, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {path.name: path.read_text() for path in sorted(DOCS.glob("*.md"))}
SNIPPETS = {name: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for name, text in PAGES.items()}


#: Pages whose snippets need packages that not everybody has are run by tests of their own.
ELSEWHERE = {"nir.md", "export.md"}


@pytest.mark.parametrize("name", [name for name, snippets in SNIPPETS.items() if snippets and name not in ELSEWHERE])
def test_snippets(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {}
    for snippet in SNIPPETS[name]:
        exec(snippet, names)


@pytest.mark.parametrize("name", PAGES)
def test_links(name):
    prose = re.sub(r"```.*?```", "", PAGES[name], flags=re.DOTALL)
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", prose):
        assert (DOCS / target).exists(), target
