"""The section of `docs/results.md` on the paper's comparison, from reports of `examples.experiments.compare`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.plotting import plt
from docs.build.blocks import command_of
from docs.build.titles import TITLES
from keras_spiking_bp.analysis import Costs
from keras_spiking_bp.analysis.comparison import Comparison
from keras_spiking_bp.analysis.over_time import steps_to_reach
from keras_spiking_bp.analysis.table import Table

INTRO = """## The paper's comparison

Four versions of a network: an ANN (ReLU, cross-entropy), one converted from it (integrate-and-fire neurons, also in
pooling layers; constant current as input), one trained directly with spike-based backpropagation, and a hybrid
(converted for few time steps, then trained with spike-based backpropagation). Operations are synaptic operations per
image, counted exactly: accumulates (AC), and multiply-accumulates (MAC) where the input is a current. Energy: 0.9 pJ
per AC, 4.6 pJ per MAC (45 nm, 32-bit floating point), synapses only, an estimate. The last two columns add 5 or 50 pJ
for each 32-bit word that these operations read or write, as in a cache of 8 KiB or 1 MiB: three for an AC or a MAC of a
spiking network, one for an AC and two for a MAC of an ANN; the picture shows the energy without. The 32-bit weights of
these networks fit into neither cache: an access to a larger memory costs more. Updates of potentials are in no energy
(`analysis.energy` with `Costs(memory_access=...)` adds theirs), and biases in no count. Spikes are those of neurons,
without those of the input. "Equal accuracy" is that of the least accurate spiking network at full length; each network
runs for the fewest steps from which it stays at least as accurate. Poisson spikes are resampled: the accuracy of a
directly trained network may differ slightly from that above.
"""

#: `Costs.of` for a spiking network, `Costs.of_ann` for an ANN.
Price = Callable[[Costs, float, float], float]
#: Arithmetic, and the memory accesses of the synapses, by the cache that holds their words.
WITH_MEMORY = {"8 KiB": Costs(memory_access=5.0), "1 MiB": Costs(memory_access=50.0)}


def load(folder: Path) -> list[tuple[dict, str]]:
    """The reports, each with its remarks (the `.txt` file beside it), LeNet first."""
    found = []
    for path in sorted(folder.glob("*.json")):
        remarks = path.with_suffix(".txt")
        found.append((json.loads(path.read_text()), remarks.read_text() if remarks.exists() else ""))
    return found


def name(report: dict) -> str:
    return f"{report['network']}-{report['dataset']}"


def lines(report: dict, remarks: str) -> list[str]:
    """The section on one report as lines of Markdown."""
    note = f" ({report['note']})" if report["note"] else ""
    machine = report["machine"]
    return [
        f"### {TITLES[report['network']]} on {TITLES[report['dataset']]}: ANN, converted, direct, hybrid",
        "",
        f"`{command_of(report)}`",
        "",
        f"{report['samples']:,} test images{note}, seed {report['seed']}; TensorFlow {machine['tensorflow']}, Keras "
        f"{machine['keras']}.{_trainings(report)}",
        "",
        f"![Accuracy against time steps, and energy](images/comparison-{name(report)}.png)",
        "",
        *_rows(report),
        "",
        "| the paper says | here |",
        "| --- | --- |",
        *(f"| {says} | {here} |" for says, here in _statements(report)),
        "",
        "Early exit: each image stops at the first step at which its two largest outputs differ by more than a margin.",
        "",
        *_early_exit(report),
        "",
        *([remarks.strip(), ""] if remarks.strip() else []),
    ]


def _trainings(report: dict) -> str:
    """How the ANN and the direct network were trained."""
    if "ann_recipe" not in report:
        return ""
    ann, direct = report["ann_recipe"], report["direct_recipe"]

    def how(recipe: dict) -> str:
        smoothing = f", label smoothing {recipe['label_smoothing']:g}" if recipe.get("label_smoothing") else ""
        return (
            f"{recipe['epochs']} epochs ({recipe['optimizer']}, learning rate {recipe['learning_rate']:g}, "
            f"weight decay {recipe['weight_decay']:g}{smoothing})"
        )

    return f" The ANN was trained for {how(ann)}, the direct network for {how(direct)} with T = {direct['num_steps']}."


def draw(report: dict, path: Path) -> None:
    """Accuracy over time of each network, and its energy."""
    curves = {of: Table(rows) for of, rows in report["curves"].items()}
    left, _ = Comparison(report["rows"], curves, report["target"]).plot()
    path.parent.mkdir(parents=True, exist_ok=True)
    left.figure.savefig(path)
    plt.close(left.figure)


def _rows(report: dict) -> list[str]:
    lines = [
        "| network | | accuracy (%) | steps | spikes | AC (million) | MAC (million) | energy (µJ) "
        f"| {' | '.join(f'with {cache} (µJ)' for cache in WITH_MEMORY)} |",
        f"| --- | --- |{' ---: |' * (6 + len(WITH_MEMORY))}",
    ]
    for row in report["rows"]:
        spikes = "" if row["spikes"] is None else f"{row['spikes']:,.0f}"
        with_memory = microjoules_with_memory(row, Costs.of_ann if row["spikes"] is None else Costs.of).values()
        lines.append(
            f"| {row['network']} | {row['at']} | {100 * row['accuracy']:.2f} | {row['steps']} | {spikes} "
            f"| {row['accumulates'] / 1e6:.3f} | {row['macs'] / 1e6:.3f} | {row['energy_nj'] / 1e3:.3f} "
            f"| {' | '.join(f'{energy:,.1f}' for energy in with_memory)} |"
        )
    return lines


def microjoules_with_memory(row: dict, price: Price) -> dict[str, float]:
    """Energy of the operations in this row, with memory accesses: for each cache of `WITH_MEMORY`."""
    return {cache: price(costs, row["accumulates"], row["macs"]) / 1e6 for cache, costs in WITH_MEMORY.items()}


def microjoules(row: dict, price: Price) -> str:
    """Energy of the operations in this row, in brackets that with memory accesses."""
    energies = microjoules_with_memory(row, price).items()
    with_memory = ", ".join(f"{energy:,.0f} with {cache}" for cache, energy in energies)
    return f"{price(Costs.FLOAT32_45NM, row['accumulates'], row['macs']) / 1e6:.1f} µJ ({with_memory})"


def _statements(report: dict) -> list[tuple[str, str]]:
    """The paper's claims, and whether our figures agree."""
    full = {row["network"]: row for row in report["rows"] if row["at"] == "full length"}
    equal = {row["network"]: row for row in report["rows"] if row["at"] == "equal accuracy"}
    ann, converted, direct = (full[of] for of in ("ANN", "converted", "direct"))
    points = {of: 100 * (row["accuracy"] - ann["accuracy"]) for of, row in full.items()}
    near = points["direct"] > -1 and points["direct"] > points["converted"] - 1
    found = [
        (
            "A directly trained network is nearly as accurate as the ANN and a converted one (here: within 1 point).",
            f"{_verdict(near)}: against the ANN direct {points['direct']:+.2f}, converted "
            f"{points['converted']:+.2f}, hybrid {points['hybrid']:+.2f} percentage points.",
        )
    ]
    if "direct" in equal and "converted" in equal:
        a, b = equal["direct"], equal["converted"]
        fewer = [of for of in ("steps", "spikes") if a[of] < b[of]]
        operations = [row["accumulates"] + row["macs"] for row in (a, b)]
        found.append(
            (
                "At equal accuracy, direct training needs fewer spikes and operations than conversion.",
                f"{_verdict(len(fewer) == 2 and operations[0] < operations[1])}: at {100 * report['target']:.2f} %, "
                f"{a['steps']} against {b['steps']} steps, {a['spikes']:,.0f} against {b['spikes']:,.0f} spikes, "
                f"{operations[0] / 1e6:.2f} against {operations[1] / 1e6:.2f} million operations.",
            )
        )
    rates = [row["firing_rate"] for row in report["rates"]["direct"] if row["layer"] not in ("input", "total")]
    falls = all(deeper < rate for rate, deeper in itertools.pairwise(rates))
    found.append(
        (
            "Deeper layers fire less often.",
            f"{_verdict(falls)}: {', '.join(f'{rate:.3f}' for rate in rates)} spikes per neuron and step in the layers "
            "of the directly trained network, from the first to the last.",
        )
    )
    cheapest = _cheapest(report, ann["accuracy"] - 0.01)
    here = "none comes within 1 point of its accuracy"
    if cheapest:
        of, row, energy = cheapest
        spent, by_ann = microjoules_with_memory(row, Costs.of), microjoules_with_memory(ann, Costs.of_ann)
        with_memory = [f"{spent[cache] / by_ann[cache]:.2f} with {cache}" for cache in WITH_MEMORY]
        here = (
            f"the cheapest within 1 point of its accuracy is {of} after {row['steps']} steps, with "
            f"{energy / ann['energy_nj']:.2f} of its energy ({', '.join(with_memory)})"
        )
    agrees = cheapest is not None and cheapest[2] < ann["energy_nj"]
    found.append(
        (
            "A spiking network needs less energy for its synapses than the ANN.",
            f"{_verdict(agrees)}: {here}; at full length direct needs {direct['energy_nj'] / ann['energy_nj']:.2f}, "
            f"converted {converted['energy_nj'] / ann['energy_nj']:.2f}.",
        )
    )
    return found


def _cheapest(report: dict, accuracy: float) -> tuple[str, dict, float] | None:
    """The network, row and energy (nJ) of the cheapest way to hold this accuracy until the end."""
    ways = []
    for of, rows in report["curves"].items():
        steps = steps_to_reach(rows, accuracy)
        if steps is not None:
            row = rows[steps - 1]
            ways.append((of, row, Costs.FLOAT32_45NM.of(row["accumulates"], row["macs"]) / 1000))
    return min(ways, key=lambda way: way[2], default=None)


def _early_exit(report: dict) -> list[str]:
    lines = [
        "| network | margin | accuracy (%) | mean steps | spikes | AC + MAC (million) |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for of, rows in report["early_exit"].items():
        for row in rows:
            lines.append(
                f"| {of} | {row['margin']:.3g} | {100 * row['accuracy']:.2f} | {row['steps']:.1f} "
                f"| {row['spikes']:,.0f} | {(row['accumulates'] + row['macs']) / 1e6:.2f} |"
            )
    return lines


def _verdict(agrees: bool) -> str:
    return "Agrees" if agrees else "Does not agree"
