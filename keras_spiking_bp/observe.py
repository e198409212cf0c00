"""What the neurons of a whole model do: for calibration, health and analysis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.base import unique_names
from keras_spiking_bp.rnn import SpikingRNN

#: For each layer of neurons, by name, what `SpikingRNN.observe` tells of it.
Activity = dict[str, dict[str, tf.Tensor]]

#: A neuron is called saturated if it fires in more than this share of the time steps.
SATURATED_RATE = 0.9


def is_spiking(model: Any) -> bool:
    """Whether a model has a `SpikingRNN` layer."""
    return any(isinstance(layer, SpikingRNN) for layer in getattr(model, "layers", []))


def spiking_layers(model: keras.Model | SpikingRNN) -> list[SpikingRNN]:
    """The built `SpikingRNN` layers of a model, in the order of the walk.

    Raises:
        TypeError: if there is none.
        ValueError: if one is not built.
    """
    layers = [model] if isinstance(model, SpikingRNN) else getattr(model, "layers", [])
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
            ValueError if there are layers behind it.
    """
    layer = spiking_layer(model)
    if not getattr(model, "outputs", None):
        raise TypeError(
            "`model` must be a functional or sequential keras.Model that has seen its input shape, such as "
            f"keras.Model(images, SpikingRNN(cell)(spikes)). Received: model={model!r}"
        )
    outputs = keras.tree.flatten(layer.output)
    if not all(any(tensor is output for output in outputs) for tensor in model.outputs):
        raise ValueError(
            f"`model` must end in its SpikingRNN layer {layer.name!r}, which is called once, and has layers behind it. "
            f"Give keras.Model(model.inputs, model.get_layer({layer.name!r}).output), and apply what comes behind it "
            "to the output"
        )
    return layer


def input_over_time(model: keras.Model) -> keras.Model:
    """The part of a functional model in front of its `SpikingRNN`: from the model's inputs to those of each step.

    Raises:
        TypeError, ValueError: as `spiking_layer`; ValueError too if a mask comes with them.
    """
    layer = spiking_layer(model)
    if isinstance(layer.input, list):
        raise ValueError(
            f"The SpikingRNN layer {layer.name!r} of `model` gets a mask, which cannot be followed here. Cut the "
            "sequences to their length instead"
        )
    return keras.Model(model.inputs[0], layer.input)


def encoded(model: keras.Model, inputs: Any) -> tf.Tensor:
    """Inputs of the model as inputs of each time step; the random stream of the encoder stays where it was."""
    encoder = input_over_time(model)
    states = [(variable, variable.numpy()) for variable in encoder.variables]
    sequences = encoder(tf.convert_to_tensor(inputs))
    for variable, value in states:
        variable.assign(value)
    return sequences


def activity_of(model: keras.Model) -> Callable[[Any], Activity]:
    """A function from a batch of spikes, as `input_over_time` gives them, to the activity of all neurons."""
    layer = spiking_layer(model)

    @tf.function(reduce_retracing=True)
    def activity(spikes: tf.Tensor) -> Activity:
        return layer.observe(spikes)[1]

    return activity


def traces(model: keras.Model, inputs: Any) -> dict[str, dict[str, np.ndarray]]:
    """What each neuron does in each time step: for a few samples, since all of it is kept.

    Args:
        model: a built functional model with one `SpikingRNN`.
        inputs: inputs of the model, (B, ...).

    Returns:
        For each layer of neurons, by name, `membrane` after each step and, but for a readout, `spikes` (0 or 1), both
        (B, T, ...) float32.
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
