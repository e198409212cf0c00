"""The inputs of a model as its `SpikingRNN` gets them: checked, encoded, with their mask."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_spiking_bp.cells.moving_statistics import learning_normalizations, moving_statistics
from keras_spiking_bp.rnn.spiking_model import input_over_time, spiking_layer

#: Memory above which a warning is given.
MANY_BYTES = 4 * 2**30
#: Of the state and record of a neuron for one sample: `membrane`, `spike_count`, `silence`, `leaky_trace`, in float32.
_BYTES_OF_NEURON = 16


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


def as_inputs(name: str, model: keras.Model, inputs: Any) -> Any:
    """The argument `name` as tensors that `model` accepts: one, or for several inputs a list or dictionary of them.

    Raises:
        TypeError: if they are not arrays.
        ValueError: if their number is not that of the inputs, or a single sample is given for a batch.
    """
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    several = len(shapes) > 1
    allowed = f"`{name}` must be " + (
        f"arrays of the shapes {shapes}, in a list or dictionary as `model` takes them"
        if several
        else f"an array of the shape {shapes[0]}, such as one batch of a Dataset"
    )
    try:
        nested = several or isinstance(inputs, Mapping)
        tensors = keras.tree.map_structure(tf.convert_to_tensor, inputs) if nested else tf.convert_to_tensor(inputs)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{allowed}. Received: {name} of type {type(inputs).__name__}") from error
    leaves = keras.tree.flatten(tensors)
    received = [tuple(tensor.shape) for tensor in leaves]
    if len(received) != len(shapes):
        raise ValueError(f"{allowed}. Received: {len(received)} of the shapes {received}")
    if any(shape[:1] == (0,) for shape in received):
        raise ValueError(f"{allowed}, with at least one sample. Received: {received}")
    if several:  # Keras checks their ranks, in whatever order they are
        return tensors
    if shapes[0][-1] == 1 and len(received[0]) > 1 and received[0][1:] == shapes[0][1:-1]:  # as Keras does
        return leaves[0][..., None]
    if len(received[0]) != len(shapes[0]):
        raise ValueError(
            f"{allowed}. Received: {received[0]}. A Dataset must be batched, and a single sample be a batch of one"
        )
    return leaves[0]


def encode(model: keras.Model, inputs: Any) -> Encoded:
    """Inputs of the model as inputs of each time step; the random stream of the encoder advances.

    Raises:
        ValueError: if there is no step, or none that is not masked.
    """
    found = _encode(model, input_over_time(model), inputs)
    _warn_of_many(model, found.sequences)
    return found


def encode_repeatably(model: keras.Model, inputs: Any) -> Encoded:
    """The same; the random stream of the encoder does not advance."""
    front = input_over_time(model)
    with stream_restored(front):
        return _encode(model, front, inputs)


def repeatable_encoder(model: keras.Model, inputs: Any) -> Callable[[], Encoded]:
    """A function that returns them: encoded once, or at each call if layers before the `SpikingRNN` learn."""
    first, front = encode_repeatably(model, inputs), input_over_time(model)
    _warn_of_many(model, first.sequences)

    def now() -> Encoded:
        return encode_repeatably(model, inputs) if front.trainable_weights or learning_normalizations(front) else first

    return now


def encoded_by(front: keras.Model, inputs: Any) -> Encoded:
    """What `front`, as from `input_over_time`, makes of these tensors."""
    found = front(inputs, training=False)  # the random layers of Keras are in training mode unless told otherwise
    sequences, mask = (found, getattr(found, "_keras_mask", None)) if len(front.outputs) == 1 else found
    return Encoded(sequences, None if mask is None else tf.cast(mask, tf.bool))


def _encode(model: keras.Model, front: keras.Model, inputs: Any) -> Encoded:
    taken = encoded_by(front, as_inputs("inputs", model, inputs))
    if not taken.mean_steps:
        raise ValueError("`inputs` must have time steps. Received: none, or all of them masked")
    return taken


def _warn_of_many(model: keras.Model, sequences: tf.Tensor) -> None:
    """Says so if the states of all neurons for all samples at once may not fit into memory."""
    neurons = sum(math.prod(neuron.output_shape_of_step) for neuron in spiking_layer(model).cell.neurons())
    needed = sequences.dtype.size * math.prod(sequences.shape) + len(sequences) * neurons * _BYTES_OF_NEURON
    if needed > MANY_BYTES:
        warnings.warn(
            f"`inputs` has {len(sequences):,} samples, which run at once and need about {needed / 1e9:.1f} GB of "
            "memory. Fewer do, such as inputs[:100]",
            UserWarning,
            stacklevel=4,
        )
