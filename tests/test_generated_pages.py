"""The generated pages are those of the committed reports, and their figures are right."""

import json
import shlex

import numpy as np
import pytest

from benchmarks import report as benchmarks
from benchmarks import summary
from docs.build import (
    comparison_section,
    microcontroller_table,
    results_page,
    runs_page,
    studies_page,
    zoo_page,
)
from docs.build.blocks import command_of, replaced
from examples.experiments import deep_residual, half_width, reproduce, rounding
from examples.experiments.recipes import Recipe
from examples.experiments.report import wilson_interval
from tests.pages import ROOT

DOCS = ROOT / "docs"


def runs_of(name):
    return json.loads((DOCS / f"{name}.json").read_text())


def benchmarks_in(maker, *arguments):
    return maker(runs_of("benchmarks"), *arguments, DOCS)


#: The text that its generator writes today, of each page.
MADE = {
    "results.md": lambda: results_page.page(
        runs_page.load(DOCS / "results"),
        runs_page.load(DOCS / "results/ann"),
        comparison_section.load(DOCS / "comparison"),
    ),
    "log/runs.md": lambda: runs_page.page(runs_page.load(DOCS / "results"), runs_page.load(DOCS / "results/ann")),
    "benchmarks.md": lambda: benchmarks_in(summary.page_text, benchmarks.pictures("benchmarks")),
    "log/benchmarks.md": lambda: benchmarks_in(benchmarks.page_text, "benchmarks.md"),
    "log/studies.md": studies_page.page,
    "models.md": lambda: zoo_page.page(runs_of("zoo")),
    "log/comparison.md": lambda: comparison_section.page(comparison_section.load(DOCS / "comparison")),
}


@pytest.mark.parametrize("page", MADE)
def test_the_committed_page_is_made_from_the_committed_reports(page):
    assert MADE[page]() == (DOCS / page).read_text()


def test_the_block_on_microcontrollers_is_made_from_the_committed_report():
    text = (DOCS / "howto/microcontroller.md").read_text()
    block = microcontroller_table.block(runs_of("microcontroller"))
    assert replaced(text, microcontroller_table.MAKER, block) == text


def test_the_verdicts_by_another_way():
    for name in ("lenet-mnist", "vgg9-cifar10"):
        compared = json.loads((DOCS / f"comparison/{name}.json").read_text())
        row = {(row["network"], row["at"]): row for row in compared["rows"]}
        direct, ann = row["direct", "equal accuracy"], row["ANN", "full length"]
        (verdict,) = (text for claim, text in comparison_section.claims(compared).items() if "8 KiB" in claim)
        spent = (0.9 + 3 * 5) * direct["accumulates"] + (4.6 + 3 * 5) * direct["macs"]  # 3 words of 5 pJ
        of_ann = (0.9 + 5) * ann["accumulates"] + (4.6 + 2 * 5) * ann["macs"]  # the sum is in a register
        assert verdict.startswith(f"{'yes' if spent < of_ann else 'no'}: {spent / of_ann:.2f} of the ANN's")


def test_a_run_that_was_not_tested_on_the_test_set_is_refused(tmp_path):
    held_out = {"data": {"tested_on": "5,000 held-out samples"}}
    (tmp_path / "a.json").write_text(json.dumps(held_out))
    with pytest.raises(SystemExit, match="a.json is of a run that was tested on the 5,000 held-out samples"):
        results_page.main(["--reports", str(tmp_path), "--output", str(tmp_path / "results.md")])
    assert not (tmp_path / "results.md").exists()


@pytest.mark.parametrize("path", sorted((DOCS / "results").glob("*.json")), ids=lambda path: path.stem)
def test_the_command_of_a_report_still_means_its_recipe(path):
    report = json.loads(path.read_text())
    meant = reproduce.recipe_of(reproduce.parse(shlex.split(command_of(report))[3:]))
    assert meant == Recipe.from_dict(report["recipe"])


@pytest.mark.parametrize("example", [half_width, deep_residual, rounding])
def test_the_options_of_short_trainings_still_mean_their_rows(example):
    report = json.loads((ROOT / f"docs/training/{example.__name__.split('.')[-1]}.json").read_text())
    assert {row["options"]: row["network"] for row in report} == example.TABLE
    for options in example.TABLE:
        example.TRAININGS.parse(options.split())


def test_how_far_an_accuracy_may_be_off():
    right = np.random.default_rng(0).binomial(400, 0.8, 100_000) / 400
    covered = [low <= 0.8 <= high for low, high in (wilson_interval(p, 400) for p in np.unique(right))]
    shares = [np.mean(right == p) for p in np.unique(right)]
    assert np.dot(covered, shares) == pytest.approx(0.95, abs=0.01)
