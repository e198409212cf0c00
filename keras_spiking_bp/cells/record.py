"""What a neuron writes down while it runs: all that the derivative and the analysis need of its spikes.

    spike_count <- spike_count + spikes[t]                 gamma in the paper
    leaky_trace <- beta * leaky_trace + spikes[t]          LF in the paper
    silence     <- (silence + 1) * (1 - spikes[t])         steps since the last spike, or since the start

Each is float32 and shaped like the membrane potential. In a graph, entries that nobody reads cost nothing. The time of
the last spike follows from the silence after it: written down instead, it would take one more array in every step.
"""

from __future__ import annotations

import tensorflow as tf

from keras_spiking_bp.gradients import per_sample


def start(membrane: tf.Tensor, beta: float) -> dict[str, tf.Tensor]:
    """A blank record for neurons with this membrane potential. Without leak the trace is the count: it has no entry."""
    names = ["spike_count", "silence"] if beta == 1 else ["spike_count", "silence", "leaky_trace"]
    return {name: tf.zeros_like(membrane) for name in names}


def is_recorded(state: dict[str, tf.Tensor]) -> bool:
    """Whether this state carries a record."""
    return "spike_count" in state


def update(state: dict[str, tf.Tensor], spikes: tf.Tensor, beta: float) -> dict[str, tf.Tensor]:
    """The record after one more step, with its spikes (0 or 1, float32)."""
    spikes = tf.stop_gradient(spikes)
    longer = tf.stop_gradient(state["silence"]) + 1.0
    new = {
        "spike_count": tf.stop_gradient(state["spike_count"]) + spikes,
        "silence": tf.raw_ops.TanhGrad(y=spikes, dy=longer),  # longer * (1 - spikes ** 2) in one pass over memory
    }
    if "leaky_trace" in state:
        new["leaky_trace"] = beta * tf.stop_gradient(state["leaky_trace"]) + spikes
    return new


def last_spike(state: dict[str, tf.Tensor], num_steps: tf.Tensor) -> tf.Tensor:
    """The time of the last spike in a window of `num_steps` (a scalar, or (B,)): 1-based, 0 if there was none."""
    return per_sample(num_steps, state["silence"]) - state["silence"]


def leaky_trace(state: dict[str, tf.Tensor]) -> tf.Tensor:
    """`sum_k beta^(T - t_k)` over the spike times."""
    return state.get("leaky_trace", state["spike_count"])
