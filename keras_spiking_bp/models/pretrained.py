"""Trained weights that come with the package, as 8-bit integers."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.validation import check_choice

#: Data sets for which there are weights, with the name of their files.
PRETRAINED = {"mnist": "lenet_mnist"}


def quantised(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A weight as int8 and one scale for each output channel (the last axis): `weight = int8 * scale`."""
    largest = np.abs(weight).max(tuple(range(weight.ndim - 1)))
    scale = (np.maximum(largest, 1e-12) / 127).astype("float32")
    return np.round(weight / scale).astype("int8"), scale


def load_pretrained(model: keras.Model, name: str) -> None:
    """Gives a network the weights trained on the data set `name`.

    Raises:
        ValueError: if there are none, or the network has other shapes.
    """
    check_choice("weights", name, tuple(PRETRAINED))
    with resources.files(__package__).joinpath(f"weights/{PRETRAINED[name]}.npz").open("rb") as file:
        stored = np.load(file)
        values = [stored[f"int8_{i}"] * stored[f"scale_{i}"] for i in range(len(stored.files) // 2)]
    shapes = [tuple(variable.shape) for variable in model.trainable_weights]
    if shapes != [value.shape for value in values]:
        raise ValueError(
            f"`weights={name!r}` fits a network with weights of the shapes {[v.shape for v in values]}. "
            f"Received: {shapes}. Leave `input_shape` and `classes` as they are"
        )
    for variable, value in zip(model.trainable_weights, values, strict=True):
        variable.assign(value)


def model_card(name: str) -> dict[str, Any]:
    """How the weights for the data set `name` were trained, and what they reach.

    Raises:
        ValueError: if there are none.

    Example:
        >>> model_card("mnist")["network"]
        'lenet'
    """
    check_choice("name", name, tuple(PRETRAINED))
    return json.loads(resources.files(__package__).joinpath(f"weights/{PRETRAINED[name]}.json").read_text())
