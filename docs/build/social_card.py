"""Draws the preview image for shared links to the documentation.

python -m docs.build.social_card [--output docs/images/social.png]

Its spikes are those of the packaged LeNet for one digit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import keras_spiking_bp as ksbp
from benchmarks.plotting import plt
from keras_spiking_bp.analysis.style import BLUE

SIZE = (12.0, 6.3)  # inches of 100 pixels: 1200 x 630, the usual preview size


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("docs/images/social.png"))
    args = parser.parse_args(arguments)
    _, (digits, labels) = ksbp.datasets.mnist_5k()
    shown = int(np.flatnonzero(labels == 5)[0])
    model = ksbp.models.load_pretrained("mnist", num_steps=50, seed=0)

    figure = plt.figure(figsize=SIZE, dpi=100, layout="none")
    figure.text(0.06, 0.84, "keras_spiking_bp", fontsize=44, fontweight="bold", color=BLUE)
    figure.text(0.06, 0.74, "Deep spiking neural networks in Keras, trained by", fontsize=25)
    figure.text(0.06, 0.66, "spike-based backpropagation", fontsize=25)
    image = figure.add_axes((0.06, 0.1, 0.26, 0.26 * SIZE[0] / SIZE[1]))
    image.imshow(digits[shown, ..., 0], cmap="gray_r")
    image.set_axis_off()
    raster = figure.add_axes((0.42, 0.14, 0.53, 0.43))
    ksbp.analysis.pictures.raster(model, digits[shown : shown + 1], neurons=25, axis=raster)
    raster.set_title("spikes of each layer", fontsize=16)
    raster.set_xlabel("time step", fontsize=14)
    names = [label.get_text().split("\n")[0] for label in raster.get_yticklabels()]
    raster.set_yticks(raster.get_yticks(), names)
    raster.tick_params(labelsize=14)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=100)
    plt.close(figure)
    print(args.output)


if __name__ == "__main__":
    main()
