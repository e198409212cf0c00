"""The activity of a model's neurons: for calibration, health and analysis."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.tree import unique_names
from keras_spiking_bp.loop_weights import weights_prepared
from keras_spiking_bp.spiking_model import input_over_time, spiking_layer

#: For each layer of neurons, by name, what `SpikingRNN.observe` reports.
Activity = dict[str, dict[str, tf.Tensor]]

#: A neuron is called saturated if it fires in more than this share of the time steps.
SATURATED_RATE = 0.9


@contextlib.contextmanager
def stream_restored(encoder: keras.Model) -> Iterator[None]:
    """Afterwards the random stream of `encoder`, as from `input_over_time`, is where it was, also after an error."""
    states = [(variable, variable.numpy()) for variable in encoder.variables]
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


def encoded(model: keras.Model, inputs: Any) -> tf.Tensor:
    """Inputs of the model as inputs of each time step; the random stream of the encoder does not advance."""
    encoder = input_over_time(model)
    with stream_restored(encoder):
        return encoder(as_inputs("inputs", model, inputs), training=False)


def activity_of(model: keras.Model) -> Callable[[Any], Activity]:
    """A function from a batch of spikes, as from `input_over_time`, to the activity of all neurons, first at rest."""
    layer = spiking_layer(model)

    @tf.function(reduce_retracing=True)
    def activity(spikes: tf.Tensor) -> Activity:
        return layer.observe(spikes, layer.get_initial_state(tf.shape(spikes)[0]))[1]

    return activity


def traces(model: keras.Model, inputs: Any) -> dict[str, dict[str, np.ndarray]]:
    """Traces of each neuron over all time steps: for a few samples, since all is kept.

    Args:
        model: a built functional or sequential model with one `SpikingRNN`.
        inputs: inputs of the model, (B, ...); a list or dictionary if it has several.

    Returns:
        For each layer of neurons, by name, `membrane` after each step and, except for a readout, `spikes` (0 or 1; of
        max pooling also -1), both (B, T, ...) float32.
    """
    return traces_of_spikes(model, encoded(model, inputs))


def traces_of_spikes(model: keras.Model, sequences: tf.Tensor) -> dict[str, dict[str, np.ndarray]]:
    """`traces`, from the inputs of each time step (B, T, ...)."""
    layer = spiking_layer(model)
    neurons = layer.cell.neurons()
    unique_names(layer.cell)
    if layer.go_backwards:
        sequences = tf.reverse(sequences, [1])

    @tf.function(reduce_retracing=True)
    def step(inputs, states):
        with weights_prepared(layer.cell):  # as in the window: in a lower precision, folded weights round differently
            return layer.cell.step(inputs, states)[1]

    states = [neuron.initial_state(len(sequences), recorded=True) for neuron in neurons]
    found: dict[str, dict[str, list]] = {neuron.name: {} for neuron in neurons}
    for t in range(sequences.shape[1]):
        before, states = states, step(sequences[:, t], states)
        for of, old, new in zip(found.values(), before, states, strict=True):
            of.setdefault("membrane", []).append(new["membrane"].numpy())
            if "spike_count" in new:
                of.setdefault("spikes", []).append((new["spike_count"] - old["spike_count"]).numpy())
    return {name: {what: np.stack(values, 1) for what, values in of.items()} for name, of in found.items()}


def firing_rates(activity: Activity, num_steps: int) -> dict[str, float]:
    """Spikes per neuron and time step, by the name of the layer; readouts have none."""
    return {
        name: float(tf.reduce_mean(of["spike_count"])) / num_steps
        for name, of in activity.items()
        if "spike_count" in of
    }
