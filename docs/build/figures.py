"""Writes the table of figures in README.md and docs/index.md from the reports of the measurements.

python -m docs.build.figures

Speed and memory are in `docs/benchmarks.json` (`python -m benchmarks.run --output PAGE`), the time to an accuracy is in
`docs/time_to_accuracy.json` (`python -m benchmarks.time_to_accuracy`), and what tuning would change in it in
`docs/tuned_steps.json` (`python -m benchmarks.tuned_steps`), accuracies are in `docs/results`
(`python -m examples.experiments.reproduce`) and in the model cards of the packaged weights,
spikes and energy in `docs/comparison` (`python -m examples.experiments.compare`).
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.registry import CASES, MAIN, PEER, TRAIN, TUNED
from benchmarks.results import Results
from benchmarks.sections import command
from benchmarks.time_to_accuracy import reached
from docs.build.blocks import command_of, replaced
from docs.build.comparison_section import microjoules
from docs.build.results_page import REPORTED
from docs.build.titles import TITLES
from examples.experiments.recipes import PAPER
from keras_spiking_bp.analysis import Costs
from keras_spiking_bp.models import model_card

ROOT = Path(__file__).parents[2]
#: Each page, and the path from it to the documentation folder.
PAGES = {"README.md": "docs/", "docs/index.md": ""}
MAKER = "python -m docs.build.figures"
NETWORK, STEPS, BATCH = "vgg9", 100, 16  # of the training step
FEW_STEPS, PRECISION = 4, "bf16"  # of the time to an accuracy
ESTIMATE = "arithmetic of the synapses alone, 45 nm, estimate; in brackets with their accesses to a cache"


def table(docs: str) -> str:
    """The table as Markdown; `docs` is the path to the documentation folder."""
    data = json.loads((ROOT / "docs/benchmarks.json").read_text())
    results = Results(data)
    cores = data["machine"]["cores"]
    rounds = data["settings"]["rounds"]
    benchmarks = f"[benchmarks]({docs}benchmarks.md): `python -m benchmarks.run --rounds {rounds} --output PAGE`"
    reproduced = f"[results]({docs}results.md): `{command_of(best_report('mnist'))}`"
    packed = f"[results]({docs}results.md): `python -m examples.pretrained --dataset cifar10`"

    def compared(name: str) -> str:
        return f"[results]({docs}results.md#the-papers-comparison): `{command_of(comparison(name))}`"

    size = f"{TITLES[NETWORK]}, T = {STEPS}, batch {BATCH}, {cores} CPU cores"
    rows = [
        (f"Training step ({size})", *training_step(results), benchmarks),
        ("Its peak memory", *memory(results), benchmarks),
        time_to_accuracy(docs),
        ("CIFAR-10, test accuracy", *packaged("cifar10"), packed),
        ("MNIST, test accuracy", *trained("mnist"), reproduced),
        *(
            (f"Spikes and energy per {image} ({ESTIMATE})", *energy(comparison(name)), compared(name))
            for image, name in (("CIFAR-10 image", "vgg9-cifar10"), ("MNIST digit", "lenet-mnist"))
        ),
        (
            "Files that run without this library",
            "SavedModel and LiteRT for the whole window or one time step, ONNX for one; NIR by `to_nir`",
            "",
            f"[export]({docs}export.md), [NIR]({docs}nir.md): "
            "`python -m examples.export --model MODEL --output EXPORTED`",
        ),
    ]
    lines = ["| | this library | others | measured by |", "| --- | --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def best_report(dataset: str) -> dict:
    """The report of `examples.experiments.reproduce` with the highest accuracy on this data set."""
    reports = [json.loads(path.read_text()) for path in (ROOT / "docs/results").glob(f"*-{dataset}.json")]
    return max(reports, key=lambda report: report["test"]["accuracy"])


def training_step(results: Results) -> tuple[str, str]:
    """Seconds of ours, and of the two fastest peers; of the fastest one if tuned."""

    def seconds(name: str) -> float | None:
        return results.time("main", name, NETWORK, STEPS, BATCH, TRAIN)

    others = sorted((seconds(case.name), case.title) for case in peers() if seconds(case.name) is not None)
    ours = f"**{seconds('ours'):.2f} s**, {seconds('ours_bf16'):.2f} s with bfloat16 synapses"
    shown = ", ".join(f"{time:.2f} s ({title})" for time, title in others[:2])
    title, tuned = results.fastest(TUNED, "main", NETWORK, STEPS, BATCH, TRAIN)
    if tuned is not None:
        shown += f"; beyond their documentation {tuned:.2f} s ({title})"
    return ours, f"{shown}; in float32"


def memory(results: Results) -> tuple[str, str]:
    """GB of ours and of the lowest peer, also at the largest T of the sweep."""
    longest = results.settings["sweep_steps"][-1]

    def gigabytes(name: str, steps: int) -> float | None:
        peak = results.peak("sweep", name, NETWORK, steps, BATCH, TRAIN)
        return None if peak is None else peak / 1e9

    def least(steps: int) -> str:
        found = [(gigabytes(case.name, steps), case.title) for case in peers()]
        found = [(peak, title) for peak, title in found if peak is not None]
        if found:
            return f"{min(found)[0]:.2f} GB ({min(found)[1]})"
        records = [results.find("sweep", case.name, NETWORK, steps, BATCH, TRAIN) for case in peers()]
        statuses = {"not measured" if record is None else results.status(record) for record in records}
        limit = "" if "not measured" in statuses else ", the limit of the benchmark"
        return f"all {' or '.join(sorted(statuses))}{limit}"

    ours = f"**{gigabytes('ours', STEPS):.2f} GB**; {gigabytes('ours', longest):.2f} GB at T = {longest}"
    return ours, f"{least(STEPS)}; at T = {longest} {least(longest)}"


def time_to_accuracy(docs: str) -> tuple[str, str, str, str]:
    """Seconds to the highest accuracy that all libraries reached; ours, and the fastest of the others."""
    report = json.loads((ROOT / "docs/time_to_accuracy.json").read_text())
    curves = {
        case["library"]: case["curve"]
        for case in report["cases"]
        if (case["num_steps"], case["precision"]) == (FEW_STEPS, PRECISION)
    }
    target = max(t for t in report["settings"]["targets"] if all(reached(curve, t) for curve in curves.values()))
    seconds = {library: reached(curve, target) for library, curve in curves.items()}
    ours = seconds.pop("ours")
    fastest = min(seconds, key=seconds.get)
    cores = report["machine"]["cores"]
    where = f"{TITLES[NETWORK]} with batch normalisation, T = {FEW_STEPS}, {PRECISION}, {cores} CPU cores"
    return (
        f"Training to {100 * target:.0f} % accuracy on held-out CIFAR-10 images ({where})",
        f"**{ours:.0f} s**",
        f"{seconds[fastest]:.0f} s, {CASES[fastest].title}{if_tuned(fastest)}",
        f"[benchmarks]({docs}benchmarks.md#time-to-accuracy): `{command(report)}`",
    )


def if_tuned(library: str) -> str:
    """What tuning would change in the time of another library to an accuracy."""
    for case in json.loads((ROOT / "docs/tuned_steps.json").read_text())["cases"]:
        if (case["library"], case["num_steps"], case["precision"]) == (library, FEW_STEPS, PRECISION):
            share = case["seconds_tuned"] / case["seconds"]
            return f"; tuned beyond its documentation, its training step takes {100 * share:.0f} % as long"
    return ""


def peers() -> list:
    """The other libraries, each used as its documentation recommends."""
    return [case for case in CASES.values() if case.group == PEER and case.section == MAIN]


def packaged(dataset: str) -> tuple[str, str]:
    """The packaged weights at each number of time steps on their card, and the paper's best."""
    card = model_card(dataset)
    network = TITLES[card["network"]]
    reached = [
        f"**{100 * test['accuracy']:.2f} %** ({network}, T = {steps}; {interval(test)})"
        for steps, test in card["test_by_num_steps"].items()
    ]
    return f"{', '.join(reached)}, with the packaged weights (stored in 8 bits, computed in float32)", of_paper(dataset)


def trained(dataset: str) -> tuple[str, str]:
    """Our most accurate network on this data set, and the paper's best."""
    report = best_report(dataset)
    recipe = report["recipe"]
    test, network = report["test"], TITLES[recipe["network"]]
    ours = f"**{100 * test['accuracy']:.2f} %** ({network}, T = {recipe['test_steps']}; {interval(test)})"
    return ours, of_paper(dataset)


def interval(test: dict) -> str:
    """The 95 % interval of a test accuracy."""
    low, high = (100 * bound for bound in test["interval_95"])
    return f"95 %: {low:.2f} to {high:.2f}"


def of_paper(dataset: str) -> str:
    """The best accuracy that the paper reports for this data set and others confirm."""
    confirmed = {pair: value for pair, value in REPORTED.items() if value and pair[1] == dataset}
    best = max(confirmed, key=confirmed.get)
    return f"{confirmed[best]:.2f} % (the paper: {TITLES[best[0]]}, T = {PAPER[best].num_steps} in its code)"


def comparison(name: str) -> dict:
    """A report of `examples.experiments.compare`."""
    return json.loads((ROOT / f"docs/comparison/{name}.json").read_text())


def energy(report: dict) -> tuple[str, str]:
    """The directly trained network at equal accuracy and at full length; the ANN, and the network converted from it."""
    rows = {(row["network"], row["at"]): row for row in report["rows"]}

    def shown(network: str, at: str) -> tuple[str, str]:
        row, of_all = rows[network, at], rows[network, "full length"]["steps"]
        named = "" if network == "direct" else f"{network} for {of_all} steps, read at "
        spikes = "" if row["spikes"] is None else f"{row['spikes']:,.0f} spikes, "
        return (
            f"{spikes}{microjoules(row, Costs.of_ann if row['spikes'] is None else Costs.of)}",
            f"{100 * row['accuracy']:.2f} % ({named}T = {row['steps']})",
        )

    (early, for_early), (full, for_full) = (shown("direct", at) for at in ("equal accuracy", "full length"))
    (converted, for_converted), (ann, _) = shown("converted", "equal accuracy"), shown("ANN", "full length")
    of_ann = 100 * rows["ANN", "full length"]["accuracy"]
    return (
        f"**{early}** for {for_early}; {full} for {for_full}",
        f"{ann} for {of_ann:.2f} % (the same network as an ANN); {converted} for {for_converted}",
    )


def main() -> None:
    for name, docs in PAGES.items():
        path = ROOT / name
        path.write_text(replaced(path.read_text(), MAKER, table(docs)))
        print(name)


if __name__ == "__main__":
    main()
