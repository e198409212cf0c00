"""Which networks of `keras.applications` can be converted, and why others cannot.

python -m examples.experiments.convert_applications [--output docs/conversion/applications]

The networks have random weights: only whether they can be parsed, balanced and built matters, not their outputs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np

import keras_spiking_bp as ksbp
from examples.experiments.machine import machine
from examples.experiments.report import command, write

#: The networks and their image sizes: 64, or the smallest allowed.
SIDES = {
    "VGG16": 64, "VGG19": 64, "ResNet50": 64, "ResNet50V2": 64, "MobileNet": 64, "MobileNetV2": 64,
    "MobileNetV3Small": 64, "DenseNet121": 64, "EfficientNetB0": 64, "InceptionV3": 75, "Xception": 71,
}  # fmt: skip


def attempt(name: str, side: int) -> dict:
    """One network: its spiking layers, or why it was refused."""
    keras.utils.set_random_seed(0)
    ann = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3), classes=10)
    images = np.random.default_rng(0).uniform(0, 255, (2, side, side, 3)).astype("float32")
    row = {"network": name, "side": side, "layers": len(ann.layers)}
    try:
        cell = ksbp.convert_to_snn(ann, images, num_steps=8, method="max").get_layer("time").cell
    except ValueError as error:
        return {**row, "refused": str(error)}
    spiking = [neurons for neurons in cell.neurons() if neurons.emits == "spikes"]
    return {**row, "cell": type(cell).__name__, "spiking_layers": len(spiking)}


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--networks", nargs="+", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--output", type=Path, default=Path("docs/conversion/applications"))
    args = parser.parse_args(arguments)
    path = args.output / "applications.json"
    if path.exists() and set(args.networks) != set(SIDES):
        parser.error(f"some networks alone would replace those of {path}: give another --output")
    rows = []
    for name in args.networks:
        rows.append(attempt(name, SIDES[name]))
        print(rows[-1], flush=True)
        keras.backend.clear_session()
    made_by = command(arguments, "examples.experiments.convert_applications")
    report = {"command": made_by, "rows": rows, "machine": machine()}
    args.output.mkdir(parents=True, exist_ok=True)
    write(path, report)
    return report


if __name__ == "__main__":
    main()
