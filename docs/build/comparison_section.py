"""The paper's comparison, `docs/log/comparison.md`, from reports of `examples.experiments.compare`.

`python -m docs.build.results_page` writes it.
"""

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

INTRO = """# Log of the comparison

Four versions of a network, of which [Results](../results.md) has the verdicts: an ANN (ReLU, cross-entropy); one
converted from it (constant current as input); one trained directly; a hybrid (converted for few time steps, then
trained so).

* **Operations**: synaptic operations per image, counted exactly: accumulates (AC), and multiply-accumulates (MAC) where
  the input is a current. Biases are in no count. Spikes are those of neurons, without those of the input.
* **Energy**: [arithmetic of the synapses](../analysis.md#energy). The last two columns add 5 or 50 pJ for each 32-bit
  word that it reads or writes, as in a cache of 8 KiB or 1 MiB: three for an AC or a MAC of a spiking network, one for
  an AC and two for a MAC of an ANN. The weights of these networks fit into neither cache.
* **Equal accuracy** is that of the least accurate spiking network at full length; each network runs for the fewest
  steps from which it stays at least as accurate.
* **Early exit**: each image stops at the first step at which its two largest outputs differ by more than a margin.
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


def page(reports: list[tuple[dict, str]]) -> str:
    """The page as Markdown."""
    return (
        "\n".join([INTRO, *(line for report, remarks in reports for line in _lines(report, remarks))]).rstrip() + "\n"
    )


def _lines(report: dict, remarks: str) -> list[str]:
    """The section on one report as lines of Markdown."""
    machine = report["machine"]
    return [
        f"## {TITLES[report['network']]} on {TITLES[report['dataset']]}: ANN, converted, direct, hybrid",
        "",
        f"`{command_of(report)}`",
        "",
        f"{report['samples']:,} test images, seed {report['seed']}; TensorFlow {machine['tensorflow']}, Keras "
        f"{machine['keras']}.{_trainings(report)}",
        "",
        f"![Accuracy against time steps, and energy](../images/comparison-{name(report)}.png)",
        "",
        *_rows(report),
        "",
        *_cheapest(report),
        "",
        "Early exit:",
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

    start = ", from weights of the ANN," if "--start" in report.get("direct_trained_by", "") else ""
    return (
        f" The ANN was trained for {how(ann)}, the direct network{start} for {how(direct)} with "
        f"T = {direct['num_steps']}."
    )


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


def claims(report: dict) -> dict[str, str]:
    """The paper's claims, and for each whether our figures agree, with the figures."""
    full = {row["network"]: row for row in report["rows"] if row["at"] == "full length"}
    equal = {row["network"]: row for row in report["rows"] if row["at"] == "equal accuracy"}
    ann, direct, converted = full["ANN"], equal["direct"], equal["converted"]
    points = {of: 100 * (row["accuracy"] - ann["accuracy"]) for of, row in full.items()}
    near = points["direct"] > -1 and points["direct"] > points["converted"] - 1
    operations = {of: row["accumulates"] + row["macs"] for of, row in equal.items()}
    fewer = direct["spikes"] < converted["spikes"] and operations["direct"] < operations["converted"]
    rates = [row["firing_rate"] for row in report["rates"]["direct"] if row["layer"] not in ("input", "total")]
    falls = all(deeper < rate for rate, deeper in itertools.pairwise(rates))
    found = {
        "As accurate as the ANN and as conversion, within 1 point": f"{_verdict(near)}: "
        f"{points['direct']:+.2f} points to the ANN; converted {points['converted']:+.2f}",
        "Fewer spikes and operations than conversion": f"{_verdict(fewer)}: "
        f"{operations['direct'] / 1e6:.1f} against {operations['converted'] / 1e6:.1f} million operations, "
        f"{direct['spikes']:,.0f} against {converted['spikes']:,.0f} spikes",
        "Deeper layers fire less often": f"{_verdict(falls)}: rates from {rates[0]:.3f} to {rates[-1]:.3f}, "
        f"lowest {min(rates):.3f}",
    }
    energies = {
        "arithmetic alone": Costs.FLOAT32_45NM,
        **{f"with {name} of memory": c for name, c in WITH_MEMORY.items()},
    }
    for how, costs in energies.items():
        share = {
            of: costs.of(equal[of]["accumulates"], equal[of]["macs"]) / costs.of_ann(ann["accumulates"], ann["macs"])
            for of in ("direct", "converted")
        }
        found[f"Less energy than the ANN: {how}"] = (
            f"{_verdict(share['direct'] < 1)}: {share['direct']:.2f} of the ANN's; converted {share['converted']:.2f}"
        )
    return found


def _cheapest(report: dict) -> list[str]:
    """The cheapest way, by arithmetic alone, to hold an accuracy within 1 point of the ANN's until the end."""
    ann = next(row for row in report["rows"] if row["network"] == "ANN")
    ways = []
    for of, rows in report["curves"].items():
        steps = steps_to_reach(rows, ann["accuracy"] - 0.01)
        if steps is not None:
            row = rows[steps - 1]
            ways.append((Costs.FLOAT32_45NM.of(row["accumulates"], row["macs"]) / 1000, of, row))
    if not ways:
        return ["No spiking network comes within 1 point of the ANN's accuracy."]
    energy, of, row = min(ways, key=lambda way: way[0])
    spent, by_ann = microjoules_with_memory(row, Costs.of), microjoules_with_memory(ann, Costs.of_ann)
    with_memory = ", ".join(f"{spent[cache] / by_ann[cache]:.2f} with {cache}" for cache in WITH_MEMORY)
    rates = [f"{row['firing_rate']:.3f}" for row in report["rates"]["direct"] if row["layer"] not in ("input", "total")]
    return [
        f"The cheapest within 1 point of the ANN's accuracy is {of} after {row['steps']} steps, with "
        f"{energy / ann['energy_nj']:.2f} of the ANN's energy ({with_memory}).",
        "",
        f"Spikes per neuron and step of the direct network, from the first layer to the last: {', '.join(rates)}.",
    ]


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
    return "yes" if agrees else "no"
