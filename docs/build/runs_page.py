"""The log of all trainings, `docs/log/runs.md`, from the reports of `examples.experiments.reproduce`.

`python -m docs.build.results_page` writes it. Every figure comes from a report (a JSON file in `docs/results`).
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.plotting import plt
from docs.build import comparison_section
from docs.build.blocks import command_of
from docs.build.titles import TITLES
from examples.experiments.recipes import PAPER
from keras_spiking_bp.analysis import Costs
from keras_spiking_bp.analysis.style import COLORS, MARKERS
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
#: Pairs whose recipe the paper or its code gives; the others are our reading (`recipes.PAPER`).
GIVEN = {("lenet", "mnist"), ("vgg9", "cifar10"), ("resnet11", "cifar10")}
OUR_PAIRS = [
    *REPORTED,
    ("vgg7", "mnist"),
    ("lenet", "fashion_mnist"),
    ("vgg7", "fashion_mnist"),
    ("resnet20", "cifar10"),
]
INTRO = """# Log of runs

Each training behind [Results](../results.md), with its recipe and its command. Made by `python -m
docs.build.results_page` from the reports in `docs/results/`.

* One run and one seed each, tested after the last epoch. Interval: 95 % Wilson, for the number of test samples.
* FOLDER holds prepared TensorFlow Datasets, or the recordings of N-MNIST ([Event data](../howto/events.md)). Two
  trainings of the same network and data need different folders (`--output`). "With the C++ kernels":
  `KERAS_SPIKING_BP_KERNELS=1` was set ([Faster on a CPU](../howto/kernels.md)).
* Times are wall-clock times on different processors, with other work beside most runs.
* Operations and energies are counted as in the [comparison](comparison.md).
* VGG7 was tested when `analysis` rounded batch normalisation to bfloat16 by itself, not folded into the weights as
  `predict` does (VGG9, tested both ways: 91.09 and 91.21 %).

Chosen on test images:

* all networks with batch normalisation: the recipe (thresholds, start at half a threshold, T, pooling), from a
  prototype that was followed on test images of CIFAR-10; recomputed statistics, first tried on those of MNIST;
* VGG7: its restarts, with the epochs after them;
* VGG9 and ResNet9: epochs, schedule and label smoothing; ResNet9: gamma of sqrt(1/2) in its junctions;
* ResNet20: schedule and label smoothing (those of VGG9), its surrogate, its T in the test.
"""


def load(folder: Path) -> list[dict]:
    """The reports, by network and data set, the best first, each with those of its training before it was continued."""
    reports = []
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text())
        if (tested_on := report["data"]["tested_on"]) != "test set":
            raise SystemExit(f"{path} is of a run that was tested on the {tested_on}: this page is of test accuracies")
        earlier = [json.loads(part.read_text()) for part in (folder / "earlier").glob(f"{path.stem}-[0-9]*.json")]
        earlier = sorted(earlier, key=lambda r: r["recipe"]["epochs"])
        reports.append({**report, "earlier": earlier})
    order = {pair: i for i, pair in enumerate(OUR_PAIRS)}

    def place(report: dict) -> tuple[int, tuple[str, str], float]:
        pair = report["recipe"]["network"], report["recipe"]["dataset"]
        return order.get(pair, len(order)), pair, -report["test"]["accuracy"]

    return sorted(reports, key=place)


def page(reports: list[dict], picture: str) -> str:
    """The page as Markdown."""
    lines = [
        INTRO,
        "| network | data | test accuracy | 95 % interval | paper | gradient | T in training / test | epochs | time |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for report in reports:
        recipe, test = report["recipe"], report["test"]
        pair = recipe["network"], recipe["dataset"]
        note = f" ({report['data']['note']})" if report["data"]["note"] else ""
        by_recipe = ", recipe `paper`" if "--recipe paper" in report["command"] else ""
        epochs = PAPER[pair].epochs if by_recipe else recipe["epochs"]  # the command may have shortened the paper's
        low, high = (100 * bound for bound in test["interval_95"])
        lines.append(
            f"| {TITLES[pair[0]]}{by_recipe} | {TITLES[pair[1]]}{note} | **{100 * test['accuracy']:.2f}** "
            f"| {low:.2f} to {high:.2f} | {of_paper(pair)} | {rule(recipe)} "
            f"| {recipe['num_steps']} / {recipe['test_steps']} "
            f"| {len(report['curve'])} of {epochs} | {duration(report['training_seconds'])} |"
        )
    lines += ["", f"![Training accuracy after each epoch]({picture})", ""]
    for report in reports:
        lines += _run(report)
    return "\n".join(lines).rstrip() + "\n"


def of_paper(pair: tuple[str, str]) -> str:
    if pair not in REPORTED:
        return "not in the paper"
    return f"{REPORTED[pair]:.2f}" if REPORTED[pair] else "reported, not confirmed"


def _title(recipe: dict) -> str:
    return f"{TITLES[recipe['network']]} on {TITLES[recipe['dataset']]}, T = {recipe['num_steps']}, {rule(recipe)}"


def rule(recipe: dict) -> str:
    bounded = recipe.get("surrogate") == "bounded"
    added = {
        "batch normalisation": recipe.get("normalization"),
        f"{recipe.get('surrogate')} surrogate": recipe.get("surrogate") and not bounded,
    }
    return ", ".join(["bounded" if bounded else recipe["gradient"], *(name for name, used in added.items() if used)])


def duration(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"


def _run(report: dict) -> list[str]:
    recipe, machine, data = report["recipe"], report["machine"], report["data"]
    cores = f"{machine['cores']} {machine.get('cpu', 'CPU')} cores"
    devices = ", ".join([*machine.get("gpus", []), cores])
    commit = f", commit {machine['commit']}" if machine.get("commit") else ""
    spikes = report["test"]["spikes_per_neuron"]
    per_epoch = min(float(row["seconds"]) for row in report["curve"])
    hidden = {"network", "dataset", *(("encoder", "scale") if recipe["dataset"] == "nmnist" else ())}
    settings = [f"{k} {v}" for k, v in recipe.items() if k not in hidden and v not in (None, [])]
    lines = [
        f"## {_title(recipe)}",
        "",
        f"`{command_of(report)}`",
        "",
        f"* Data: {data['training_samples']:,} training samples, {report['test']['samples']:,} of the "
        f"{data['tested_on']}{', ' + data['note'] if data['note'] else ''}. Seed {report['seed']}.",
        f"* Recipe: {', '.join(settings)}.",
        f"* Time: {per_epoch:.0f} s for the fastest of {len(report['curve'])} epochs, "
        f"{duration(report['training_seconds'])} in total, on {devices}; TensorFlow "
        f"{machine['tensorflow']}, Keras {machine['keras']}, Python {machine['python']}{commit}.",
        f"* Training accuracy, last epoch: {float(report['curve'][-1]['accuracy']):.4f}.",
        f"* Spikes per neuron in {recipe['test_steps']} time steps: "
        + ", ".join(f"{name} {count:.2f}" for name, count in spikes.items())
        + ".",
    ]
    lines += _operations(report["test"], events=recipe["dataset"] == "nmnist")
    if "accuracy_with_moving_statistics" in report["test"]:
        moving = 100 * report["test"]["accuracy_with_moving_statistics"]
        lines.append(
            "* Tested with batch normalisation statistics recomputed from 1,024 training samples; with the moving "
            f"statistics of training: {moving:.2f}."
        )
    tests = [_earlier(before) for before in report["earlier"]]
    if tests:
        chosen = "The number of epochs, and any restart of the learning rate, were thus chosen on test images."
        lines.append(f"* Continued after a test: {', '.join(tests)} (`docs/results/earlier`). {chosen}")
    lines += _packaged(report)
    if "remark" in report:
        lines.append(f"* {report['remark']}")
    paper = PAPER.get((recipe["network"], recipe["dataset"]))
    if paper and not recipe.get("normalization"):  # the cost of a step with it is another one
        whose = "The paper's recipe" if (paper.network, paper.dataset) in GIVEN else "Our reading of the paper's recipe"
        seconds = per_epoch * paper.num_steps / recipe["num_steps"] * paper.epochs
        lines.append(
            f"* {whose} has {paper.epochs} epochs of T = {paper.num_steps}: at the time per sample and time step "
            f"of the fastest epoch, with `{recipe['gradient']}`, about {duration(seconds)} for this training set (an "
            "estimate)."
        )
    return [*lines, ""]


def _earlier(report: dict) -> str:
    test, recipe = report["test"], report["recipe"]
    moving = recipe.get("normalization") and "accuracy_with_moving_statistics" not in test
    statistics = " (with the moving statistics)" if moving else ""
    return f"{100 * test['accuracy']:.2f} % after {recipe['epochs']} epochs{statistics}"


def _operations(test: dict, of: str = "", events: bool = False) -> list[str]:
    """Mean firing rate and operations of `of`; nothing for a report made before they were counted."""
    if "operations_per_sample" not in test:
        return []
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


def draw(reports: list[dict], path: Path) -> None:
    """Training accuracy after each epoch, by run."""
    figure, axes = plt.subplots(figsize=(7, 4))
    for i, report in enumerate(reports):
        style = {
            "color": COLORS[i % len(COLORS)],
            "marker": MARKERS[(i + i // len(COLORS)) % len(MARKERS)],
            "markersize": 4,
        }
        style["linestyle"] = "-" if i < len(COLORS) else "--"
        recipe = report["recipe"]
        epochs = [int(row["epoch"]) for row in report["curve"]]
        accuracy = [float(row["accuracy"]) for row in report["curve"]]
        axes.plot(epochs, accuracy, **style, label=_title(recipe))
    axes.set(xlabel="epoch", ylabel="training accuracy (mean over the epoch)", ylim=(None, 1.0))
    axes.grid(axis="y")
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
