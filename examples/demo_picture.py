"""The figure of the demo: digits, their spike trains, the readout over time, and accuracy against time steps."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from examples.plotting import plt
from keras_spiking_bp.analysis.style import BLUE, DARK_GREY, GREY, ORANGE
from keras_spiking_bp.rnn.encoded_inputs import encode_repeatably
from keras_spiking_bp.rnn.observe import traces_of_spikes


def draw_picture(model: keras.Model, images: np.ndarray, labels: np.ndarray, outputs: np.ndarray, path: Path) -> Path:
    """Draws input spikes and readout of three digits, and the accuracy of `outputs` (N, T, classes) over time."""
    num_steps = outputs.shape[1]
    steps = np.arange(1, num_steps + 1)
    accuracy = (outputs.argmax(-1) == labels[:, None]).mean(0)

    shown = [int(np.flatnonzero(labels == digit)[0]) for digit in (3, 5, 8)]
    spikes = encode_repeatably(model, images[shown]).sequences.numpy()
    potentials = traces_of_spikes(model, spikes)["readout"]["membrane"]

    figure = plt.figure(figsize=(12.5, 6.6), layout="constrained")
    digits, right = figure.subfigures(1, 2, width_ratios=[2.3, 1])
    axes = digits.subplots(3, 3, width_ratios=[0.8, 1.5, 1.5])
    titles = ["image", "input spikes", "readout potential V[t]"]
    for column, title in enumerate(titles):
        axes[0, column].set_title(title)
    for row, index in enumerate(shown):
        picture, raster, readout = axes[row]
        picture.imshow(images[index, ..., 0], cmap="gray_r")
        picture.set(xticks=[], yticks=[])
        picture.spines[:].set_visible(True)

        when, where = np.nonzero(spikes[row].reshape(num_steps, -1))
        raster.scatter(when + 1, where, s=1.5, color="black", linewidths=0)
        raster.set(ylim=(784, 0), yticks=[0, 784], xlim=(0.5, num_steps + 0.5))
        raster.set_ylabel("pixel", labelpad=-12)

        label = labels[index]
        wrong = [c for c in range(potentials.shape[-1]) if c != label]
        readout.plot(steps, potentials[row][:, wrong], color=GREY, linewidth=1)
        readout.plot(steps, potentials[row][:, label], color=BLUE, linewidth=2.5)
        readout.annotate(
            f"“{label}”",
            (num_steps, potentials[row][-1, label]),
            color=BLUE,
            xytext=(4, -4),
            textcoords="offset points",
            fontsize="large",
            fontweight="bold",
            annotation_clip=False,
        )
        highest = potentials[row][:, wrong].max()
        if row == 0:
            readout.annotate(
                "other digits", (num_steps, highest), color=DARK_GREY, xytext=(-66, 4), textcoords="offset points"
            )
        readout.set_xlim(1, num_steps)
        if row == 2:
            raster.set_xlabel("time step"), readout.set_xlabel("time step")

    axis = right.subplots()
    axis.plot(steps, 100 * accuracy, color=ORANGE, linewidth=2.5)
    axis.annotate(
        f"{100 * accuracy[-1]:.1f} %",
        (num_steps, 100 * accuracy[-1]),
        color=ORANGE,
        fontweight="bold",
        fontsize="large",
        xytext=(-40, -18),
        textcoords="offset points",
    )
    axis.set(xlabel="time steps", xlim=(1, num_steps), ylim=(0, 102))
    axis.set_title(f"accuracy (%) on {len(labels):,} test digits\nagainst time steps")
    axis.grid(axis="y")
    figure.suptitle("A spiking LeNet reads handwritten digits from spikes")
    figure.savefig(path)
    plt.close(figure)
    return path
