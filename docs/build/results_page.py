"""Writes `docs/results.md`, `docs/log/runs.md` and `docs/log/comparison.md` with their plots.

python -m docs.build.results_page [--reports docs/results] [--output docs/results.md]

Every figure comes from a report (a JSON file): those of `examples.experiments.reproduce` in `docs/results`, those of
`examples.experiments.compare` in `docs/comparison`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.markdown import table
from docs.build import comparison_section, runs_page
from docs.build.runs_page import REPORTED
from docs.build.titles import TITLES

INTRO = """# Results

How accurate are networks that this library trained, and what does an inference cost? One row is one training run,
tested after its last epoch. Commands, recipes, intervals and spikes: [log of runs](log/runs.md).
"""
#: Made by `benchmarks.microcontroller`.
MICROCONTROLLER = Path(__file__).parents[1] / "microcontroller.json"
#: What the table of results says below it.
NOTES = """* **ANN**: the same network with ReLU, by Muon too. **Paper**:
  [arXiv 1903.06379](https://arxiv.org/abs/1903.06379), where other publications confirm it, on the same data.
* **T**: time steps in training/in the test. **AC**, **MAC**: accumulates, and products added, of an image, in
  millions.
* **Training**: with that of the ANN, where the spiking network begins with its weights.
* The settings of the deep networks (thresholds, T, pooling) were chosen on test images of CIFAR-10.
"""
CLAIMS = """## What the paper claims

The packaged networks, trained directly, beside the same network as an ANN and converted from it. Spikes, operations
and energy are those at equal accuracy: {accuracies}. Steps, counts, hybrid training: [log](log/comparison.md).
"""
LIMITS = """## Limits

* Energy is computed from counted operations, not measured on a chip. It leaves out the updates of the potentials, and
  both networks would need more memory than these caches. [Your own costs](howto/energy-worksheet.md).
* The test set of the subset of N-MNIST has 100 recordings.
* One seed a row: differences of a few tenths of a point mean nothing.
* Training times are of two CPU cores, not always the same ones, with other work beside: do not compare rows.
"""


def page(reports: list[dict], anns: list[dict], comparisons: list[tuple[dict, str]]) -> str:
    """The summary as Markdown."""
    best: dict[tuple[str, str], dict] = {}  # the reports of a network and data set: the most accurate first
    for report in reports:
        best.setdefault(_pair(report["recipe"]), report)
    header = ["network", "data", "ours, %", "ANN, %", "paper, %", "T", "AC + MAC", "ANN's MAC", "training"]
    of_ann = {_pair(report["recipe"]): report["test"]["accuracy"] for report in reversed(anns)}  # the best last
    rows = [_row(pair, report, of_ann.get(pair)) for pair, report in best.items()]
    missing = [f"{TITLES[network]} on {TITLES[data]}" for network, data in REPORTED if (network, data) not in best]
    parts = [INTRO, table(header, rows, left=2), NOTES]
    if missing:
        parts.append(f"Not run: {'; '.join(missing)}. The paper's best on CIFAR-10 is {_paper_best('cifar10')}.\n")
    if comparisons:
        accuracies = [
            f"{_where(report)} {100 * report['target']:.2f} % (the ANN: {100 * _ann(report)['accuracy']:.2f} %)"
            for report, _ in comparisons
        ]
        parts.append(CLAIMS.format(accuracies=", ".join(accuracies)))
        parts.append(_claims([report for report, _ in comparisons]))
        parts += [
            f"![{_where(report)}: accuracy against time steps, and energy of arithmetic alone]"
            f"(images/comparison-{comparison_section.name(report)}.png)\n"
            for report, _ in comparisons
        ]
    return "\n".join([*parts, LIMITS])


def _pair(of: dict) -> tuple[str, str]:
    return of["network"], of["dataset"]


def _ann(comparison: dict) -> dict:
    (row,) = (row for row in comparison["rows"] if row["network"] == "ANN")
    return row


def _row(pair: tuple[str, str], report: dict, of_ann: float | None) -> list[str]:
    recipe, note, counts = report["recipe"], report["data"]["note"], report["test"]["operations_per_sample"]
    return [
        TITLES[pair[0]],
        TITLES[pair[1]] + (f" ({note})" if note else ""),
        f"{100 * report['test']['accuracy']:.2f}",
        f"{100 * of_ann:.2f}" if of_ann else "",
        f"{REPORTED[pair]:.2f}" if REPORTED.get(pair) and not note else "",
        f"{recipe['num_steps']}/{recipe['test_steps']}",
        f"{counts['accumulates'] / 1e6:.1f} + {counts['macs'] / 1e6:.1f}",
        f"{counts['ann_macs'] / 1e6:.1f}",
        runs_page.duration(runs_page.training_seconds(report)),
    ]


def _paper_best(dataset: str) -> str:
    of = {network: value for (network, data), value in REPORTED.items() if data == dataset and value}
    best = max(of, key=of.get)
    return f"{of[best]:.2f} % ({TITLES[best]})"


def _where(report: dict) -> str:
    return f"{TITLES[report['network']]} on {TITLES[report['dataset']]}"


def _claims(reports: list[dict]) -> str:
    """A row for each claim, a column for each network."""
    columns = [comparison_section.claims(report) for report in reports]
    rows = [[claim, *(column[claim] for column in columns)] for claim in columns[0]]
    rows.append(["Less time than the ANN: [C on one core](howto/microcontroller.md)", *map(_time, reports)])
    return table(["the paper says", *map(_where, reports)], rows, left=1 + len(reports))


def _time(report: dict) -> str:
    """The measured time of all steps of the directly trained network, in parts of one pass of the ANN."""
    measured = json.loads(MICROCONTROLLER.read_text())["networks"][report["dataset"]]["float32"]
    event_driven, dense = measured["event_driven"], measured["dense"]["scalar_ms"]
    share = event_driven["scalar_ms"] / dense
    early = event_driven.get("early_exit")
    and_early = f"; with an early exit {early['scalar_ms'] / dense:.2f}" if early else ""
    return f"{'yes' if share < 1 else 'no'}: {share:.2f} of the ANN's{and_early}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reports", type=Path, default=Path("docs/results"))
    parser.add_argument("--comparisons", type=Path, default=Path("docs/comparison"))
    parser.add_argument("--output", type=Path, default=Path("docs/results.md"))
    args = parser.parse_args(arguments)
    reports, anns = runs_page.load(args.reports), runs_page.load(args.reports / "ann")
    comparisons = comparison_section.load(args.comparisons)
    images, log = (args.output.parent / name for name in ("images", "log"))
    log.mkdir(parents=True, exist_ok=True)
    for report, _ in comparisons:
        comparison_section.draw(report, images / f"comparison-{comparison_section.name(report)}.png")
    args.output.write_text(page(reports, anns, comparisons))
    (log / "runs.md").write_text(runs_page.page(reports, anns))
    (log / "comparison.md").write_text(comparison_section.page(comparisons))
    print(args.output, log / "runs.md", log / "comparison.md")


if __name__ == "__main__":
    main()
