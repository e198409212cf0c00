"""Trained networks that come with the package, their weights as 8-bit integers."""

import json
from importlib import resources
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.encoders import ConstantEncoder, PoissonEncoder
from keras_spiking_bp.models import speech, vgg
from keras_spiking_bp.utils.validation import check_choice

#: Data sets on which they were trained: the names of the files.
PRETRAINED = ("cifar10", "mnist", "spoken_digits")


def load_pretrained(name: str, num_steps: int | None = None, **settings: Any) -> keras.Model:
    """A network trained on a data set, as `model_card(name)` describes it.

    Args:
        name: `"mnist"`, a LeNet for white digits on black in [0, 1], `"cifar10"`, for small colour pictures, or
            `"spoken_digits"`, for what `datasets.log_mel` gives of a recording.
        num_steps: time steps T of an image; None for those of its test.
        **settings: of its factory, such as `encoder`, `gradient`, `dropout`, `dtype` or `seed`; those that its spikes
            follow from are as in its training.

    Returns:
        A `keras.Model` from images (B, H, W, C), or series (B, frames, 40), to logits (B, 10) float32.

    Raises:
        ValueError: for an unknown `name`, or a setting that contradicts the training.

    Example:
        >>> (digits, labels), _ = datasets.mnist_5k()  # of its training images
        >>> outputs = load_pretrained("mnist", num_steps=25, seed=0).predict(digits[:100], verbose=0)
        >>> bool((outputs.argmax(-1) == labels[:100]).mean() > 0.9)
        True
        >>> card, images = model_card("cifar10"), np.zeros((1, 32, 32, 3), "uint8")
        >>> load_pretrained("cifar10").predict((images / 255 - card["mean"]) / card["scale"], verbose=0).shape
        (1, 10)
    """
    card = model_card(name)
    trained = dict(card["settings"])
    encoder = trained.pop("encoder", None)
    unlike = {
        "readout_beta": None,
        "synaptic_beta": None,
        "learn_beta": False,
        "learn_threshold": False,
        "signed": False,
    }
    fixed = {**unlike, **trained}
    other = {key: settings[key] for key, value in fixed.items() if not np.array_equal(settings.get(key, value), value)}
    if other:
        raise ValueError(f"`settings` must be those of the training, {trained}. Received: {other}")
    arguments = {**trained, "gradient": card["recipe"]["gradient"], **settings}
    if num_steps is not None:
        arguments["num_steps"] = num_steps
    if encoder is not None and "encoder" not in settings:
        steps = card["recipe"]["test_steps"] if num_steps is None else num_steps
        arguments["encoder"] = encoder_from(encoder, steps, settings.get("seed"))
    factory = f"spiking_{card['network']}"
    model = getattr(vgg if hasattr(vgg, factory) else speech, factory)(**arguments)
    with resources.files(__package__).joinpath(f"weights/{name}.npz").open("rb") as file:
        unpack(model, dict(np.load(file)))
    return model


def model_card(name: str) -> dict[str, Any]:
    """How the network for the data set `name` was trained, its test accuracy, and how to scale images for it.

    One for images sees `(image / 255 - mean) / scale` of 8-bit images, with `mean` and `scale` of each channel;
    `test_by_num_steps`, or `test`, holds its accuracy, `settings` how it is built, `sha256` the hash of its weights.

    Example:
        >>> model_card("mnist")["network"]
        'lenet'
    """
    check_choice("name", name, PRETRAINED)
    return json.loads(resources.files(__package__).joinpath(f"weights/{name}.json").read_text())


def unpack(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Sets the weights of a network from arrays as examples/experiments/pretrained.py packs them."""
    for i, variable in enumerate(model.weights):
        key = f"{i}_{variable.name}"
        variable.assign(arrays[key] * arrays.get(f"{key}:scale", np.float32(1)))


def encoder_from(settings: dict[str, Any], num_steps: int, seed: int | None) -> keras.layers.Layer:
    """The encoder of a model card, or of a recipe."""
    if settings["kind"] == "constant":
        return ConstantEncoder(num_steps, settings["scale"])
    return PoissonEncoder(num_steps, settings["scale"], seed=seed)
