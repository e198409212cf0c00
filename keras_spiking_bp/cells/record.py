"""What a neuron writes down while it runs: all that the derivative and the analysis need of its spikes.

    spike_count <- spike_count + spikes[t]                 gamma in the paper
    leaky_trace <- beta * leaky_trace + spikes[t]          LF in the paper
    last_spike  <- t (1-based) where spikes[t] = 1         0 for a neuron that never fired

Each is float32 and shaped like the membrane potential. In a graph, entries that nobody reads cost nothing.
"""

from __future__ import annotations

import tensorflow as tf

from keras_spiking_bp.gradients import per_sample


def start(membrane: tf.Tensor, beta: float) -> dict[str, tf.Tensor]:
    """A blank record for neurons with this membrane potential. Without leak the trace is the count: it has no entry."""
    names = ["spike_count", "last_spike"] if beta == 1 else ["spike_count", "last_spike", "leaky_trace"]
    return {name: tf.zeros_like(membrane) for name in names}


def is_recorded(state: dict[str, tf.Tensor]) -> bool:
    """Whether this state carries a record."""
    return "spike_count" in state


def update(
    state: dict[str, tf.Tensor], spikes: tf.Tensor, beta: float, time: tf.Tensor | float
) -> dict[str, tf.Tensor]:
    """The record after one more step, with the spikes (0 or 1, float32) of time step `time`."""
    spikes = tf.stop_gradient(spikes)
    time = per_sample(tf.convert_to_tensor(time), spikes)
    new = {
        "spike_count": tf.stop_gradient(state["spike_count"]) + spikes,
        "last_spike": tf.maximum(tf.stop_gradient(state["last_spike"]), spikes * time),
    }
    if "leaky_trace" in state:
        new["leaky_trace"] = beta * tf.stop_gradient(state["leaky_trace"]) + spikes
    return new


def read(state: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The whole record: `spike_count`, `leaky_trace`, `last_spike`."""
    return {
        "spike_count": state["spike_count"],
        "leaky_trace": state.get("leaky_trace", state["spike_count"]),
        "last_spike": state["last_spike"],
    }
