"""Trained weights that come with the package, as 8-bit integers."""

import json
from importlib import resources
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.encoders import ConstantEncoder, PoissonEncoder
from keras_spiking_bp.utils.validation import check_choice

#: Data sets for which there are weights, with the name of their files.
PRETRAINED = {"cifar10": "vgg9_cifar10", "mnist": "lenet_mnist"}


def unpack(model: keras.Model, arrays: dict[str, np.ndarray], name: str) -> None:
    """Sets the weights of a network from arrays as examples/experiments/pretrained.py packs them."""
    stored = {key: tuple(value.shape) for key, value in arrays.items() if not key.endswith(":scale")}
    own = {f"{i}_{variable.name}": tuple(variable.shape) for i, variable in enumerate(model.weights)}
    if own != stored:
        raise ValueError(
            f"`weights={name!r}` fits a network with the weights {stored}. Received: {own}. For other classes, put its "
            "cells and a new ReadoutCell into a SequentialCell"
        )
    for key, variable in zip(own, model.weights, strict=True):
        variable.assign(arrays[key] * arrays.get(f"{key}:scale", np.float32(1)))


def load_pretrained(model: keras.Model, name: str) -> None:
    """Loads weights trained on data set `name` into a network."""
    with resources.files(__package__).joinpath(f"weights/{PRETRAINED[name]}.npz").open("rb") as file:
        unpack(model, dict(np.load(file)), name)


def model_card(name: str) -> dict[str, Any]:
    """How the weights for the data set `name` were trained, their test accuracy, and how to scale images for them.

    The network sees `(image / 255 - mean) / scale` of 8-bit images, with `mean` and `scale` of each channel;
    `test_by_num_steps` holds its accuracy, `settings` how it is built, `sha256` the hash of the file of its weights.

    Example:
        >>> model_card("mnist")["network"]
        'lenet'
    """
    check_choice("name", name, tuple(PRETRAINED))
    return json.loads(resources.files(__package__).joinpath(f"weights/{PRETRAINED[name]}.json").read_text())


def trained_arguments(weights: str, of_network: str, given: dict[str, Any], num_steps: int | None) -> dict[str, Any]:
    """The arguments of a factory for trained weights: those given, and the settings of the training."""
    check_choice("weights", weights, tuple(name for name, file in PRETRAINED.items() if file.startswith(of_network)))
    card = model_card(weights)
    settings = dict(card["settings"])
    encoder = settings.pop("encoder")
    unlike = {"readout_beta": None, "synaptic_beta": None, "learn_beta": False, "learn_threshold": False}
    fixed = {**settings, **unlike}
    other = {key: given[key] for key, value in fixed.items() if not np.array_equal(given.get(key, value), value)}
    if other:
        raise ValueError(f"`weights={weights!r}` were trained with {settings}. Received: {other}")
    arguments = {**settings, "gradient": card["recipe"]["gradient"], **given, "num_steps": num_steps}
    if "encoder" not in given:
        steps = card["recipe"]["test_steps"] if num_steps is None else num_steps
        arguments["encoder"] = encoder_from(encoder, steps, given.get("seed"))
    return arguments


def encoder_from(settings: dict[str, Any], num_steps: int, seed: int | None) -> keras.layers.Layer:
    """The encoder of a model card, or of a recipe."""
    if settings["kind"] == "constant":
        return ConstantEncoder(num_steps, settings["scale"])
    return PoissonEncoder(num_steps, settings["scale"], seed=seed)
