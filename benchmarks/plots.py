"""The two plots of the page, readable in print and by colour-blind readers."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.networks import NETWORKS
from benchmarks.plotting import plt
from benchmarks.registry import CASES, LIMIT, MAIN, OURS, PEER, PLAIN, SWEEP, TRAIN, TUNED
from benchmarks.results import Results
from keras_spiking_bp.analysis.style import BLACK, BLUE, GREY, ORANGE, PINK, SKY, YELLOW

GROUP_COLOURS = {
    OURS: BLUE,
    PEER: YELLOW,
    TUNED: "#F4D58A",  # a lighter YELLOW
    PLAIN: GREY,
    LIMIT: "#FFFFFF",
}
LINES = dict(
    zip(
        SWEEP,
        [
            (BLUE, "o", "-"),
            (SKY, "s", "-"),
            (YELLOW, "^", "--"),
            (ORANGE, "v", "--"),
            (PINK, "D", "--"),
            (BLACK, "x", "--"),
        ],
        strict=True,
    )
)


def bars(results: Results, path: Path) -> None:
    """Training step of every case, one panel for each size."""
    sizes = results.settings["main"]
    figure, axes = plt.subplots(len(sizes), 1, figsize=(8, 3.6 * len(sizes)), squeeze=False)
    for ax, (network, steps, batch) in zip(axes[:, 0], sizes, strict=True):
        rows = []
        for case in (case for case in CASES.values() if case.section == MAIN):
            mode = TRAIN if TRAIN in case.modes else case.modes[0]
            value = results.time("main", case.name, network, steps, batch, mode)
            if value is not None and not case.name.startswith("bare_spiking"):
                rows.append((value, case))
        draw_bars(ax, rows)
        ax.set_title(f"{NETWORKS[network].title}, T = {steps}, batch {batch}")
    axes[-1, 0].set_xlabel("seconds for one training step")
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
    figure, axes = plt.subplots(2, len(networks), figsize=(5.6 * len(networks), 8), squeeze=False)
    for column, (network, batch) in enumerate(networks):
        for row, what in enumerate(("time", "memory")):
            ax = axes[row, column]
            draw_lines(ax, results, network, batch, what)
            ax.set_xlabel("time steps T")
        axes[0, column].set_title(f"{NETWORKS[network].title}, batch {batch}")
    axes[0, 0].set_ylabel("seconds for one training step")
    axes[1, 0].set_ylabel("peak memory of the process, GB")
    add_legend(figure)
    figure.savefig(path)
    plt.close(figure)


def add_legend(figure: Figure) -> None:
    """One legend below all panels, without duplicates."""
    entries = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(entries.values(), entries, loc="outside lower center", ncols=4)


def draw_lines(ax: Axes, results: Results, network: str, batch: int, what: str) -> None:
    """One line for each case; a star at its end where the next number of steps failed."""
    all_steps = results.settings["sweep_steps"]
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
            points.append((steps, value or results.memory(record, "peak") / 1e9))
        if not points:
            continue
        title = CASES[name].title.split(" (")[0]
        ax.plot(*zip(*points, strict=True), color=colour, marker=marker, linestyle=line, label=title)
        if stopped is not None:
            label = f"{stopped.split(' (')[0]} with more steps"
            ax.plot(
                *points[-1],
                color=colour,
                marker="*",
                markersize=17,
                markeredgecolor="black",
                linestyle="none",
                label=label,
            )
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(all_steps, [str(steps) for steps in all_steps])
    ax.minorticks_off()
    if what == "memory":  # wide, so that small changes look small
        ax.set_ylim(0.25, 20)
    low, high = ax.get_ylim()
    ticks = [t * 10**e for e in range(-3, 4) for t in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.grid(axis="y")
    ax.set_xlim(all_steps[0] * 0.9, all_steps[-1] * 1.1)
