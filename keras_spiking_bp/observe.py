"""What the neurons of a whole model do: for calibration, health and analysis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.rnn import SpikingRNN

#: For each layer of neurons, by name, what `SpikingRNN.observe` tells of it.
Activity = dict[str, dict[str, tf.Tensor]]


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


def input_over_time(model: keras.Model) -> keras.Model:
    """The part of a functional model in front of its `SpikingRNN`: from the model's inputs to those of each step."""
    return keras.Model(model.input, spiking_layer(model).input)


def activity_of(model: keras.Model) -> Callable[[Any], Activity]:
    """A function from a batch of spikes, as `input_over_time` gives them, to the activity of all neurons."""
    layer = spiking_layer(model)

    @tf.function(reduce_retracing=True)
    def activity(spikes: tf.Tensor) -> Activity:
        return layer.observe(spikes)[1]

    return activity


def firing_rates(activity: Activity, num_steps: int) -> dict[str, float]:
    """Spikes per neuron and time step, by the name of the layer; readouts have none."""
    return {
        name: float(tf.reduce_mean(of["spike_count"])) / num_steps
        for name, of in activity.items()
        if "spike_count" in of
    }
