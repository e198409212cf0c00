"""The formulas: the derivative of a spike count, and what a window of steps does to it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from keras_spiking_bp.utils.broadcasting import per_sample
from keras_spiking_bp.utils.neuron_parameters import is_one, log


def leak_correction(spike_count: tf.Tensor, leaky_trace: tf.Tensor, beta: Any) -> tf.Tensor:
    """The leak correction of the derivative: `1[spike_count > 0] + ln(beta) * leaky_trace / spike_count`.

    Paper: `1 + f'(T) / gamma`, `f'(T) = ln(beta) * LF(T)`, `gamma` the spike count; 0 for a neuron that never fired.

    Args:
        spike_count: spikes of each neuron over the window (float32).
        leaky_trace: `sum_k beta^(T - t_k)` over its spike times, same shape.
        beta: decay per step, a number or one for each neuron.

    Returns:
        Tensor of the same shape, at most 1. It is negative with a fast leak: for a neuron whose only spike was in the
        last step, if `beta < 1 / e`.

    Example:
        >>> leak_correction(np.array([2.0, 0.0], "float32"), np.array([1.5, 0.0], "float32"), 1.0).numpy().tolist()
        [1.0, 0.0]
    """
    fired = tf.cast(spike_count > 0, leaky_trace.dtype)
    if is_one(beta):
        return fired
    return fired + log(beta) * leaky_trace / tf.maximum(spike_count, 1.0)


def within_bounds(spike_count: tf.Tensor, membrane: tf.Tensor, threshold: Any, num_steps: tf.Tensor) -> tf.Tensor:
    """1 where a spike count is between its bounds, 0 and `num_steps`, else 0.

    It is below the upper bound if `spike_count < num_steps`, and above the lower one if
    `membrane + threshold * spike_count > 0`, the charge at the start and since then (without leak): a neuron that has
    charge but has not fired is between them.

    Args:
        spike_count: spikes of each neuron over the window, (B, ...).
        membrane: potential after the last step, same shape.
        threshold: potential above which it fires.
        num_steps: steps of the window, a scalar or (B,).

    Returns:
        Tensor of the same shape.
    """
    not_full = spike_count < per_sample(_as_floats(num_steps), spike_count)
    return tf.cast(tf.logical_and(not_full, membrane + threshold * spike_count > 0), membrane.dtype)


def eligibility_step(
    carried: tf.Tensor,
    slope: tf.Tensor,
    spikes: tf.Tensor,
    beta: Any,
    threshold: Any,
    resets_to_zero: bool,
    drive: tf.Tensor | float = 1.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """One step of the derivative of a rate with a surrogate: `slope * e`, and what is carried to the next step.

        e[t] = drive + beta * e[t-1] * (1 - r[t-1])                   reset by subtraction
        e[t] = drive + beta * e[t-1] * (1 - r[t-1] - spikes[t-1])     reset to zero
        r[t] = min(1, threshold * surrogate(u[t]))

    `e[t]` is the derivative of the potential at t with respect to a current constant up to then, and `r[t]` that of
    what a reset takes away with respect to the potential: either reset takes `threshold` from a potential that just
    reaches it. It is at most 1, or a steep surrogate would let `e[t]` grow exponentially. Source: arXiv 2410.11488; its
    code has 1 instead of `threshold` in a reset by subtraction, and the potential in one to zero.

    Args:
        carried: the second summand of `e[t]`; zeros before the first step.
        slope: `surrogate(u[t])`, with `u = potential - threshold`.
        spikes: of this step, 0 or 1.
        beta: decay per step.
        threshold: potential above which it fires.
        resets_to_zero: which of the two equations.
        drive: what such a current adds to the potential in this step: 1, or for a neuron with a synaptic current
            `(1 - synaptic_beta^t) / (1 - synaptic_beta)`.

    Returns:
        `slope * e[t]`, and the second summand of `e[t+1]`: float32, of the shape of `spikes`.
    """
    eligibility = drive + carried
    taken = eligibility * tf.minimum(slope if is_one(threshold) else threshold * slope, 1.0)
    # eligibility * (1 - spikes ** 2) in one pass over memory
    left = tf.raw_ops.TanhGrad(y=spikes, dy=eligibility) if resets_to_zero else eligibility
    carried = left - taken
    return slope * eligibility, carried if is_one(beta) else beta * carried


def mean_gain(synaptic_beta: Any, num_steps: tf.Tensor) -> tf.Tensor:
    """How much of a current a synaptic current has added to the potential by step T: the mean over t = 1 to T of
    `sum_{k=0}^{T-t} synaptic_beta^k`.

    Also what a current adds to the sum over a potential with this decay.

    Args:
        synaptic_beta: decay of the synaptic current per step, a number or one for each neuron.
        num_steps: T, at least 1: a number, or a tensor that broadcasts against it.

    Returns:
        Tensor of the broadcast shape, float32 if `num_steps` is of integers.

    Example:
        >>> round(float(mean_gain(0.5, 2)), 3)  # 1.5 of a current of the first step, 1 of the second
        1.25
    """
    num_steps = _as_floats(num_steps)
    stays, decay, steps = _in_double(synaptic_beta, num_steps)
    gain = (1.0 - decay * _decayed(decay, steps) / ((1.0 - decay) * steps)) / (1.0 - decay)
    return tf.cast(tf.where(stays, (steps + 1.0) / 2.0, gain), num_steps.dtype)


def mean_decay(beta: Any, num_steps: tf.Tensor) -> tf.Tensor:
    """The fraction of a current left at the end of a window: the mean over t = 1 to T of `beta^(T - t + 1)`.

    Args and return value: as `mean_gain`, with the decay of a potential.

    Example:
        >>> float(mean_decay(0.5, 2))  # 0.25 of a current of the first step, 0.5 of the second
        0.375
    """
    num_steps = _as_floats(num_steps)
    stays, decay, steps = _in_double(beta, num_steps)
    mean = decay * _decayed(decay, steps) / ((1.0 - decay) * steps)
    return tf.cast(tf.where(stays, tf.ones_like(steps), mean), num_steps.dtype)


def _as_floats(num_steps: Any) -> tf.Tensor:
    num_steps = tf.convert_to_tensor(num_steps)
    return num_steps if num_steps.dtype.is_floating else tf.cast(num_steps, tf.float32)


def _in_double(decay: Any, num_steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where a decay is 1; the decay, replaced there; the steps. In float64: near 1 the formulas lose digits."""
    decay = tf.cast(decay, tf.float64) if tf.is_tensor(decay) else tf.constant(decay, tf.float64)
    stays = decay == 1.0
    return stays, tf.where(stays, tf.constant(0.5, tf.float64), decay), tf.cast(num_steps, tf.float64)


def _decayed(decay: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
    """`1 - decay^steps`."""
    return -tf.math.expm1(tf.math.log(decay) * steps)
