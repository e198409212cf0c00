"""The inputs of a model as its `SpikingRNN` gets them: checked, encoded, with their mask."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.batch_norm import learning_normalizations, moving_statistics
from keras_spiking_bp.rnn.spiking_model import input_over_time


class Encoded(NamedTuple):
    """What the `SpikingRNN` of a model gets.

    Attributes:
        sequences: the inputs of each time step, (B, T, ...).
        mask: bool (B, T), False for steps that are skipped; None for none.
    """

    sequences: tf.Tensor
    mask: tf.Tensor | None = None

    @property
    def num_steps(self) -> tf.Tensor:
        """The steps of each sample that are not skipped, (B,) float32."""
        if self.mask is None:
            return tf.fill(tf.shape(self.sequences)[:1], float(self.sequences.shape[1]))
        return tf.reduce_sum(tf.cast(self.mask, tf.float32), axis=1)

    @property
    def mean_steps(self) -> float:
        """Their mean over the samples: spikes per sample and neuron, divided by it, are spikes per neuron and step."""
        return float(tf.reduce_mean(self.num_steps))


@contextlib.contextmanager
def stream_restored(encoder: keras.Model) -> Iterator[None]:
    """Afterwards the random stream of `encoder`, as from `input_over_time`, is where it was, also after an error.

    So are other variables that its call may change: not moving statistics, of which each device may have its own.
    """
    kept = {id(statistic) for statistic in moving_statistics(learning_normalizations(encoder))}
    states = [(variable, variable.numpy()) for variable in encoder.variables if id(variable) not in kept]
    try:
        yield
    finally:
        for variable, value in states:
            variable.assign(value)


def joined(data: Any) -> Any:
    """The inputs in all batches of a `tf.data.Dataset`, as arrays; other data as they are."""
    if not isinstance(data, tf.data.Dataset):
        return data
    batches = [keras.utils.unpack_x_y_sample_weight(batch)[0] for batch in data]
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)


def as_inputs(model: keras.Model, inputs: Any) -> Any:
    """Tensors that a model accepts: one, or for several inputs a list or dictionary of them."""
    if len(model.inputs) > 1 or isinstance(inputs, dict):
        return keras.tree.map_structure(tf.convert_to_tensor, inputs)
    tensor, shape = tf.convert_to_tensor(inputs), (None, *model.inputs[0].shape[1:])
    if shape[-1] == 1 and tensor.shape.is_compatible_with(shape[:-1]):  # as Keras does
        tensor = tensor[..., None]
    if not tensor.shape.is_compatible_with(shape):  # else rows could be taken for samples
        raise ValueError(
            f"The inputs must have the shape {shape}. Received: {tensor.shape}. A Dataset must be batched, and a "
            "single sample be a batch of one, x[None]"
        )
    return tensor


def encode(model: keras.Model, inputs: Any) -> Encoded:
    """Inputs of the model as inputs of each time step; the random stream of the encoder advances."""
    return _encode(model, input_over_time(model), inputs)


def encode_repeatably(model: keras.Model, inputs: Any) -> Encoded:
    """The same; the random stream of the encoder does not advance."""
    front = input_over_time(model)
    with stream_restored(front):
        return _encode(model, front, inputs)


def repeatable_encoder(model: keras.Model, inputs: Any) -> Callable[[], Encoded]:
    """A function that returns them: encoded once, or at each call if layers before the `SpikingRNN` learn."""
    first, front = encode_repeatably(model, inputs), input_over_time(model)

    def now() -> Encoded:
        return encode_repeatably(model, inputs) if front.trainable_weights or learning_normalizations(front) else first

    return now


def encoded_by(front: keras.Model, inputs: Any) -> Encoded:
    """What `front`, as from `input_over_time`, makes of these tensors."""
    found = front(inputs, training=False)  # the random layers of Keras are in training mode unless told otherwise
    sequences, mask = (found, getattr(found, "_keras_mask", None)) if len(front.outputs) == 1 else found
    return Encoded(sequences, None if mask is None else tf.cast(mask, tf.bool))


def _encode(model: keras.Model, front: keras.Model, inputs: Any) -> Encoded:
    encoded = encoded_by(front, as_inputs(model, joined(inputs)))
    if not encoded.mean_steps > 0:
        raise ValueError("`inputs` must have samples and time steps. Received: none, or all of them masked")
    return encoded
