"""Writes `docs/log/studies.md`, the log of small comparisons, from the reports of the trainings.

python -m docs.build.studies_page

`docs/training/half_width.json` is made by `examples.experiments.half_width --table FILE`, and so are
`deep_residual.json`, `rounding.json` and `speech.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.markdown import table
from examples.experiments.machine import made_with

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/log/studies.md"
REPORTS = ROOT / "docs/training"
INTRO = """# Log of studies

Small comparisons with few seeds: differences of a point may be chance. FOLDER holds prepared TensorFlow Datasets,
OPTIONS are those of a row. Accuracies are of the whole test set unless a section says otherwise.
"""
HALF_WIDTH = """## Settings of deep networks: VGG9 of half the width

`python -m examples.experiments.half_width OPTIONS --data-dir FOLDER`: CIFAR-10, 20,000 randomly flipped images, 2
epochs of `fit`, bfloat16 synapses, T = 4, `beta=1`, no label smoothing. Firing rate: spikes per neuron and step.
"""
DEEP_RESIDUAL = """## Deep residual networks

`python -m examples.experiments.deep_residual OPTIONS --data-dir FOLDER`: CIFAR-10, 10,000 randomly flipped images, 2
epochs of `fit`, bfloat16 synapses, T = 4, `beta=1`; 22 layers with weights, 40 with `--blocks 6`. Operations: millions
of synaptic operations per image; a spike that passes along sums counts at each of the synapses that it reaches.
"""
ROUNDING = """## Why deep spiking networks trail their ANN

`python -m examples.experiments.rounding OPTIONS --data-dir FOLDER`: the networks of the section before, with blocks
that add spikes, 8 epochs, T = 4; as an ANN, and as an ANN whose ReLU is rounded to the count of a neuron with a
constant current. Training accuracy is that of the last epoch; the surrogate a triangle as wide as the threshold.

With 22 layers rounding costs 7 points of training accuracy, the timing of spikes 4 more; neurons that may take a spike
back win 6, for a fifth more operations. With 40 layers they win 7, and the ANN is behind: 8 epochs are few for it. On
the test images each spiking network is more accurate than its ANN.
"""
SPEECH = """## Spoken digits

`python -m examples.experiments.speech --table FILE --data-dir FOLDER`: accuracy on the 250 test recordings, a figure
for each seed; on all recordings of a speaker whom the training did not hear, seed 0. Training varies speed (15 %),
vocal tract (10 %), microphone and room. Energy of a test recording: arithmetic alone.
"""


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
    text = table(list(columns), [list(row) for row in zip(*columns.values(), strict=True)])
    return f"{text}\n{made_with(row['machine'] for row in report)}."


def _percentages(row: dict[str, Any], key: str) -> str:
    """A fraction of each training of a row."""
    return ", ".join(f"{100 * training[key]:.1f}" for training in row["trainings"]) + " %"


def _mean(row: dict[str, Any], *keys: str) -> float | None:
    """The mean over the trainings of a row of the sum of these counts; None for networks without neurons."""
    found = [sum(training[key] for key in keys) for training in row["trainings"] if keys[0] in training]
    return sum(found) / len(found) if found else None


def speech(rows: list[dict[str, Any]]) -> str:
    """Each network: its test accuracies, and those for each speaker whom it did not hear."""
    networks = dict.fromkeys(row["network"] for row in rows)
    speakers = dict.fromkeys(row["without"] for row in rows if row["without"])
    cells = []
    for network in networks:
        own = [row for row in rows if row["network"] == network]
        unheard = {row["without"]: 100 * row["accuracy"] for row in own if row["without"]}
        test = ", ".join(f"{100 * row['accuracy']:.1f}" for row in own if not row["without"])
        mean = f"{sum(unheard.values()) / len(unheard):.1f}" if len(unheard) == len(speakers) else ""
        each = [f"{unheard[name]:.1f}" if name in unheard else "" for name in speakers]
        energies = [row["energy_nj"] for row in own if not row["without"]]
        energy = f"{sum(energies) / len(energies) / 1000:.1f}"
        cells.append([network, f"{own[0]['parameters']:,}", test, *each, mean, energy])
    text = table(["network", "parameters", "test, %", *speakers, "mean", "energy, µJ"], cells)
    return f"{text}\n{made_with(row['machine'] for row in rows)}."


def page() -> str:
    """The page as Markdown."""
    sections = {
        HALF_WIDTH: short_trainings("half_width"),
        DEEP_RESIDUAL: short_trainings("deep_residual"),
        ROUNDING: short_trainings("rounding"),
        SPEECH: speech(json.loads((REPORTS / "speech.json").read_text())),
    }
    return "\n".join([INTRO, *(f"{heading}\n{body.rstrip()}\n" for heading, body in sections.items())])


def main() -> None:
    PAGE.write_text(page())
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
