"""Writes `docs/log/conversion.md` and its plot, and the table in `docs/howto/convert.md`, from the reports.

python -m docs.build.conversion_page [--reports docs/conversion] [--output docs/log/conversion.md]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.markdown import table
from benchmarks.plotting import plt
from docs.build.blocks import command_of, replaced
from docs.build.titles import TITLES
from examples.experiments.report import wilson_interval
from keras_spiking_bp.analysis.style import COLORS, DARK_GREY, GREY, LINES

NETWORKS = {
    "vgg_bn": "VGG with batch normalisation",
    "mobilenet_v2": "A small MobileNetV2",
    "densenet": "A small DenseNet",
    "inception": "A small Inception",
    "resnet_v2": "A small ResNetV2",
    "xception": "A small Xception",
}
#: Those of `examples.experiments.few_steps` that are smaller.
FEW_STEPS_NETWORKS = NETWORKS | {
    "vgg_bn": "VGG with batch normalisation, half as wide,",
    "vgg9": "VGG9 with max pooling, an eighth as wide,",
}
PICTURE = "../images/conversion.png"  # seen from the page
HOW_TO = Path("docs/howto/convert.md")
MAKER = "python -m docs.build.conversion_page"
SHOWN = (1, 2, 4, 8, 16, 32, 64, 100, 200, 400)
INTRO = """# Log of conversion

The accuracy in % of networks that [`convert_to_snn`](../howto/convert.md) made from trained ANNs, by number of time
steps; in the last column the percentage points lost at the end. Then [few time steps](#few-time-steps).
"""
FEW_STEPS = """## Few time steps

Small networks, trained briefly. Test accuracy in %, and in brackets the percentage points lost relative to the ANN:

* **percentile 99.9**: the default of `convert_to_snn`;
* **half a threshold**: `initial_membrane=0.5`;
* **least error**: also `method="mse"`;
* **signed**: `signed=True`;
* **calibrated**: `calibrate_biases=True`.

Differences of a point or two may be chance: compare the errors. The last columns give the error of the outputs: the
root-mean-square difference from those of the ANN, in % of the latter's standard deviation.
"""
ENOUGH = 0.5  # percentage points below ANN


def load(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def title(report: dict, networks: dict[str, str] = NETWORKS) -> str:
    network = networks.get(report["network"]) or TITLES[report["network"]]
    return f"{network} on {TITLES[report['dataset']]}"


def few_steps(reports: list[dict]) -> list[str]:
    """The section on few time steps: one table per network."""
    lines = [FEW_STEPS]
    for report in reports:
        ann, steps = 100 * report["ann_accuracy"], report["steps"]
        low, high = (100 * bound for bound in wilson_interval(report["ann_accuracy"], report["samples"]))
        signed = ", signed" if "half a threshold, signed" in report["accuracies"] else ""
        lines += [
            f"### {title(report, FEW_STEPS_NETWORKS)}{signed}",
            "",
            f"`{command_of(report)}`",
            "",
            f"{report['train']:,} training and {report['samples']:,} test images; ANN: {ann:.2f} % "
            f"(95 %: {low:.1f} to {high:.1f}).",
            "",
            f"| accuracy after | {' | '.join(map(str, steps))} | within {ENOUGH} points | error after "
            f"{' | '.join(map(str, steps))} |",
            f"| --- |{' ---: |' * (2 * len(steps) + 1)}",
        ]
        for name, found in report["accuracies"].items():
            figures = [f"{100 * accuracy:.1f} ({ann - 100 * accuracy:.1f})" for accuracy in found]
            figures.append(enough(found, steps, report["ann_accuracy"]))
            figures += [f"{100 * error:.0f}" for error in report["errors"][name]]
            lines.append(f"| {name} | {' | '.join(figures)} |")
        lines.append("")
    return lines


def enough(accuracies: list[float], steps: list[int], of_ann: float) -> str:
    """The first of the tried numbers of steps from which accuracy stays near that of the ANN."""
    far = [i for i, accuracy in enumerate(accuracies) if 100 * (of_ann - accuracy) > ENOUGH + 1e-9]
    first = max(far, default=-1) + 1
    return f"from {steps[first]}" if first < len(steps) else "later"


def signed_table(reports: list[dict], shown: Sequence[int] = (8, 16, 32)) -> str:
    """Accuracy after few steps, without and with neurons that take spikes back."""
    plain, signed = "half a threshold", "half a threshold, signed"
    rows = [
        [title(report, FEW_STEPS_NETWORKS).replace("A small ", ""), f"{100 * report['ann_accuracy']:.1f}"]
        + [
            f"{100 * report['accuracies'][way][report['steps'].index(steps)]:.1f}"
            for steps in shown
            for way in (plain, signed)
        ]
        for report in reports
    ]
    header = [name for steps in shown for name in (f"T = {steps}", "signed")]
    return table(["accuracy in %", "ANN", *header], rows).rstrip()


def page(reports: list[dict], few: Sequence[dict] = ()) -> str:
    """The page as Markdown."""
    lines = [INTRO, f"![Accuracy against time steps]({PICTURE})", ""]
    for report in reports:
        last = max(len(rows) for rows in report["curves"].values())
        shown = [steps for steps in SHOWN if steps < last] + [last]
        note = f" ({report['note']})" if report["note"] else ""
        lines += [
            f"## {title(report)}",
            "",
            f"`{command_of(report)}`",
            "",
            f"{report['samples']:,} test images{note}; ANN: {100 * report['ann_accuracy']:.2f} %.",
            "",
            f"| balanced by | {' | '.join(str(steps) for steps in shown)} | lost |",
            f"| --- |{' ---: |' * (len(shown) + 1)}",
        ]
        for name, rows in report["curves"].items():
            figures = [f"{100 * rows[steps - 1]['accuracy']:.2f}" if steps <= len(rows) else "" for steps in shown]
            lost = 100 * (report["ann_accuracy"] - rows[-1]["accuracy"])
            lines.append(f"| {name} | {' | '.join(figures)} | {lost:.2f} |")
        lines.append("")
    lines += few_steps(few) if few else []
    return "\n".join(lines).rstrip() + "\n"


def draw(reports: list[dict], path: Path) -> None:
    """Accuracy over time, a panel per network."""
    figure, panels = plt.subplots(1, len(reports), figsize=(5.2 * len(reports), 4.4), squeeze=False)
    for panel, report in zip(panels[0], reports, strict=True):
        for (name, rows), (color, line) in zip(report["curves"].items(), zip(COLORS, LINES, strict=True), strict=False):
            steps, accuracy = [row["steps"] for row in rows], [100 * row["accuracy"] for row in rows]
            panel.plot(steps, accuracy, color=color, linestyle=line, label=name)
        panel.axhline(100 * report["ann_accuracy"], color=GREY, linewidth=1)
        panel.annotate("ANN", (1, 100 * report["ann_accuracy"]), va="bottom", color=DARK_GREY)
        panel.set(xlabel="time steps (logarithmic)", xscale="log", xlim=(1, None), title=title(report))
        panel.set_ylim(100 * report["ann_accuracy"] - 25, 100 * report["ann_accuracy"] + 2)
        panel.xaxis.set_major_formatter("{x:g}")
    panels[0, 0].set_ylabel("test accuracy (%)")
    handles, labels = max((panel.get_legend_handles_labels() for panel in panels[0]), key=lambda pair: len(pair[1]))
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reports", type=Path, default=Path("docs/conversion"))
    parser.add_argument("--output", type=Path, default=Path("docs/log/conversion.md"))
    args = parser.parse_args(arguments)
    reports = load(args.reports)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    draw(reports, args.output.parent / PICTURE)
    few = load(args.reports / "few_steps") + load(args.reports / "signed")
    args.output.write_text(page(reports, few))
    how_to = HOW_TO.read_text()
    HOW_TO.write_text(replaced(how_to, MAKER, signed_table(load(args.reports / "signed"))))
    print(args.output, HOW_TO)


if __name__ == "__main__":
    main()
