"""The examples for users run, on fewer digits and steps; their README lists them."""

import csv
import re
import sys

import pytest

from examples import compare, convert, demo, reproduce
from tests.pages import ROOT

FOLDER = ROOT / "examples"


def test_examples_are_listed():
    readme = (FOLDER / "README.md").read_text()
    names = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "peer_cells"}
    assert all(f"python -m examples.{name}" in readme for name in names)


@pytest.mark.slow
def test_demo(few_digits, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["demo", "--epochs", "1", "--num-steps", "4", "--output", str(tmp_path)])
    demo.main()
    printed = capsys.readouterr().out
    assert re.search(r"test accuracy: 0\.\d{3} ", printed) and "time per epoch" in printed
    assert re.search(r"conv1 +\d+\.\d +\(\d\.\d\d per neuron\)", printed)
    assert (tmp_path / "spiking_lenet.keras").stat().st_size > 1e6 and (tmp_path / "demo.png").stat().st_size > 1e4


@pytest.mark.slow
def test_convert_and_compare(few_digits, capsys):
    accuracy, curve = convert.main(["--epochs", "1", "--num-steps", "4"])
    assert len(curve) == 4 and f"ANN: {accuracy:.3f}" in capsys.readouterr().out
    comparison = compare.main(["--epochs", "1", "--num-steps", "3"])
    assert {row["network"] for row in comparison.rows} == {"ANN", "converted", "direct"}


@pytest.mark.slow
def test_reproduce_goes_on(few_images, tmp_path, monkeypatch):
    options = ["--epochs", "1", "--num-steps", "3", "--output", str(tmp_path)]
    monkeypatch.setattr(reproduce, "BATCH_SIZE", 8)
    run = reproduce.main(options)
    assert run.samples == 10
    with pytest.warns(UserWarning, match="nothing is trained|is finished|trained already"):
        assert reproduce.main(options).correct().tolist() == run.correct().tolist()


@pytest.mark.slow
def test_tune_goes_on(tmp_path, few_digits):
    pytest.importorskip("keras_tuner", reason="keras-tuner is not installed (extra: tuner)")
    from examples import tune

    options = ["--trials", "2", "--epochs", "1", "--verbose", "0", "--output", str(tmp_path)]
    rows = tune.main(options)
    assert len(rows) == 2 and all(row["spikes"] > 0 for row in rows)
    written = list(csv.DictReader((tmp_path / "trials.csv").open()))
    assert [float(row["spikes"]) for row in written] == [row["spikes"] for row in rows]
    assert (tmp_path / "pareto.png").stat().st_size > 5000
    assert tune.main(options) == rows  # nothing is tried anew
