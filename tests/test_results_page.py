"""The page of results says what the reports say, and nothing else."""

import json
import shlex
from pathlib import Path

import pytest

from examples import comparison_section, conversion_page, reproduce, results_page
from keras_spiking_bp.recipes import Recipe

DOCS = Path(__file__).parent.parent / "docs"


def report(**changes):
    row = {"accuracy": "0.5", "loss": "9", "learning_rate": "0.1"}
    return {
        "command": "python -m examples.reproduce --network lenet --dataset mnist",
        "recipe": {
            "network": "lenet", "dataset": "mnist", "num_steps": 20, "test_steps": 40, "batch_size": 64,
            "epochs": 3, "gradient": "accumulated", "policy": None, "drop_epochs": [],
        },
        "seed": 7,
        "data": {"training_samples": 60000, "tested_on": "test set", "note": "half"},
        "test": {
            "accuracy": 0.98765, "interval_95": [0.985, 0.99], "samples": 10000, "spikes_per_neuron": {"conv1": 1.5}
        },
        "training_seconds": 3600.0,
        "machine": {"cores": 2, "tensorflow": "2.21", "keras": "3.15", "python": "3.11"},
        "curve": [{"epoch": "1", "seconds": "100", **row}, {"epoch": "2", "seconds": "120", **row}],
        **changes,
    }  # fmt: skip


def test_figures(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(report()))
    results_page.main(["--reports", str(folder), "--output", str(tmp_path / "results.md")])
    page = (tmp_path / "results.md").read_text()
    row = "| LeNet | MNIST (half) | **98.77** | 98.50 to 99.00 | 99.59 | accumulated | 20 / 40 | 2 of 3 | 60 min |"
    assert row in page
    assert "| ResNet11 | CIFAR-10 | not run | | 90.95 | | | | |" in page
    assert "| VGG9 | CIFAR-10 | not run | | reported, not confirmed | | | | |" in page
    # 100 s the quickest epoch at T = 20; the paper: 125 epochs, T = 100
    assert f"about {100 * 5 * 125 / 3600:.1f} h for this training set (an estimate)" in page
    assert "Operations per image" not in page
    counted = report()
    operations = {"accumulates": 2e6, "macs": 5e5, "ann_accumulates": 0.0, "ann_macs": 4e6}
    counted["test"] |= {"firing_rate": 0.123, "operations_per_sample": operations}
    (folder / "a.json").write_text(json.dumps(counted))
    results_page.main(["--reports", str(folder), "--output", str(tmp_path / "results.md")])
    assert (
        "* 0.123 spikes per neuron and time step. Operations per image: 2.00 million AC and 0.50 million MAC, 4.1 µJ "
        "(42 with 8 KiB, 379 with 1 MiB); the same ANN: 0.00 million AC and 4.00 million MAC, 18.4 µJ (58 with 8 KiB, "
        "418 with 1 MiB)."
    ) in (tmp_path / "results.md").read_text()
    assert (tmp_path / "images" / "learning_curves.png").stat().st_size > 5000
    assert "Continued after a test" not in (tmp_path / "results.md").read_text()
    (folder / "earlier").mkdir()
    for epochs, accuracy in ((2, 0.6), (1, 0.5)):
        before = report(test={"accuracy": accuracy}, recipe={"epochs": epochs})
        (folder / "earlier" / f"a-{epochs}.json").write_text(json.dumps(before))
    results_page.main(["--reports", str(folder), "--output", str(tmp_path / "results.md")])
    text = (tmp_path / "results.md").read_text()
    assert "Continued after a test: 50.00 % after 1 epochs, 60.00 % after 2 epochs" in text


def test_a_run_that_was_not_tested_on_the_test_set_is_refused(tmp_path):
    held_out = report(data={"training_samples": 55000, "tested_on": "5,000 held-out samples", "note": ""})
    (tmp_path / "a.json").write_text(json.dumps(held_out))
    with pytest.raises(SystemExit, match="a.json is of a run that was tested on the 5,000 held-out samples"):
        results_page.main(["--reports", str(tmp_path), "--output", str(tmp_path / "results.md")])
    assert not (tmp_path / "results.md").exists()


def test_the_paper_s_recipe_is_named_behind_a_better_one(tmp_path):
    worse = report(command=f"{report()['command']} --recipe paper")
    worse["test"] |= {"accuracy": 0.6}
    for name, written in (("a-paper", worse), ("a", report())):  # by their names the other way round
        (tmp_path / f"{name}.json").write_text(json.dumps(written))
    page = results_page.page(results_page.load(tmp_path), "curves.png")
    assert page.index("| LeNet | MNIST (half) | **98.77**") < page.index(
        "| LeNet, recipe `paper` | MNIST (half) | **60.00**"
    )


def test_the_committed_page_is_made_from_the_committed_reports():
    reports = results_page.load(DOCS / "results")
    assert reports
    comparisons = comparison_section.load(DOCS / "comparison")
    conversions = conversion_page.load(DOCS / "conversion")
    page = results_page.page(reports, "images/learning_curves.png", comparisons, conversions)
    assert (DOCS / "results.md").read_text() == page


@pytest.mark.parametrize("path", sorted((DOCS / "results").glob("*.json")), ids=lambda path: path.stem)
def test_the_command_of_a_report_still_means_its_recipe(path):
    report = json.loads(path.read_text())
    meant = reproduce.recipe_of(reproduce.parse(shlex.split(report["command"])[3:]))
    assert meant == Recipe.from_dict(report["recipe"])


def test_the_committed_page_of_conversion_is_made_from_the_committed_reports():
    reports = conversion_page.load(DOCS / "conversion")
    assert reports
    few, (of_keras,) = (conversion_page.load(DOCS / "conversion" / of) for of in ("few_steps", "applications"))
    assert (DOCS / "conversion.md").read_text() == conversion_page.page(reports, "images/conversion.png", few, of_keras)
