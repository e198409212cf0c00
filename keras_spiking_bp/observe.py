"""The activity of a model's neurons: for calibration, health and analysis."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.broadcasting import per_sample
from keras_spiking_bp.cells.moving_statistics import learning_normalizations, moving_statistics
from keras_spiking_bp.cells.tree import unique_names
from keras_spiking_bp.loop_weights import weights_prepared
from keras_spiking_bp.spiking_model import input_over_time, spiking_layer

#: For each layer of neurons, by name, what `SpikingRNN.observe` reports.
Activity = dict[str, dict[str, tf.Tensor]]

#: A neuron is called saturated if it fires in more than this share of the time steps.
SATURATED_RATE = 0.9


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
    return _encode(input_over_time(model), as_inputs("inputs", model, inputs))


def encoded(model: keras.Model, inputs: Any) -> Encoded:
    """The same; the random stream of the encoder does not advance."""
    front = input_over_time(model)
    with stream_restored(front):
        return _encode(front, as_inputs("inputs", model, inputs))


def encoding(model: keras.Model, inputs: Any) -> Callable[[], Encoded]:
    """A function that returns them: encoded once, or at each call if layers before the `SpikingRNN` learn."""
    first, front = encoded(model, inputs), input_over_time(model)

    def now() -> Encoded:
        return encoded(model, inputs) if front.trainable_weights or learning_normalizations(front) else first

    return now


def _encode(front: keras.Model, inputs: Any) -> Encoded:
    found = front(inputs, training=False)
    sequences, mask = (found, getattr(found, "_keras_mask", None)) if len(front.outputs) == 1 else found
    taken = Encoded(sequences, None if mask is None else tf.cast(mask, tf.bool))
    if not taken.mean_steps:
        raise ValueError("`inputs` must have time steps. Received: none, or all of them masked")
    return taken


def activity_of(model: keras.Model) -> Callable[..., Activity]:
    """A function from a batch of sequences, and their mask, to the activity of all neurons, first at rest."""
    layer = spiking_layer(model)

    @tf.function(reduce_retracing=True)
    def activity(sequences: tf.Tensor, mask: tf.Tensor | None = None) -> Activity:
        return layer.observe(sequences, layer.get_initial_state(tf.shape(sequences)[0]), mask)[1]

    return activity


def traces(model: keras.Model, inputs: Any) -> dict[str, dict[str, np.ndarray]]:
    """Traces of each neuron over all time steps: for a few samples, since all is kept.

    Args:
        model: a built functional or sequential model with one `SpikingRNN`.
        inputs: inputs of the model, (B, ...); a list or dictionary if it has several.

    Returns:
        For each layer of neurons, by name, `membrane` after each step and, except for a readout, `spikes` (0 or 1; of
        max pooling also -1), both (B, T, ...) float32. In steps that a mask skips potentials stay, without a spike.
    """
    return traces_of_spikes(model, *encoded(model, inputs))


def traces_of_spikes(
    model: keras.Model, sequences: tf.Tensor, mask: tf.Tensor | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """`traces`, from the inputs of each time step (B, T, ...), and their mask (B, T)."""
    layer = spiking_layer(model)
    neurons = layer.cell.neurons()
    unique_names(layer.cell)
    if layer.go_backwards:
        sequences = tf.reverse(sequences, [1])
        mask = None if mask is None else tf.reverse(mask, [1])

    @tf.function(reduce_retracing=True)
    def step(inputs, states, exists):
        after = layer.cell.step(inputs, states)[1]
        if exists is None:
            return after
        return keras.tree.map_structure(lambda new, old: tf.where(per_sample(exists, new), new, old), after, states)

    states = [neuron.initial_state(len(sequences), recorded=True) for neuron in neurons]
    found: dict[str, dict[str, list]] = {neuron.name: {} for neuron in neurons}
    with weights_prepared(layer.cell):  # as in the window: in a lower precision, folded weights round differently
        for t in range(sequences.shape[1]):
            before, states = states, step(sequences[:, t], states, None if mask is None else mask[:, t])
            for of, old, new in zip(found.values(), before, states, strict=True):
                of.setdefault("membrane", []).append(new["membrane"].numpy())
                if "spike_count" in new:
                    of.setdefault("spikes", []).append((new["spike_count"] - old["spike_count"]).numpy())
    return {name: {what: np.stack(values, 1) for what, values in of.items()} for name, of in found.items()}


def firing_rates(activity: Activity, num_steps: float) -> dict[str, float]:
    """Spikes per neuron and time step, by the name of the layer; readouts have none."""
    return {
        name: float(tf.reduce_mean(of["spike_count"])) / num_steps
        for name, of in activity.items()
        if "spike_count" in of
    }
