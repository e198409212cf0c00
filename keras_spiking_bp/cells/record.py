"""What a neuron writes down while it runs: all that the derivative and the analysis need of its spikes.

    spike_count <- spike_count + spikes[t]                 gamma in the paper
    leaky_trace <- beta * leaky_trace + spikes[t]          LF in the paper
    last_spike  <- t (1-based) where spikes[t] = 1         0 for a neuron that never fired

Each is float32 and shaped like the membrane potential. In a graph, entries that nobody reads cost nothing.
"""

from __future__ import annotations

import tensorflow as tf

from keras_spiking_bp.gradients import per_sample

NAMES = ("spike_count", "leaky_trace", "last_spike")


def start(membrane: tf.Tensor) -> dict[str, tf.Tensor]:
    """A blank record for neurons with this membrane potential."""
    return {name: tf.zeros_like(membrane) for name in NAMES}


def is_recorded(state: dict[str, tf.Tensor]) -> bool:
    """Whether this state carries a record."""
    return "spike_count" in state


def update(
    state: dict[str, tf.Tensor], spikes: tf.Tensor, beta: float, time: tf.Tensor | float
) -> dict[str, tf.Tensor]:
    """The record after one more step, with the spikes (0 or 1, float32) of time step `time`."""
    state = {name: tf.stop_gradient(state[name]) for name in NAMES}
    spikes = tf.stop_gradient(spikes)
    time = per_sample(tf.convert_to_tensor(time), spikes)
    return {
        "spike_count": state["spike_count"] + spikes,
        "leaky_trace": beta * state["leaky_trace"] + spikes,
        "last_spike": tf.maximum(state["last_spike"], spikes * time),
    }
