"""Writes the table of figures in README.md from the reports of the measurements.

python -m docs.build.figures

Accuracies are in `docs/results` (`python -m examples.experiments.reproduce`); speed and memory in
`docs/benchmarks.json` (`python -m benchmarks.run`) and `docs/tuned_steps.json` (`python -m benchmarks.tuned_steps`);
energy in `docs/comparison` (`python -m examples.experiments.compare`).
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.registry import CASES, MAIN, PEER, TRAIN, TUNED
from benchmarks.results import Results
from docs.build.blocks import replaced
from docs.build.comparison_section import WITH_MEMORY
from docs.build.results_page import REPORTED
from docs.build.titles import TITLES
from keras_spiking_bp.analysis import Costs

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "README.md"
MAKER = "python -m docs.build.figures"
NETWORK, STEPS, BATCH = "vgg9", 100, 16  # of the training step
FEW_STEPS, PRECISION = 4, "bf16"  # of the training step with batch normalisation


def table() -> str:
    """The table as Markdown."""
    results = Results(report("benchmarks"))
    longest = results.settings["sweep_steps"][-1]
    size = f"{TITLES[NETWORK]}, T = {STEPS}"
    few = f"{TITLES[NETWORK]}, batch normalisation, T = {FEW_STEPS}"

    def gigabytes(steps: int) -> str:
        return f"{results.peak('sweep', 'ours', NETWORK, steps, BATCH, TRAIN) / 1e9:.2f} GB"

    rows = [
        ("LeNet on MNIST, accuracy", *beside_the_paper("lenet", "mnist")),
        ("ResNet11 on CIFAR-10, accuracy", *beside_the_paper("resnet11", "cifar10")),
        ("VGG9 on CIFAR-10, accuracy", *beside_the_ann("vgg9-cifar10")),
        (f"Training step ({size})", *training_step(results)),
        (f"Training step ({few})", *training_step_with_few_steps()),
        (f"Memory of a training step ({size})", gigabytes(STEPS), least_memory(results)),
        (f"The same with T = {longest}", gigabytes(longest), memory_of_untuned(results, longest)),
        ("Energy of a CIFAR-10 image, arithmetic", *energy("vgg9-cifar10", {"": Costs.FLOAT32_45NM})),
        ("The same, with memory accesses", *energy("vgg9-cifar10", WITH_MEMORY)),
    ]
    lines = ["| | this library | for comparison |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def report(name: str) -> dict:
    """A report in the documentation folder."""
    return json.loads((ROOT / f"docs/{name}.json").read_text())


def percent(accuracy: float) -> str:
    return f"{100 * accuracy:.2f} %"


def accuracy(name: str) -> str:
    """Test accuracy of our network."""
    ours = report(f"results/{name}")
    return f"{percent(ours['test']['accuracy'])} (T = {ours['recipe']['test_steps']})"


def beside_the_paper(network: str, dataset: str) -> tuple[str, str]:
    """Test accuracy of our network, and of the same one in the paper."""
    return accuracy(f"{network}-{dataset}"), f"{REPORTED[network, dataset]:.2f} % (the paper's {TITLES[network]})"


def beside_the_ann(name: str) -> tuple[str, str]:
    """Test accuracy of our network, and of itself as an ANN."""
    return accuracy(name), f"{percent(report(f'results/ann/{name}')['test']['accuracy'])} (itself as an ANN)"


def training_step(results: Results) -> tuple[str, str]:
    """Seconds of ours, and of the fastest tuned peer."""
    title, seconds = results.fastest(TUNED, MAIN, NETWORK, STEPS, BATCH, TRAIN)
    return f"{results.time(MAIN, 'ours', NETWORK, STEPS, BATCH, TRAIN):.2f} s", f"{seconds:.2f} s ({title})"


def training_step_with_few_steps() -> tuple[str, str]:
    """The same, with batch normalisation, and ours with its kernels."""
    cases = report("tuned_steps")["cases"]
    cases = [case for case in cases if (case["num_steps"], case["precision"]) == (FEW_STEPS, PRECISION)]
    times = {case["library"]: case["seconds_tuned"] for case in cases}
    ours, fastest = times.pop("ours"), min(times, key=times.get)
    return f"{ours:.2f} s (C++ kernels)", f"{times[fastest]:.2f} s ({CASES[fastest].title}, tuned)"


def least_memory(results: Results) -> str:
    """GB of the tuned peer that needs the least."""
    found = [(results.peak(MAIN, case.name, NETWORK, STEPS, BATCH, TRAIN), case.title) for case in of_group(TUNED)]
    peak, title = min((peak, title) for peak, title in found if peak is not None)
    return f"{peak / 1e9:.2f} GB ({title})"


def memory_of_untuned(results: Results, steps: int) -> str:
    """What became of the peers, each as its documentation recommends, with many steps.

    Raises:
        ValueError: if any of them was measured.
    """
    records = [results.find("sweep", case.name, NETWORK, steps, BATCH, TRAIN) for case in of_group(PEER)]
    if any(record is None or not results.status(record).startswith("out of memory") for record in records):
        raise ValueError(f"Not all peers are out of memory at T = {steps}")
    return f"over {results.settings['memory_limit']:.0f} GB ({len(records)} others, not tuned)"


def of_group(group: str) -> list:
    """The cases of the main tables of a group."""
    return [case for case in CASES.values() if case.group == group and case.section == MAIN]


def of_network(name: str, network: str, at: str) -> dict:
    """A row of the report of a comparison."""
    (row,) = (row for row in report(f"comparison/{name}")["rows"] if (row["network"], row["at"]) == (network, at))
    return row


def energy(name: str, prices: dict[str, Costs]) -> tuple[str, str]:
    """Microjoules of the directly trained network at equal accuracy and of the ANN, by the cache of each price."""

    def shown(row: dict, of: str) -> str:
        found = (
            f"{getattr(costs, of)(row['accumulates'], row['macs']) / 1e6:,.0f} µJ" + f" ({cache} cache)" * bool(cache)
            for cache, costs in prices.items()
        )
        return ", ".join(found)

    direct, ann = of_network(name, "direct", "equal accuracy"), of_network(name, "ANN", "full length")
    if len(prices) > 1:
        return shown(direct, "of"), shown(ann, "of_ann")
    return f"{shown(direct, 'of')} (T = {direct['steps']})", f"{shown(ann, 'of_ann')} (itself as an ANN)"


def main() -> None:
    PAGE.write_text(replaced(PAGE.read_text(), MAKER, table()))
    print(PAGE.name)


if __name__ == "__main__":
    main()
