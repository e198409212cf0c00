"""What `benchmarks.run` measures, and what it does not replace."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import report, run
from benchmarks.registry import GROWTH, SWEEP
from tests.pages import ROOT


def test_a_part_alone_replaces_no_figures(tmp_path, monkeypatch, capsys):
    figures = tmp_path / "page.json"
    figures.write_text("{}")
    for part in (["--section", "sweep"], ["--only", "ours"]):
        monkeypatch.setattr(sys, "argv", ["run", *part, "--output", str(tmp_path / "page.md")])
        with pytest.raises(SystemExit):
            run.main()
        assert "a part alone would replace" in capsys.readouterr().err
        assert figures.read_text() == "{}"


def test_the_committed_page_is_made_from_the_committed_figures():
    docs = ROOT / "docs"
    images = ["images/benchmarks-step-time.png", "images/benchmarks-sweep.png"]
    page = report.page_text(json.loads((docs / "benchmarks.json").read_text()), images, docs)
    assert page == (docs / "benchmarks.md").read_text()


def test_rounds_are_only_added(tmp_path, monkeypatch, capsys):
    figures = tmp_path / "page.json"
    figures.write_text(json.dumps({"machine": run.machine.describe(), "settings": {"rounds": 5}, "results": []}))
    rounds = []
    monkeypatch.setattr(run, "jobs", lambda settings, number: iter(()))
    monkeypatch.setattr(run, "once", lambda settings, in_main: rounds.append(settings.rounds) or iter(()))
    monkeypatch.setattr(report, "write", lambda data, page: [])
    resumed = ["run", "--resume", "--section", "growth", "--output", str(tmp_path / "page.md")]
    for option in ([], ["--rounds", "6"]):
        monkeypatch.setattr(sys, "argv", [*resumed, *option])
        run.main()
    assert rounds == [5, 6]
    monkeypatch.setattr(sys, "argv", [*resumed, "--rounds", "1"])
    with pytest.raises(SystemExit):
        run.main()
    assert "has 5 rounds already" in capsys.readouterr().err and len(rounds) == 2


def test_sizes_of_the_main_tables_are_measured_once():
    settings = run.Settings(
        main=(("vgg9", 100, 16),), sweep=(("vgg9", 16),), sweep_steps=(25, 100), growth=(("vgg9", 100, 16),)
    )
    alone = list(run.once(settings, ()))
    assert len(alone) == 2 * len(SWEEP) + len(GROWTH)
    beside = list(run.once(settings, settings.main))
    assert {(job.section, job.steps) for job in beside} == {("sweep", 25)} and len(beside) == len(SWEEP)


def test_figures_are_written_whole(tmp_path, monkeypatch):
    run.write(tmp_path / "figures.json", {"results": [1]})

    def stopped(path, text):
        path.write_bytes(text.encode()[: len(text) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", stopped)
    with pytest.raises(KeyboardInterrupt):
        run.write(tmp_path / "figures.json", {"results": [2]})
    assert json.loads((tmp_path / "figures.json").read_text()) == {"results": [1]}
