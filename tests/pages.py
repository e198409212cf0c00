"""The code of a page of the documentation, what it prints, and the words of a page."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e-?\d+)?")


def blocks(path):
    """The Python snippets of a Markdown file, in their order, each with the output shown directly after it, or ""."""
    text = Path(path).read_text()
    return re.findall(r"```python\n(.*?)```(?:\n+```text\n(.*?)```)?", text, re.DOTALL)


def snippets(path):
    """The Python snippets of a Markdown file, in their order."""
    return [code for code, _ in blocks(path)]


def run(path, compare=True):
    """Runs the snippets of a page one after the other; the names that they leave. Compares what they print."""
    names = {}
    for code, shown in blocks(path):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        if shown and compare:
            assert_printed(printed.getvalue(), shown)
    return names


def assert_printed(printed, shown):
    """The same text, line by line, but for numbers: these within a twentieth, as training differs by rounding."""

    def text(output):
        return [" ".join(line.split()) for line in NUMBER.sub("0", re.sub("-{3,}", "-", output)).strip().splitlines()]

    def numbers(output):
        return [float(number.replace(",", "")) for number in NUMBER.findall(output)]

    assert text(printed) == text(shown), printed
    assert numbers(printed) == pytest.approx(numbers(shown), rel=0.05), printed


def words(path):
    """How many words a reader of a page sees, code among them; without addresses and comments."""
    text = re.sub(r"\]\([^)\s]*\)|<!--.*?-->|</?[a-z][^<>]*>", "", Path(path).read_text())
    return len(re.findall(r"\S*\w\S*", text))


def site():
    """Words of each page of the site that people write, without those that commands write; of the API its frame."""
    pages = (path for path in sorted(DOCS.rglob("*.md")) if "log" not in path.parts)
    return {path.relative_to(DOCS).as_posix(): words(path) for path in pages}
