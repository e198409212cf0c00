"""What all model factories share: encoder - network - output as one `keras.Model`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_spiking_bp.cells import Cell
from keras_spiking_bp.encoders import ConstantEncoder, Encoder, PoissonEncoder
from keras_spiking_bp.rnn.layer import SpikingRNN
from keras_spiking_bp.utils.validation import check_choice, check_positive_int, check_static_shape

#: Names of the input of images and of the `SpikingRNN`.
RESERVED = ("images", "time")


def assemble(
    cell: Cell,
    input_shape: tuple[int, ...],
    num_steps: int | None,
    encoder: keras.layers.Layer | str | None,
    gradient: str,
    seed: int | None,
    name: str,
    front: Sequence[keras.layers.Layer] = (),
) -> keras.Model:
    """A `keras.Model` from images, or from spikes if `encoder` is None, to the output of `cell` over time.

    The layers of `front` stand between the images and the encoder.
    """
    input_shape = check_static_shape("input_shape", input_shape)
    num_steps = checked_num_steps(num_steps, encoder)
    if isinstance(encoder, str) and check_choice("encoder", encoder, ("poisson", "constant")):
        steps = check_positive_int("num_steps", num_steps)
        encoder = PoissonEncoder(steps, seed=seed) if encoder == "poisson" else ConstantEncoder(steps)
    if encoder is None:
        inputs = spikes = keras.Input((num_steps, *input_shape), name="spikes")
    elif isinstance(encoder, Encoder):
        check_encoder_name(encoder)
        inputs = keras.Input(input_shape, name="images")
        images = inputs
        for layer in front:
            images = layer(images)
        spikes = encoder(images)
    else:
        raise TypeError(
            "`encoder` must be 'poisson', 'constant', an encoder such as PoissonEncoder(num_steps=50), or None for "
            f"spikes as input. Received: encoder={encoder!r}"
        )
    outputs = SpikingRNN(cell, gradient=gradient, name="time")(spikes)
    return keras.Model(inputs, outputs, name=name)


def check_encoder_name(encoder: keras.layers.Layer) -> None:
    """Rejects an encoder with the name of another layer of the model."""
    if encoder.name in RESERVED:
        raise ValueError(f"`encoder` must have another name than {RESERVED}. Received: encoder={encoder.name!r}")


def checked_num_steps(num_steps: int | None, encoder: Any) -> int | None:
    """`num_steps`, an integer of at least 1 or None, if no encoder contradicts it."""
    if num_steps is None:
        return None
    num_steps = check_positive_int("num_steps", num_steps)
    if isinstance(encoder, Encoder) and num_steps != encoder.num_steps:
        raise ValueError(
            f"`num_steps` contradicts the encoder: num_steps={num_steps}, encoder.num_steps={encoder.num_steps}. "
            "Give it to the encoder only"
        )
    return num_steps
