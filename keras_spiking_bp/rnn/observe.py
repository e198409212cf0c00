"""The activity of a model's neurons: for calibration, health and analysis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.walk import checked_names
from keras_spiking_bp.rnn.encoded_inputs import encode_repeatably
from keras_spiking_bp.rnn.spiking_model import spiking_layer
from keras_spiking_bp.rnn.time_loop import Trace, run_window

#: For each layer of neurons, by name, what `SpikingRNN.observe` reports.
Activity = dict[str, dict[str, tf.Tensor]]

#: A neuron is called saturated if it fires in more than this share of the time steps.
SATURATED_RATE = 0.9


def activity_of(model: keras.Model) -> Callable[..., Activity]:
    """A function from a batch of sequences, and their mask, to the activity of all neurons, first at rest."""
    layer = spiking_layer(model)

    @tf.function(reduce_retracing=True, autograph=False)
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
        max pooling and signed neurons also -1), both (B, T, ...) float32. In steps that a mask skips potentials stay,
        without a spike.
    """
    sequences, mask = encode_repeatably(model, inputs)
    layer = spiking_layer(model)
    neurons = layer.cell.neurons()
    checked_names(layer.cell)
    if layer.go_backwards:
        sequences = tf.reverse(sequences, [1])
        mask = None if mask is None else tf.reverse(mask, [1])

    spiking = [neuron.name for neuron in neurons if neuron.emits == "spikes"]

    def of_step(_, before, after):
        pairs = [(new, old) for new, old in zip(after, before, strict=True) if "spike_count" in new]
        return [new["membrane"] for new in after] + [new["spike_count"] - old["spike_count"] for new, old in pairs]

    def over_time():
        states = [neuron.initial_state(len(sequences), recorded=True) for neuron in neurons]
        trace = Trace(of_step, [tf.float32] * (len(neurons) + len(spiking)))
        return run_window(
            layer.cell, sequences, states, mask,
            keep_outputs=False, zero_output_for_mask=False, unroll=False, differentiable=False, trace=trace,
        ).traces  # fmt: skip

    values = [value.numpy() for value in tf.function(over_time, autograph=False).get_concrete_function()()]
    found = {neuron.name: {"membrane": value} for neuron, value in zip(neurons, values, strict=False)}
    for name, value in zip(spiking, values[len(neurons) :], strict=True):
        found[name]["spikes"] = value
    return found


def firing_rates(activity: Activity, num_steps: float) -> dict[str, float]:
    """Spikes per neuron and time step, by the name of the layer; readouts have none."""
    return {
        name: float(tf.reduce_mean(of["spike_count"])) / num_steps
        for name, of in activity.items()
        if "spike_count" in of
    }
