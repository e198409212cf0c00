"""What `benchmarks.run` measures, and what it does not replace."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import run
from benchmarks.registry import GROWTH, SWEEP


def test_a_part_alone_replaces_no_figures(tmp_path, monkeypatch, capsys):
    figures = tmp_path / "page.json"
    figures.write_text("{}")
    for part in (["--section", "sweep"], ["--only", "ours"]):
        monkeypatch.setattr(sys, "argv", ["run", *part, "--output", str(tmp_path / "page.md")])
        with pytest.raises(SystemExit):
            run.main()
        assert "a part alone would replace" in capsys.readouterr().err
        assert figures.read_text() == "{}"


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
