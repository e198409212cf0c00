"""The activity of a model's neurons: for calibration, health and analysis."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.base import unique_names
from keras_spiking_bp.encoders import Encoder
from keras_spiking_bp.rnn import SpikingRNN

#: For each layer of neurons, by name, what `SpikingRNN.observe` reports.
Activity = dict[str, dict[str, tf.Tensor]]

#: A neuron is called saturated if it fires in more than this share of the time steps.
SATURATED_RATE = 0.9


def is_spiking(model: Any) -> bool:
    """Whether a model, or one nested in it, has a `SpikingRNN`."""
    return any(isinstance(layer, SpikingRNN) for layer in _layers(model))


def _layers(model: Any) -> Iterator[keras.layers.Layer]:
    """The layers of a model and its nested models."""
    for layer in getattr(model, "layers", []):
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def spiking_layers(model: keras.Model | SpikingRNN) -> list[SpikingRNN]:
    """The built `SpikingRNN` layers of a model and its nested models, in traversal order.

    Raises:
        TypeError: if there is none.
        ValueError: if one is not built.
    """
    layers = [model] if isinstance(model, SpikingRNN) else dict.fromkeys(_layers(model))  # each once
    spiking = [layer for layer in layers if isinstance(layer, SpikingRNN)]
    if not spiking:
        raise TypeError(
            "`model` must have a SpikingRNN layer, as the networks of keras_spiking_bp.models have. "
            f"Received: model={model!r}"
        )
    for layer in spiking:
        if not layer.built:
            raise ValueError(f"`model` must be built: its layer {layer.name!r} has not seen an input yet")
    return spiking


def spiking_layer(model: keras.Model) -> SpikingRNN:
    """The one `SpikingRNN` layer of a model.

    Raises:
        TypeError: if there is none.
        ValueError: if there are several, or it is not built.
    """
    layers = spiking_layers(model)
    if len(layers) > 1:
        raise ValueError(
            "`model` must have one SpikingRNN layer with the whole network in its cell. "
            f"Received: {len(layers)}, {[layer.name for layer in layers]}"
        )
    return layers[0]


def output_layer(model: keras.Model) -> SpikingRNN:
    """The one `SpikingRNN` of a model that ends in it.

    Raises:
        TypeError, ValueError: as `spiking_layer`; TypeError too if the model is neither functional nor sequential,
            ValueError if there are layers after it, or it is in a nested model.
    """
    layer = spiking_layer(model)
    _check_graph(model)
    if layer not in model.layers:
        inner = _part_with(model, layer)
        raise ValueError(
            f"`model` must have its SpikingRNN layer {layer.name!r} among its own layers. Received: a model that has "
            f"it in the model {inner.name!r}. Give that one: model.get_layer({inner.name!r})"
        )
    sequences_of(model)
    outputs = call_in(model, layer).output_tensors
    if not all(any(tensor is output for output in outputs) for tensor in model.outputs):
        raise ValueError(
            f"`model` must end in its SpikingRNN layer {layer.name!r}. Received: a model with layers behind it. Make "
            "one without them, keras.Model(inputs, outputs) with the outputs of this layer, and apply them to what it "
            "returns"
        )
    return layer


def call_in(model: keras.Model, layer: keras.layers.Layer) -> Any:
    """The call of a layer of `model` in it: other models may call the layer too.

    Raises:
        ValueError: if there are several.
    """
    graph = getattr(model, "_functional", model)  # that of a Sequential
    found = [node for nodes in graph._nodes_by_depth.values() for node in nodes if node.operation is layer]
    if len(found) > 1:
        raise ValueError(f"`model` must call its layer {layer.name!r} once. Received: {len(found)} calls")
    return found[0]


def sequences_of(model: keras.Model) -> keras.KerasTensor:
    """The input over time of the `SpikingRNN` among the layers of `model`, symbolic.

    Raises:
        ValueError: if the layer is called several times, or its input comes with a mask.
    """
    layer = spiking_layer(model)
    tensors = call_in(model, layer).input_tensors
    sequences = tensors[0] if len(tensors) == 1 else list(tensors)
    _check_no_mask(layer, sequences)
    return sequences


def _check_graph(model: keras.Model) -> None:
    """Rejects models that have no layer graph."""
    if not getattr(model, "outputs", None):
        raise TypeError(
            "`model` must be a functional or sequential keras.Model that has seen its input shape, such as "
            f"keras.Model(images, SpikingRNN(cell)(spikes)). Received: model={model!r}"
        )


def _check_no_mask(layer: SpikingRNN, sequences: Any) -> None:
    """Rejects a mask (a second tensor, or one that Keras attached to the first) and a symbolic initial state."""
    if isinstance(sequences, list) or getattr(sequences, "_keras_mask", None) is not None:
        raise ValueError(
            f"The SpikingRNN layer {layer.name!r} of `model` gets a mask, which cannot be followed here. Cut the "
            "sequences to their length instead"
        )


def _part_with(model: keras.Model, layer: SpikingRNN) -> keras.Model:
    """The model among the layers of `model` that contains `layer`."""
    return next(part for part in model.layers if layer in _layers(part))


def input_over_time(model: keras.Model) -> keras.Model:
    """The part of a model before its `SpikingRNN`: from the model's inputs to those of each step.

    The `SpikingRNN` may be in a nested model.

    Raises:
        TypeError, ValueError: as `spiking_layer`; TypeError too if the model is neither functional nor sequential,
            ValueError if the inputs of the layer come with a mask.
    """
    _check_graph(model)
    layer = spiking_layer(model)
    if layer in model.layers:
        sequences = sequences_of(model)
    else:
        inner = _part_with(model, layer)
        taken = call_in(model, inner).input_tensors
        sequences = input_over_time(inner)(taken[0] if len(taken) == 1 else list(taken))
    return keras.Model(model.inputs[0] if len(model.inputs) == 1 else model.input, sequences)


def encoder_of(model: keras.Model) -> tuple[Encoder | None, keras.KerasTensor]:
    """The encoder right before the `SpikingRNN` that a model ends in, and what it takes in this model.

    An encoder may be part of several models. Without one, None and the input of the `SpikingRNN`.
    """
    output_layer(model)
    sequences = sequences_of(model)
    operation, node_index, _ = sequences._keras_history
    if not isinstance(operation, Encoder):
        return None, sequences
    return operation, operation._inbound_nodes[node_index].input_tensors[0]


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
