"""What a neuron records while it runs: everything its derivative and the analysis need afterwards.

    spike_count <- spike_count + spikes[t]                 gamma in the paper
    leaky_trace <- beta * leaky_trace + spikes[t]          LF in the paper
    silence     <- (silence + 1) * (1 - spikes[t])         steps since the last spike, or since the start
    slope_sum, eligibility                                 with a surrogate: `gradients.eligibility_step`
    drive       <- synaptic_beta * drive + 1               with these, for neurons with a synaptic current
    fired       <- fired + |spikes[t]|                     of signed neurons, for the analysis

Each is float32 and shaped like the membrane potential; `drive` is (B, 1, ...) if all neurons share one `synaptic_beta`.
The derivative determines which are kept (`needed`): all keep the count, some only that. The time of the last spike
follows from the silence after it: recording it instead would take one more array in every step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_spiking_bp.gradients.slopes import eligibility_step, mean_gain, within_bounds
from keras_spiking_bp.gradients.surrogates import Bounded, Surrogate
from keras_spiking_bp.utils.broadcasting import per_sample
from keras_spiking_bp.utils.neuron_parameters import is_one, now

#: For the derivative between the bounds of a count.
COUNT = ("spike_count",)
#: For the paper's derivative, and for the analysis.
SPIKES = ("spike_count", "silence", "leaky_trace")
#: For a surrogate's mean over time.
SURROGATE = ("spike_count", "slope_sum", "eligibility")


def needed(gradient: str | None, surrogate: Surrogate | None, recorded: bool) -> tuple[str, ...]:
    """The names of the entries for the derivative by `gradient` (None: none), and for the analysis (`recorded`)."""
    names = SPIKES if recorded else ()
    if gradient is None:
        return names
    if surrogate is None:
        return names + SPIKES
    return names + (COUNT if gradient == "bptt" or isinstance(surrogate, Bounded) else SURROGATE)


def start(cell: Any, carried: dict[str, tf.Tensor], gradient: str | None, recorded: bool) -> dict[str, tf.Tensor]:
    """The blank record of neurons with these states. Without leak the trace is the count: it has no entry."""
    membrane = carried["membrane"]
    names = needed(gradient, cell.surrogate, recorded)
    leaks = not is_one(cell.beta)
    blank = {name: tf.zeros_like(membrane) for name in names if name != "leaky_trace" or leaks}
    if gradient == "bptt" and cell.surrogate is None:
        blank["slot"] = tf.zeros_like(membrane)  # each neuron has its own correction
    if recorded and cell.signed:
        blank["fired"] = tf.zeros_like(membrane)
    if "slope_sum" in blank and cell.synaptic_beta is not None:
        shape = tf.shape(membrane)
        if isinstance(cell.synaptic_beta, float):  # the same for all neurons
            shape = tf.concat([shape[:1], tf.ones_like(shape[1:])], 0)
        blank["drive"] = tf.zeros(shape)
    return blank


def update(
    state: dict[str, tf.Tensor],
    spikes: tf.Tensor,
    slope: Callable[[], tf.Tensor],
    beta: Any,
    threshold: Any,
    resets_to_zero: bool,
    synaptic_beta: Any,
) -> dict[str, tf.Tensor]:
    """The entries of the record of `state` after one more step, with its spikes (0 or 1, or -1, float32).

    `slope` returns the surrogate derivative of this step, if any.
    """
    spikes = tf.stop_gradient(spikes)
    new = {}
    if "spike_count" in state:
        new["spike_count"] = state["spike_count"] + spikes
    if "fired" in state:
        new["fired"] = state["fired"] + tf.abs(spikes)
    if "silence" in state:  # (silence + 1) * (1 - spikes ** 2) in one pass over memory
        new["silence"] = tf.raw_ops.TanhGrad(y=spikes, dy=state["silence"] + 1.0)
    if "leaky_trace" in state:
        new["leaky_trace"] = beta * state["leaky_trace"] + spikes
    if "slope_sum" in state:
        drive = 1.0
        if "drive" in state:
            new["drive"] = synaptic_beta * state["drive"] + 1.0
            drive = new["drive"]
        weighted, new["eligibility"] = eligibility_step(
            state["eligibility"], slope(), spikes, beta, threshold, resets_to_zero, drive
        )
        new["slope_sum"] = state["slope_sum"] + weighted
    # of the results too, or a gradient through the loop would keep the operands of each step, for nothing
    return {name: tf.stop_gradient(value) for name, value in new.items()}


def last_spike(state: dict[str, tf.Tensor], num_steps: tf.Tensor) -> tf.Tensor:
    """The time of the last spike in a window of `num_steps` (a scalar, or (B,)): 1-based, 0 if there was none."""
    return per_sample(num_steps, state["silence"]) - state["silence"]


def leaky_trace(state: dict[str, tf.Tensor]) -> tf.Tensor:
    """`sum_k beta^(T - t_k)` over the spike times."""
    return state.get("leaky_trace", state["spike_count"])


def slope(cell: Any, state: dict[str, tf.Tensor], num_steps: tf.Tensor) -> tf.Tensor:
    """`d count / d net`, from the record after a window."""
    steps = acting = per_sample(num_steps, state["membrane"])
    if "slope_sum" in state:
        return state["slope_sum"] / steps
    if cell.surrogate is None:
        value = cell.correction(state) * cell.slope_scale
        if cell.reset_mechanism == "zero":  # the mean over time of the slope of the authors' code
            acting = last_spike(state, num_steps)
            value = value * acting / steps
    else:
        between = within_bounds(state["spike_count"], state["membrane"], now(cell.threshold), num_steps)
        value = between * cell.slope_scale
    if cell.synaptic_beta is None:
        return value
    return value * mean_gain(cell.synaptic_beta, tf.maximum(acting, 1.0))
