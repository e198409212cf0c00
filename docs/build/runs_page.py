"""The log of all trainings, `docs/log/runs.md`, from the reports of `examples.experiments.reproduce`.

`python -m docs.build.results_page` writes it. Every figure comes from a report (a JSON file in `docs/results`).
"""

from __future__ import annotations

import json
from pathlib import Path

from docs.build import comparison_section
from docs.build.blocks import command_of
from docs.build.titles import TITLES
from examples.experiments.machine import made_with
from keras_spiking_bp.analysis import Costs
from keras_spiking_bp.models import model_card
from keras_spiking_bp.models.pretrained import PRETRAINED

#: Test accuracy in per cent as the paper reports it; None where no other source confirms the figure.
REPORTED = {
    ("lenet", "mnist"): 99.59,
    ("lenet", "nmnist"): 99.09,
    ("vgg7", "svhn_cropped"): None,
    ("resnet7", "svhn_cropped"): None,
    ("vgg9", "cifar10"): None,
    ("resnet9", "cifar10"): 90.35,
    ("resnet11", "cifar10"): 90.95,
}
OUR_PAIRS = [
    *REPORTED,
    ("vgg7", "fashion_mnist"),
    ("resnet20", "cifar10"),
]
INTRO = """# Log of runs

Each training behind [Results](../results.md), with its recipe and its command.

* Interval: 95 % Wilson, for the number of test samples.
* FOLDER holds prepared TensorFlow Datasets, or the recordings of N-MNIST ([Event data](../howto/events.md)); MODEL is
  the `model.keras` of the training before. With `KERAS_SPIKING_BP_KERNELS=1` ([Faster on a CPU](../howto/kernels.md)).
* Operations and energies are counted as in the [comparison](comparison.md).
* {versions}.
* All with the preset `deep`: {shared}.
"""


def load(folder: Path) -> list[dict]:
    """The reports, by network and data set, the best first."""
    reports = []
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text())
        if (tested_on := report["data"]["tested_on"]) != "test set":
            raise SystemExit(f"{path} is of a run that was tested on the {tested_on}: this page is of test accuracies")
        reports.append(report)
    order = {pair: i for i, pair in enumerate(OUR_PAIRS)}

    def place(report: dict) -> tuple[int, tuple[str, str], float]:
        pair = report["recipe"]["network"], report["recipe"]["dataset"]
        return order.get(pair, len(order)), pair, -report["test"]["accuracy"]

    return sorted(reports, key=place)


def page(reports: list[dict], anns: list[dict]) -> str:
    """The page as Markdown."""
    deep = [_settings(report) for report in reports if report["recipe"]["preset"] == "deep"]
    shared = [text for text in _settings(reports[-1]) if all(text in texts for texts in deep)]
    lines = [INTRO.format(versions=made_with(report["machine"] for report in reports), shared=", ".join(shared))]
    for report in reports:
        lines += _run(report, [ann for ann in anns if same_network(ann, report)], shared)
    return "\n".join(lines).rstrip() + "\n"


def _settings(report: dict) -> list[str]:
    """The recipe, but for the network, and without what is switched off."""
    recipe = report["recipe"].items()
    return [f"{name} {value}" for name, value in recipe if value and name not in ("network", "dataset")]


def _title(report: dict) -> str:
    recipe = report["recipe"]
    network = f"{TITLES[recipe['network']]} on {TITLES[recipe['dataset']]}"
    signed, start = ", signed" if recipe["signed"] else "", ", from its ANN" if report.get("start") else ""
    return f"{network}, T = {recipe['num_steps']}, {recipe['preset']}{signed}{start}"


def duration(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"


def training_seconds(report: dict) -> float:
    """Of this training, and of those whose weights it began with."""
    before = training_seconds(report["start"]) if report.get("start") else 0.0
    return report["training_seconds"] + before


def same_network(one: dict, other: dict) -> bool:
    """Whether two reports are of the same network and data."""
    return all(one["recipe"][key] == other["recipe"][key] for key in ("network", "dataset"))


def _run(report: dict, anns: list[dict], shared: list[str]) -> list[str]:
    recipe, machine, data, test = report["recipe"], report["machine"], report["data"], report["test"]
    spikes = test["spikes_per_neuron"]
    settings = [text for text in _settings(report) if recipe["preset"] != "deep" or text not in shared]
    low, high = (100 * bound for bound in test["interval_95"])
    start = report.get("start")
    lines = [
        f"## {_title(report)}",
        "",
        *([f"`{command_of(start)}`, then", ""] if start else []),
        f"`{command_of(report)}`",
    ]
    lines += [
        "",
        f"* Accuracy: {100 * test['accuracy']:.2f} % ({low:.2f} to {high:.2f}) of {test['samples']:,} test samples, "
        f"{100 * float(report['curve'][-1]['accuracy']):.2f} % of the {data['training_samples']:,} training samples in "
        f"the last epoch{', ' + data['note'] if data['note'] else ''}. Seed {report['seed']}.",
        f"* Recipe: {', '.join(settings)}.",
        f"* Time: {duration(training_seconds(report))}"
        f"{', ' + duration(start['training_seconds']) + ' of it for the ANN' if start else ''}, on {machine['cores']} "
        f"{machine['cpu']} cores, commit {machine['commit']}.",
        f"* Spikes per neuron in {recipe['test_steps']} time steps: "
        + ", ".join(f"{name} {count:.2f}" for name, count in spikes.items())
        + ".",
    ]
    for ann in [ann for ann in anns if command_of(ann) == command_of(start)] if start else anns[:1]:
        command = "" if start else f", `{command_of(ann)}`"
        lines.append(f"* ANN: {100 * ann['test']['accuracy']:.2f} %{command}.")
    lines += _operations(test, events=recipe["dataset"] == "nmnist")
    lines += _packaged(report)
    return [*lines, ""]


def _operations(test: dict, of: str = "", events: bool = False) -> list[str]:
    """Mean firing rate and operations of `of`."""
    counts = test["operations_per_sample"]
    spiking = {"accumulates": counts["accumulates"], "macs": counts["macs"]}
    ann = {"accumulates": counts["ann_accumulates"], "macs": counts["ann_macs"]}

    def told(row: dict, price: comparison_section.Price) -> str:
        return (
            f"{row['accumulates'] / 1e6:.2f} million AC and {row['macs'] / 1e6:.2f} million MAC, "
            f"{comparison_section.microjoules(row, price)}"
        )

    of_events = " on the sum of the steps (not trained)" if events else ""
    return [
        f"* {of}{test['firing_rate']:.3f} spikes per neuron and time step. Operations per "
        f"{'recording' if events else 'image'}: {told(spiking, Costs.of)}; the same ANN{of_events}: "
        f"{told(ann, Costs.of_ann)}."
    ]


def _packaged(report: dict) -> list[str]:
    """Test results of the packaged weights, if they are of this training."""
    recipe = report["recipe"]
    if recipe["dataset"] not in PRETRAINED:
        return []
    card = model_card(recipe["dataset"])
    if card["trained_by"] != report["command"]:
        return []
    reached = ", ".join(
        f"{100 * test['accuracy']:.2f} % with T = {steps}" for steps, test in card["test_by_num_steps"].items()
    )
    operations = [
        line
        for steps, test in card["test_by_num_steps"].items()
        for line in _operations(test, f"In the package, T = {steps}: ")
    ]
    return [
        f'* In the package, `models.load_pretrained("{recipe["dataset"]}")`, with 8-bit weights '
        f"computed in float32 (`python -m examples.pretrained --dataset {recipe['dataset']}`): {reached}.",
        *operations,
    ]
