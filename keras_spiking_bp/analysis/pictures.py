"""Pictures of spiking networks, readable in print and for the colour-blind.

Each function draws on the given matplotlib axes, or on a new figure in the style of `analysis.style`, and returns the
axes. They need matplotlib (`pip install matplotlib`).
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.analysis.style import BLUE, COLORS, DARK_GREY, GREY, LINES, ORANGE, STYLE
from keras_spiking_bp.analysis.table import Table
from keras_spiking_bp.cells import MaxPoolingCell
from keras_spiking_bp.rnn.observe import traces
from keras_spiking_bp.rnn.spiking_model import spiking_layer
from keras_spiking_bp.utils.neuron_parameters import in_numpy
from keras_spiking_bp.utils.validation import check_choice


def _in_style(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Draws new figures in `STYLE`; given axes keep their style."""

    @functools.wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(draw).bind(*args, **kwargs).arguments
        import matplotlib

        with matplotlib.rc_context(STYLE if given.get("axis", given.get("axes")) is None else None):
            return draw(*args, **kwargs)

    return drawn


@_in_style
def raster(model: keras.Model, inputs: Any, sample: int = 0, neurons: int = 30, axis: Any = None) -> Any:
    """Spike raster: a mark for each spike, time steps to the right, layers from top to bottom.

    Args:
        model: a built model with one `SpikingRNN`.
        inputs: inputs of the model, (B, ...).
        sample: which of them to draw.
        neurons: maximum number drawn per layer, evenly spread over those that fire.
        axis: matplotlib axes; None for a new figure.
    """
    of_layers = {n: t["spikes"] for n, t in traces(model, _one(inputs, sample)).items() if "spikes" in t}
    axis = _figure(1, height=1.0 + 0.75 * len(of_layers)) if axis is None else axis
    top, ticks = 0.0, []
    for i, (name, spikes) in enumerate(of_layers.items()):
        flat = spikes[0].reshape(len(spikes[0]), -1)
        active = np.flatnonzero(flat.any(0))
        spread = np.unique(np.linspace(0, max(len(active) - 1, 0), neurons).astype(int))
        when, which = np.nonzero(flat[:, active[spread]] if len(active) else flat[:, :1])
        axis.vlines(when + 1, top + which, top + which + 0.8, color=COLORS[i % 2], linewidth=2)
        rows = max(len(spread), neurons // 4)
        ticks.append((top + rows / 2, f"{name}\n{len(active):,} of {flat.shape[1]:,} fire"))
        top += rows + 0.15 * neurons
    axis.set(xlabel="time step", xlim=(0.5, len(flat) + 0.5), ylim=(top, 0), title="spikes")
    axis.set_yticks(*zip(*ticks, strict=True))
    axis.tick_params(axis="y", length=0, labelsize="small")
    return axis


@_in_style
def membranes(model: keras.Model, inputs: Any, layer: str, sample: int = 0, neurons: int = 4, axis: Any = None) -> Any:
    """Membrane potentials of the most active neurons of a layer after each time step, their spikes, the threshold.

    Args:
        model, inputs, sample, axis: as in `raster`.
        layer: name of the layer of neurons, such as `"conv1"`.
        neurons: how many to draw.
    """
    cells = {cell.name: cell for cell in spiking_layer(model).cell.neurons() if not isinstance(cell, MaxPoolingCell)}
    trace = traces(model, _one(inputs, sample))[check_choice("layer", layer, tuple(cells))]
    potential = trace["membrane"][0].reshape(len(trace["membrane"][0]), -1)
    active = np.abs(trace["spikes"][0]).reshape(potential.shape).sum(0) if "spikes" in trace else potential[-1]
    axis = _figure(1) if axis is None else axis
    steps = np.arange(1, len(potential) + 1)
    drawn = np.argsort(-active, kind="stable")[:neurons]
    for i, neuron in enumerate(drawn):
        style = {"color": COLORS[i % 7], "linestyle": LINES[i % 7], "linewidth": 1.5}
        axis.plot(steps, potential[:, neuron], label=f"neuron {neuron}", marker=_marker(steps), **style)
    if "spikes" in trace:
        threshold = np.broadcast_to(in_numpy(cells[layer].threshold), cells[layer].output_shape_of_step).ravel()
        spikes = trace["spikes"][0].reshape(potential.shape)
        for i, neuron in enumerate(drawn):
            fired = spikes[:, neuron] != 0
            level = np.where(spikes[fired, neuron] > 0, threshold[neuron], 0.0)  # one that is taken back at 0
            axis.plot(steps[fired], level, "|", color=COLORS[i % 7], markersize=11)
        for value in np.unique(threshold[drawn]):
            axis.axhline(value, color=GREY, linewidth=1)
        axis.annotate("threshold, spikes above", (steps[-1], threshold[drawn].max()), ha="right", va="bottom",
                      xytext=(0, 7), textcoords="offset points", color=DARK_GREY, fontsize="small")  # fmt: skip
        axis.margins(y=0.15)
    axis.set(xlabel="time step", ylabel="membrane potential", title=f"membrane potentials of {layer}")
    axis.set_xlim(1, max(len(potential), 2))
    axis.legend(frameon=False, fontsize="small", ncols=2, loc="best")
    return axis


@_in_style
def firing_rates(activity: Table, axis: Any = None) -> Any:
    """Bars: spikes per neuron and time step of each layer, from the table of `analysis.activity`."""
    rows = [row for row in activity.rows if row["layer"] != "total"]
    axis = _figure(1, height=1.2 + 0.32 * len(rows)) if axis is None else axis
    colors = [GREY if row["layer"] == "input" else BLUE for row in rows]
    bars = axis.barh([row["layer"] for row in rows], [row["firing_rate"] for row in rows], color=colors)
    axis.bar_label(bars, [f"{row['firing_rate']:.3f}" for row in rows], padding=3, fontsize="small")
    axis.invert_yaxis()
    axis.margins(x=0.14)
    axis.set(xlabel="spikes per neuron and time step", title="firing rate of each layer")
    return axis


@_in_style
def operations(table: Table, axis: Any = None) -> Any:
    """Bars: operations of each connection, spiking and ANN, from the table of `analysis.operations`."""
    rows = table.rows[:-1]
    pairs = [(r["accumulates"] + r["macs"], r["ann_accumulates"] + r["ann_macs"]) for r in rows]
    axis = _pairs([row["connection"] for row in rows], pairs, axis)
    axis.set(xlabel="operations per sample (thousands)", title="synaptic operations")
    axis.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:,.0f}")
    return axis


@_in_style
def energy(table: Table, axis: Any = None) -> Any:
    """Bars: energy of each connection, spiking and ANN, from the table of `analysis.energy`."""
    pairs = [(row["energy_nj"], row["ann_energy_nj"]) for row in table.rows]
    axis = _pairs([row["connection"] for row in table.rows], pairs, axis)
    axis.set(xlabel="energy per sample (nJ), estimated", title="energy")
    return axis


@_in_style
def accuracy_over_time(curve: Table, axes: Sequence[Any] | None = None) -> Any:
    """Accuracy above, spikes below, against time steps, from the table of `analysis.accuracy_over_time`."""
    upper, lower = axes if axes is not None else _figure(2, height=5.2, sharex=True)
    steps = [row["steps"] for row in curve.rows]
    upper.plot(steps, [100 * row["accuracy"] for row in curve.rows], color=BLUE, linewidth=2, marker=_marker(steps))
    upper.annotate(f"{100 * curve.rows[-1]['accuracy']:.2f} %", (steps[-1], 100 * curve.rows[-1]["accuracy"]),
                   xytext=(0, -16), textcoords="offset points", ha="right", color=BLUE, fontweight="bold")  # fmt: skip
    upper.set(ylabel="accuracy (%)", title="accuracy and spikes against time steps")
    lower.plot(steps, [row["spikes"] for row in curve.rows], color=ORANGE, linewidth=2, linestyle="--",
               marker=_marker(steps))  # fmt: skip
    lower.set(xlabel="time steps", ylabel="spikes per sample", ylim=(0, None))
    for axis in (upper, lower):
        axis.set_xlim(1, max(steps[-1], 2))
        axis.grid(axis="y")
    return upper, lower


@_in_style
def comparison(table: Any, axes: Sequence[Any] | None = None) -> Any:
    """Accuracy over time of each network, and its energy, from the table of `analysis.compare`."""
    left, right = axes if axes is not None else _figure(1, 2, width=11.5, height=4.2)
    names = list(dict.fromkeys(row["network"] for row in table.rows))
    styles = {name: {"color": COLORS[i % 7], "linestyle": LINES[i % 7]} for i, name in enumerate(names)}
    longest = max((len(curve) for curve in table.curves.values()), default=1)
    for row in table.rows:
        if row["spikes"] is None:
            left.axhline(100 * row["accuracy"], label=row["network"], **styles[row["network"]])
    for name, curve in table.curves.items():
        points = [(r["steps"], 100 * r["accuracy"]) for r in curve.rows]
        left.plot(*zip(*points, strict=True), linewidth=2, label=name, marker=_marker(points), **styles[name])
    if table.target is not None:
        left.axhline(100 * table.target, color=GREY, linewidth=0.8)
    lowest, *_, best = sorted(2 * [row["accuracy"] for row in table.rows])
    left.set(xlabel="time steps", ylabel="accuracy (%)", title="accuracy against time steps")
    left.set(ylim=(100 * max(0, 2.5 * lowest - 1.5 * best - 0.01), 100 * best + 0.3), xlim=(1, max(longest, 2)))
    left.legend(frameon=False, loc="lower right")
    labels = [f"{r['network']}\n{r['at']}, {r['steps']} step{'s' * (r['steps'] > 1)}" for r in table.rows]
    colors = [styles[row["network"]]["color"] for row in table.rows]
    energies = [row["energy_nj"] / 1000 for row in table.rows]
    texts = [f"{energy:,.0f}" if energy >= 100 else f"{energy:.3g}" for energy in energies]
    bars = right.barh(labels, energies, edgecolor="white", color=colors)
    right.bar_label(bars, texts, padding=3, fontsize="small")
    right.invert_yaxis()
    right.margins(x=0.14)
    right.tick_params(axis="y", length=0, labelsize="small")
    right.set(xlabel="energy per sample (µJ), estimated", title="energy")
    return left, right


def _pairs(names: list[str], pairs: list[tuple[float, float]], axis: Any) -> Any:
    """Two bars for each name: the spiking network, and the ANN (hatched)."""
    axis = _figure(1, height=1.5 + 0.45 * len(names)) if axis is None else axis
    y = np.arange(len(names))
    axis.barh(y - 0.2, [pair[0] for pair in pairs], 0.38, color=BLUE, label="spiking network")
    axis.barh(y + 0.2, [pair[1] for pair in pairs], 0.38, color="#F0C9A8", edgecolor=ORANGE, hatch="////", label="ANN")
    axis.set_yticks(y, names)
    axis.invert_yaxis()
    axis.legend(frameon=False, loc="best")
    return axis


def _one(inputs: Any, sample: int) -> Any:
    return keras.tree.map_structure(lambda x: x[sample : sample + 1], inputs)


def _marker(points: Sequence[Any] | np.ndarray) -> str | None:
    """A line of one point is not visible."""
    return "o" if len(points) == 1 else None


def _figure(rows: int, columns: int = 1, width: float = 6.4, height: float = 3.6, **kwargs: Any) -> Any:
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(width, height), **kwargs)[1]
