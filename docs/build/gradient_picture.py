"""Draws what replaces the derivative of a spike: surrogates, and the slope of the spike count.

python -m docs.build.gradient_picture [--output docs/images/gradient-choice.png]

Everything drawn is computed by the library: the surrogates, the spikes, and the gradients of both rules.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes

import keras_spiking_bp as ksbp
from benchmarks.plotting import plt
from keras_spiking_bp.analysis.style import BLUE, COLORS, DARK_GREY, GREY, LINES, ORANGE

NUM_STEPS = 10
SURROGATES = ("triangle", "atan", "sigmoid", "fast_sigmoid")


def draw_surrogates(axis: Axes) -> None:
    """A spike against the potential, and the surrogates, each relative to its largest value."""
    distance = np.linspace(-1.5, 1.5, 601).astype("float32")
    label = "the spike: its derivative is 0, except at the threshold"
    axis.plot(distance, distance > 0, color=GREY, linewidth=4, label=label)
    for name, color, line in zip(SURROGATES, COLORS, LINES, strict=False):
        values = ksbp.surrogates.get(name)(tf.constant(distance)).numpy()
        label = f'surrogate="{name}", largest value {values.max():.3g}'
        axis.plot(distance, values / values.max(), color=color, linestyle=line, label=label)
    axis.set(
        title="Step by step: a surrogate is used as the derivative of a spike",
        xlabel="membrane potential - threshold",
        ylabel="relative to the largest value",
        ylim=(-0.03, 1.9),
        yticks=[0, 1],
    )
    axis.legend(loc="upper left")


def counts_and_slopes(totals: np.ndarray, surrogate: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Spike counts for constant currents and their derivatives with respect to total input."""
    cell = ksbp.LIFCell(keras.layers.Identity(), beta=0.99, reset_mechanism="subtract", surrogate=surrogate)
    layer = ksbp.SpikingRNN(cell)
    currents = tf.constant(np.tile(totals / NUM_STEPS, (NUM_STEPS, 1)).T[..., None], tf.float32)  # (totals, T, 1)
    with tf.GradientTape() as tape:
        tape.watch(currents)
        counts = NUM_STEPS * layer(currents)
    # each step: derivative w.r.t. the total
    return counts.numpy()[:, 0], tape.gradient(counts, currents).numpy()[:, 0, 0]


def draw_counts(axis: Axes) -> None:
    """The spike count against the total input, and the slope each rule uses at some inputs."""
    totals = np.linspace(0, 1.5 * NUM_STEPS, 601)
    axis.plot(totals, counts_and_slopes(totals, None)[0], color=GREY, linewidth=4, label="spike count")
    points = np.array([2.7, 5.7, 8.8, 13.0])
    for surrogate, color, line in ((None, BLUE, "-"), ("bounded", ORANGE, "--")):
        label = "slope taken by surrogate=" + (f'"{surrogate}"' if surrogate else "None")
        for x, count, slope in zip(points, *counts_and_slopes(points, surrogate), strict=True):
            ends = np.array([-1.1, 1.1])
            axis.plot(x + ends, count + slope * ends, color=color, linestyle=line, label=label)
            label = None
        axis.plot(points, counts_and_slopes(points, surrogate)[0], "o", color=DARK_GREY, markersize=4)
    axis.set(
        title="On totals: the spike count is nearly a line, and has a slope",
        xlabel=f"total input in {NUM_STEPS} time steps, in units of the threshold",
        ylabel="spike count",
        xlim=(0, 1.5 * NUM_STEPS),
    )
    axis.legend(loc="upper left")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("docs/images/gradient-choice.png"))
    args = parser.parse_args(arguments)
    figure, (above, below) = plt.subplots(2, 1, figsize=(6.8, 7))
    draw_surrogates(above)
    draw_counts(below)
    figure.savefig(args.output)
    plt.close(figure)
    print(args.output)


if __name__ == "__main__":
    main()
