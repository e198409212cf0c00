"""Writes the packaged weights (int8) and their model card from a trained network.

python -m examples.experiments.pretrained --model MODEL.keras --report report.json [--data-dir FOLDER] [...]

`MODEL.keras` and `report.json` are outputs of `reproduce` on MNIST or CIFAR-10; weights for the latter end `on_grid`.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_spiking_bp as ksbp
from examples import PROGRESS
from examples.experiments.recipes import Recipe
from examples.experiments.report import test, write
from keras_spiking_bp.export.atomic import written_whole
from keras_spiking_bp.models.parts import PRESETS
from keras_spiking_bp.models.pretrained import encoder_from, unpack

FOLDER = Path(ksbp.models.__file__).parent / "weights"
#: Data set, intended use, and licences with attribution.
ABOUT = {
    "mnist": (
        "MNIST (60,000 training images; tested on all 10,000 of the test set)",
        "digits as in MNIST: centred, white on black, 28x28. Nothing else was tested.",
        "Apache-2.0 (the weights); MNIST by LeCun, Cortes and Burges",
    ),
    "cifar10": (
        "CIFAR-10, lossless (50,000 training images; tested on all 10,000 of the test set)",
        "32x32 pictures of one of the ten classes. Nothing else was tested.",
        "Apache-2.0 (the weights); CIFAR-10 by Krizhevsky, Nair and Hinton",
    ),
}


def packed(model: keras.Model) -> dict[str, np.ndarray]:
    """The weights of a network: kernels as int8 and one scale for each output channel (the last axis), vectors as
    they are.
    """
    arrays = {}
    for i, variable in enumerate(model.weights):
        value, key = keras.ops.convert_to_numpy(variable).astype("float32"), f"{i}_{variable.name}"
        if value.ndim > 1:
            arrays[key], arrays[f"{key}:scale"] = quantised(value)
        else:
            arrays[key] = value
    return arrays


def quantised(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`weight = int8 * scale`, with one scale, a power of two, for each output channel (the last axis)."""
    scale = power_of_two(np.abs(weight).max(tuple(range(weight.ndim - 1))) / 127)
    return np.round(weight / scale).astype("int8"), scale


def power_of_two(values: np.ndarray) -> np.ndarray:
    """The next one upwards of each value."""
    return np.exp2(np.ceil(np.log2(np.maximum(values, 1e-12)))).astype("float32")


#: Of the potentials of a network `on_grid`; what they start with more than half the threshold; what images it takes.
GRID, OFFSET = 2.0**-13, 2.0**-14
CENTRED = {"mean": (128 / 255,) * 3, "scale": (64 / 255,) * 3}


def on_grid(network: keras.Model, mean: Sequence[float], scale: Sequence[float]) -> None:
    """Rounds the weights so that each runtime finds the same spikes, for 8-bit images scaled as (image - 128) / 64.

    Kernels become 8-bit multiples of a power of two. Without leak all potentials are then multiples of GRID; with
    OFFSET more they stay away from every threshold, further than sums in another order move them.
    """
    fraction, images = 64, True  # inputs are multiples of its inverse
    for cell in network.get_layer("time").cell.cells[:-1]:
        if isinstance(cell, keras.layers.AveragePooling2D):
            fraction *= 4
        if not isinstance(cell, ksbp.LIFCell):
            continue
        *_, layer, norm = cell.synapse.layers
        kernel, (gamma, beta, centre, variance) = layer.get_weights()[0], norm.get_weights()
        if images:
            centre = centre - np.einsum("yxio,i->o", kernel, (128 / 255 - np.array(mean)) / scale)
            kernel = kernel * (64 / 255 / np.array(scale)[:, None])
        factor = gamma / np.sqrt(variance + norm.epsilon)
        kernel, centre, variance = kernel * factor, centre * factor, variance * factor**2
        step = np.maximum(power_of_two(np.abs(kernel).max(tuple(range(kernel.ndim - 1))) / 127), GRID * fraction)
        layer.set_weights([np.round(kernel / step) * step])
        bias = np.round((beta - centre) / GRID) * GRID
        norm.set_weights([np.sqrt(variance + norm.epsilon), bias + centre, centre, variance])
        fraction, images = 1, False


def images_of(name: str, data_dir: str | None) -> ksbp.datasets.ImageSet:
    """The data set of a packaged network, scaled as its card says."""
    card, data = ksbp.models.model_card(name), ksbp.datasets.load_images(name, data_dir)
    return dataclasses.replace(data, mean=tuple(card["mean"]), scale=tuple(card["scale"]))


def package(path: Path, arrays: dict[str, np.ndarray], card: dict[str, Any]) -> None:
    """Writes weights and their card, `path` with .npz and .json."""
    with written_whole(path.with_suffix(".npz"), overwrite=True) as part:
        np.savez_compressed(part, **arrays)
    of_weights = {
        "precision": "int8 with one scale, a power of two, for each output channel; float32 when loaded",
        "sha256": hashlib.sha256(path.with_suffix(".npz").read_bytes()).hexdigest(),
    }
    write(path.with_suffix(".json"), {**card, **of_weights})


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """The settings of this recipe's network that affect its spikes."""
    chosen = {"signed": recipe.signed, **PRESETS[recipe.preset]}
    del chosen["num_steps"]
    encoder = {"kind": chosen.pop("encoder", "poisson"), "scale": recipe.scale}
    return {"beta": 0.99, "pool_threshold": 0.75, "preset": recipe.preset, **chosen, "encoder": encoder}


def make(args: argparse.Namespace, report: dict) -> dict[str, dict]:
    """Writes the weights and their card; returns the test results by number of time steps."""
    args.output.mkdir(parents=True, exist_ok=True)
    recipe = Recipe.from_dict(report["recipe"])
    network, settings = keras.saving.load_model(args.model, compile=False), settings_of(recipe)
    data = ksbp.datasets.load_images(recipe.dataset, args.data_dir)
    if recipe.dataset == "cifar10":
        on_grid(network, data.mean, data.scale)
        settings |= {"beta": 1.0, "initial_membrane": settings["initial_membrane"] + OFFSET / settings["threshold"]}
        data = dataclasses.replace(data, **CENTRED)
    arrays = packed(network)
    how = {key: value for key, value in settings.items() if key != "encoder"}
    factory = getattr(ksbp.models, f"spiking_{recipe.network}")
    results = {}
    for steps in args.num_steps or dict.fromkeys([recipe.num_steps, recipe.test_steps]):
        model = factory(data.input_shape, encoder=encoder_from(settings["encoder"], steps, 0), seed=0, **how)
        unpack(model, arrays)
        results[str(steps)] = test(model, data.test_batches(200), verbose=PROGRESS)
    described, use, licence = ABOUT[recipe.dataset]
    card = {
        "network": recipe.network,
        "dataset": described,
        "mean": data.mean,
        "scale": data.scale,
        "input": f"images {data.input_shape}, (image / 255 - mean) / scale of 8-bit values",
        "use": use,
        "settings": settings,
        "trained_by": report["command"],
        "recipe": report["recipe"],
        "seed": report["seed"],
        "accuracy_before_quantisation": report["test"]["accuracy"],
        "test_by_num_steps": results,
        "licence": licence,
    }
    package(args.output / recipe.dataset, arrays, card)
    return results


def main(arguments: list[str] | None = None) -> dict[str, dict]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a trained network")
    parser.add_argument("--report", type=Path, required=True, help="its report.json")
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--num-steps", type=int, nargs="+", help="numbers of time steps to test")
    parser.add_argument("--output", type=Path, default=FOLDER)
    args = parser.parse_args(arguments)
    report = json.loads(args.report.read_text())
    if report["recipe"]["dataset"] not in ABOUT:
        parser.error(f"--report: it must be of a network for {list(ABOUT)}")
    results = make(args, report)
    print({steps: result["accuracy"] for steps, result in results.items()})
    return results


if __name__ == "__main__":
    main()
