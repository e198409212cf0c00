"""The two pictures of the page, readable in print and by colour-blind readers."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.networks import NETWORKS
from benchmarks.registry import CASES, LIMIT, OURS, PEER, PLAIN, SWEEP, TRAIN, TUNED
from benchmarks.results import Results

# Okabe and Ito's palette, told apart by all common kinds of colour vision
GROUP_COLOURS = {
    OURS: "#0072B2",
    PEER: "#E69F00",
    TUNED: "#F4D58A",
    PLAIN: "#999999",
    LIMIT: "#FFFFFF",
}
LINES = dict(
    zip(
        SWEEP,
        [
            ("#0072B2", "o", "-"),
            ("#56B4E9", "s", "-"),
            ("#E69F00", "^", "--"),
            ("#D55E00", "v", "--"),
            ("#CC79A7", "D", "--"),
            ("#000000", "x", "--"),
        ],
        strict=True,
    )
)
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 150,
    "savefig.bbox": "tight",
    "savefig.facecolor": "white",
}


def bars(results: Results, path: Path) -> None:
    """Training step of every case, one panel for each size."""
    sizes = results.settings["main"]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(len(sizes), 1, figsize=(8, 3.6 * len(sizes)), squeeze=False)
        for ax, (network, steps, batch) in zip(axes[:, 0], sizes, strict=True):
            rows = []
            for case in CASES.values():
                mode = TRAIN if TRAIN in case.modes else case.modes[0]
                value = results.time("main", case.name, network, steps, batch, mode)
                if value is not None and not case.name.startswith("bare_spiking"):
                    rows.append((value, case))
            draw_bars(ax, rows)
            ax.set_title(f"{NETWORKS[network].title}, T = {steps}, batch {batch}", loc="left")
        axes[-1, 0].set_xlabel("seconds for one training step")
        figure.tight_layout()
        figure.savefig(path)
        plt.close(figure)


def draw_bars(ax: Axes, rows: list) -> None:
    """Horizontal bars with name and seconds written beside them."""
    positions = range(len(rows))
    ax.barh(
        positions,
        [value for value, _ in rows],
        color=[GROUP_COLOURS[case.group] for _, case in rows],
        edgecolor="black",
        linewidth=0.6,
    )
    ax.set_yticks(positions, [case.title for _, case in rows])
    ax.invert_yaxis()
    for position, (value, _) in zip(positions, rows, strict=True):
        ax.annotate(f"{value:.3g}", (value, position), (4, 0), textcoords="offset points", va="center")
    ax.margins(x=0.1)


def sweep(results: Results, path: Path) -> None:
    """Training step (above) and peak memory (below) against T, one column for each network."""
    networks = results.settings["sweep"]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, len(networks), figsize=(5.6 * len(networks), 8), squeeze=False)
        for column, (network, batch) in enumerate(networks):
            for row, what in enumerate(("time", "memory")):
                ax = axes[row, column]
                draw_lines(ax, results, network, batch, what)
                ax.set_xlabel("time steps T")
            axes[0, column].set_title(f"{NETWORKS[network].title}, batch {batch}", loc="left")
        axes[0, 0].set_ylabel("seconds for one training step")
        axes[1, 0].set_ylabel("peak memory of the process, GB")
        figure.tight_layout()
        figure.savefig(path)
        plt.close(figure)


def draw_lines(ax: Axes, results: Results, network: str, batch: int, what: str) -> None:
    """One labelled line for each case; a cross where a case ran out of memory."""
    all_steps = results.settings["sweep_steps"]
    ends = []
    for name in SWEEP:
        colour, marker, line = LINES[name]
        points, stopped = [], None
        for steps in all_steps:
            record = results.find("sweep", name, network, steps, batch, TRAIN)
            if record is None:
                continue
            if results.status(record) != "ok":
                stopped = results.status(record)
                break
            value = median(results.times(record)) if what == "time" else 0.0
            points.append((steps, value or results.most(record, "peak") / 1e9))
        if not points:
            continue
        ax.plot(*zip(*points, strict=True), color=colour, marker=marker, linestyle=line)
        title = CASES[name].title.split(" (")[0]
        end = "" if stopped is None else "\n" + stopped.split(" (")[0]
        ends.append((points[-1], title + end, colour))
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(all_steps, [str(steps) for steps in all_steps])
    ax.minorticks_off()
    if what == "memory":  # so wide that a per cent looks like a per cent
        ax.set_ylim(0.25, 20)
    low, high = ax.get_ylim()
    ticks = [t * 10**e for e in range(-3, 4) for t in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.grid(axis="y", color="#dddddd", linewidth=0.6)
    ax.set_xlim(all_steps[0] * 0.9, all_steps[-1] * 1.1)
    label_ends(ax, ends)


def label_ends(ax: Axes, ends: list) -> None:
    """Names in a column at the right, moved apart where lines end close together."""
    low, high = ax.get_ylim()
    span = 0.085  # of the height of the axes
    transform = ax.transScale.transform
    bottom, top = transform((1, low))[1], transform((1, high))[1]
    labels = []  # height, half height, text, colour, point; from bottom to top
    for point, text, colour in sorted(ends, key=lambda end: end[0][1]):
        height = (transform((1, point[1]))[1] - bottom) / (top - bottom)
        labels.append([height, span * (1 + text.count("\n")) / 2, text, colour, point])
    for below, label in pairwise(labels):
        label[0] = max(label[0], below[0] + below[1] + label[1])
    ceiling = 1.0
    for label in reversed(labels):
        label[0] = min(label[0], ceiling - label[1])
        ceiling = label[0] - label[1]
    for height, _, text, colour, point in labels:
        ax.annotate(
            text,
            point,
            (1.04, height),
            xycoords="data",
            textcoords="axes fraction",
            color=colour,
            va="center",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.6},
        )
