"""Writes the tables of docs/training.md from the reports of the trainings.

python -m docs.build.training_tables

`docs/training/half_width.json` is made by `examples.experiments.half_width --table FILE`, `deep_residual.json` by
`examples.experiments.deep_residual --table FILE`, `rounding.json` by `examples.experiments.rounding --table FILE`;
`docs/training/few_steps/*.json` are reports of `examples.experiments.reproduce`, by the commands on the page.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.markdown import table
from docs.build.blocks import command_of, replaced
from examples.experiments.machine import made_with

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/training.md"
REPORTS = ROOT / "docs/training"
MAKER = "python -m docs.build.training_tables"
#: What differs between the trainings with few time steps.
TITLES = {
    "accumulated": "`accumulated`",
    "bounded": "`bounded`",
    "rate_penalty": "`bounded` with `FiringRate(0.25, strength=10)`",
}


def short_trainings(name: str) -> str:
    """The networks of one report of `examples.experiments.short_trainings`, with their options."""
    report = json.loads((REPORTS / f"{name}.json").read_text())
    columns: dict[str, list[str]] = {
        "network": [row["network"] for row in report],
        "options": [f"`{row['options']}`" for row in report],
        "accuracy": [_percentages(row, "accuracy") for row in report],
        "training accuracy": [_percentages(row, "training_accuracy") for row in report],
        "firing rate": [f"{mean:.2f}" if (mean := _mean(row, "firing_rate")) else "" for row in report],
        "operations": [f"{mean / 1e6:.1f}" if (mean := _mean(row, "accumulates", "macs")) else "" for row in report],
    }
    columns = {head: cells for head, cells in columns.items() if sum(map(bool, cells)) > 1}  # older reports lack some
    text = table(list(columns), [list(row) for row in zip(*columns.values(), strict=True)])
    return f"{text}\n{made_with(row['machine'] for row in report)}."


def _percentages(row: dict[str, Any], key: str) -> str:
    """A fraction of each training of a row."""
    found = [f"{100 * training[key]:.1f}" for training in row["trainings"] if key in training]
    return ", ".join(found) + " %" if found else ""


def _mean(row: dict[str, Any], *keys: str) -> float | None:
    """The mean over the trainings of a row of the sum of these counts; None for networks without neurons."""
    found = [sum(training[key] for key in keys) for training in row["trainings"] if keys[0] in training]
    return sum(found) / len(found) if found else None


def few_steps() -> str:
    """One epoch of LeNet on Fashion-MNIST with 8 time steps, by derivative."""
    reports = {name: json.loads((REPORTS / f"few_steps/{name}.json").read_text()) for name in TITLES}
    rows = []
    for name, report in reports.items():
        per_neuron, steps = report["test"]["spikes_per_neuron"], report["recipe"]["test_steps"]
        shown = ", ".join(f"{per_neuron[layer] / steps:.2f}" for layer in ("conv1", "conv2", "fc1"))
        rows.append([TITLES[name], f"{100 * report['test']['accuracy']:.1f} %", shown])
    commands = "\n".join(
        [
            "By these commands (each with an `--output` of its own, since their default is the same folder):\n",
            "```text",
            *(command_of(report) for report in reports.values()),
            "```",
        ]
    )
    text = table(["`gradient`", "accuracy", "fraction of steps at which conv1, conv2, fc1 fire"], rows)
    return f"{text}\n{commands}\n\n{made_with(report['machine'] for report in reports.values())}."


def page_text(page: str) -> str:
    """The page with its tables made anew."""
    page = replaced(page, f"{MAKER} (half width)", short_trainings("half_width"))
    page = replaced(page, f"{MAKER} (deep residual)", short_trainings("deep_residual"))
    page = replaced(page, f"{MAKER} (rounding)", short_trainings("rounding"))
    return replaced(page, f"{MAKER} (few steps)", few_steps())


def main() -> None:
    PAGE.write_text(page_text(PAGE.read_text()))
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
