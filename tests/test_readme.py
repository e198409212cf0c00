"""The code of the README and of the first page of the site runs as it stands, and the README is short."""

import json
import re

import numpy as np
import pytest

from docs.build import figures
from tests.pages import ROOT, assert_printed, blocks, run, words

README = ROOT / "README.md"


def test_snippets(few_digits, monkeypatch, tmp_path):
    """The first, and what it prints, is that of docs/index.md, whose others go on from it."""
    first, *others = blocks(ROOT / "docs" / "index.md")
    assert blocks(README)[0] == first
    monkeypatch.chdir(tmp_path)
    names = run(README, compare=False)
    assert names["model"].output_shape == (None, 10) and (tmp_path / "exported" / "saved_model.pb").exists()
    for code, _ in others:
        exec(code, names)


@pytest.mark.slow
def test_the_first_example_learns(capsys):
    code, shown = blocks(README)[0]
    exec(code, {})
    assert_printed(capsys.readouterr().out, shown)
    assert float(shown.split()[-1]) > 0.95


def test_figures_by_another_way():
    """The table has at most nine rows of short cells, with the figures of the reports."""
    first, _, *rows = figures.table().splitlines()
    assert first.count("|") == 4 and len(rows) <= 9
    assert all(len(cell.split()) <= 12 for row in rows for cell in row.split("|"))
    ours, ann = (json.loads((ROOT / f"docs/results/{name}vgg9-cifar10.json").read_text()) for name in ("", "ann/"))
    accuracies = f"{100 * ours['test']['accuracy']:.2f} % (T = 4) | {100 * ann['test']['accuracy']:.2f} % (itself"
    assert any(accuracies in row for row in rows)
    caches = {"8 KiB": 5, "1 MiB": 50}  # pJ for 32 bits
    compared = json.loads((ROOT / "docs/comparison/vgg9-cifar10.json").read_text())["rows"]
    for row in compared:
        words = (3 * row["accumulates"] + 3 * row["macs"]) if row["spikes"] else row["accumulates"] + 2 * row["macs"]
        arithmetic = 0.9 * row["accumulates"] + 4.6 * row["macs"]
        cached = [f"{(arithmetic + cost * words) / 1e6:,.0f} µJ ({size} cache)" for size, cost in caches.items()]
        of_these = (row["network"], row["at"]) in {("direct", "equal accuracy"), ("ANN", "full length")}
        assert any(", ".join(cached) in shown for shown in rows) is of_these
        assert any(f"| {arithmetic / 1e6:,.0f} µJ (" in shown for shown in rows) is of_these
    runs = json.loads((ROOT / "docs/benchmarks.json").read_text())["results"]
    step = {"section": "main", "network": "vgg9", "steps": 100, "batch": 16, "mode": "train"}
    seconds = {
        record["case"]: np.median([time for run in record["runs"] for time in run["times"]])
        for record in runs
        if step.items() <= record.items()
    }
    tuned = min(time for case, time in seconds.items() if case.endswith("_tuned"))
    assert any(f"| {seconds['ours']:.2f} s | {tuned:.2f} s (" in row for row in rows)


def test_the_table_is_made_from_the_committed_reports():
    assert figures.table() in README.read_text()


def test_it_is_short():
    assert words(README) <= 650


def test_linked_files_exist():
    prose = re.sub(r"```.*?```", "", README.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)|(?:src|srcset)=\"([^\"]*)\"", prose)
    assert len(targets) > 20
    for target, anchor, picture in targets:
        file = ROOT / (target or picture or "README.md")
        assert file.exists(), file
        if anchor:
            text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
            headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, (target, anchor)
