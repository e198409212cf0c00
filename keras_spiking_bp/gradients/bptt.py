"""The derivatives of one time step, for a gradient that goes back through the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def already_cast(value: tf.Tensor, cast: tf.Tensor) -> tf.Tensor:
    """A cast computed before. Forward: `cast`. Backward: the upstream gradient, in the dtype of `value`, goes to it."""

    @tf.custom_gradient
    def same(value, cast):
        return tf.identity(cast), lambda *upstream: (tf.cast(upstream[0], value.dtype), None)

    return same(value, cast)


def lif_step_bptt(
    membrane: tf.Tensor,
    current: tf.Tensor,
    slot: tf.Tensor | None,
    forward: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    slope_scale: Any,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """One step of a neuron with the derivative of the authors' code.

    Forward: `forward(membrane, current)` returns spikes and the next membrane potential; `slot` passes unchanged.
    Backward, with `(g_spikes, g_membrane, g_slot)` from later: the correction is known only after the last step, so the
    adjoint of `slot` carries it (set by `deliver_corrections`); without a slot it is 1:

        g = g_spikes * |spikes| * g_slot * slope_scale + g_membrane * (1 - |spikes|)

    goes to both `membrane` and `current` (the leak counts as 1); `g_slot` is passed on to earlier steps. With a reset
    by subtraction, which the authors do not have, `1 - spikes` is the derivative of `potential - threshold * spikes`
    with that of the spike, `spikes / threshold`: as with a reset to zero, a current counts for the next spike only.
    """

    @tf.custom_gradient
    def step(membrane, current, *slot):
        spikes, next_membrane = forward(membrane, current)

        def grad(*upstream):
            g_spikes, g_membrane, *g_slot = upstream
            correction = g_slot[0] if g_slot else 1.0
            events = tf.abs(spikes)
            g = g_membrane * (1.0 - events) + g_spikes * events * (correction * slope_scale)
            return g, g, *g_slot

        return (spikes, next_membrane, *[tf.identity(s) for s in slot]), grad

    spikes, next_membrane, *slot = step(membrane, current, *([] if slot is None else [slot]))
    return spikes, next_membrane, slot[0] if slot else None


def lif_step_surrogate(
    membrane: tf.Tensor,
    current: tf.Tensor,
    forward: Callable[[tf.Tensor, tf.Tensor | float], tuple[tf.Tensor, tf.Tensor]],
    surrogate: Callable[[tf.Tensor], tf.Tensor],
    beta: Any,
    threshold: Any,
    resets_to_zero: bool,
) -> tuple[tf.Tensor, tf.Tensor]:
    """One step of a neuron with a surrogate derivative.

    Forward: `forward(membrane, current)` returns spikes and the next membrane potential. Backward, with
    `(g_spikes, g_membrane)` from later, and the potential before the reset, `membrane + current`:

        g = g_spikes * surrogate(potential - threshold) + g_membrane * beta * (1 - spikes if resets_to_zero else 1)

    goes to both `membrane` and `current`: the leak is differentiated, the spike in the reset is constant (detached). A
    learned `beta` or `threshold`, a tensor, gets the sum over the neurons that share it of

        beta:        g_membrane * (potential after the reset)
        threshold:  -g_spikes * surrogate(potential - threshold)
                    -g_membrane * beta * spikes                      in addition, where it is subtracted

    Args:
        membrane, current: (B, ...) float32.
        forward: the step.
        surrogate: a function of `potential - threshold`, of the same shape.
        beta, threshold: a number or an array that broadcasts against the neurons; a tensor if it is learned.
        resets_to_zero: whether the reset is to zero, not by subtraction.

    Returns:
        Spikes and the next membrane potential, (B, ...) float32.
    """
    learned = [parameter for parameter in (beta, threshold) if tf.is_tensor(parameter)]

    @tf.custom_gradient
    def step(membrane, current, *_):
        spikes, next_membrane = forward(membrane, current)
        potential = membrane + current

        def grad(*upstream):
            g_spikes, g_membrane = upstream
            passed = beta * g_membrane
            spikes, _ = forward(potential, 0.0)  # computed again: kept, they are one more array a step
            if resets_to_zero:
                passed = passed * (1.0 - spikes)
            fires = g_spikes * surrogate(potential - threshold)
            to_learned = []
            if tf.is_tensor(beta):
                after = potential * (1.0 - spikes) if resets_to_zero else potential - threshold * spikes
                to_learned.append(_shared(g_membrane * after, beta))
            if tf.is_tensor(threshold):
                lowered = fires if resets_to_zero else fires + beta * g_membrane * spikes
                to_learned.append(-_shared(lowered, threshold))
            g = passed + fires
            return g, g, *to_learned

        return (spikes, next_membrane), grad

    return step(membrane, current, *learned)


def _shared(of_each: tf.Tensor, parameter: tf.Tensor) -> tf.Tensor:
    """The sum of (B, ...) over the neurons that share an entry of `parameter`, which broadcasts against it."""
    shape = [1] * (of_each.shape.rank - parameter.shape.rank) + parameter.shape.as_list()
    total = tf.reduce_sum(of_each, [axis for axis, size in enumerate(shape) if size == 1], keepdims=True)
    return tf.reshape(total, parameter.shape)


def leak_bptt(potential: tf.Tensor, beta: float | np.ndarray) -> tf.Tensor:
    """The leak of a readout. Forward: `beta * potential`. Backward: 1 (the code does not differentiate the leak)."""

    @tf.custom_gradient
    def leak(potential):
        return beta * potential, lambda *upstream: upstream[0]

    return leak(potential)


def deliver_corrections(output: tf.Tensor, slots: Sequence[tf.Tensor], corrections: Sequence[tf.Tensor]) -> tf.Tensor:
    """Starts the adjoint of each `slot` at its `correction`.

    Forward: `output`. Backward: the upstream gradient to `output`, `corrections[i]` to `slots[i]`.
    """
    count = len(slots)

    @tf.custom_gradient
    def deliver(output, *slots_and_corrections):
        def grad(*upstream):
            return (upstream[0], *slots_and_corrections[count:], *[None] * count)

        return tf.identity(output), grad

    return deliver(output, *slots, *corrections)
