"""Every custom derivative of the library, with its formula.

A spike is a step function; its derivative is defined here instead of computed. There are two choices: the derivative of
a spike, set by the cell (`LIFCell(surrogate=...)`), and how it goes back through time, set by `SpikingRNN`
(`gradient=...`):

                     on totals                                         step by step: `"bptt"`
    surrogate=None   `"accumulated"`: correction / threshold * last / T   spikes[t] * correction / threshold
                     `"bounded"`: 1 / threshold between the bounds
    a surrogate      mean over t of surrogate(u[t]) * e[t]                surrogate(u[t])

with `correction = 1[fired] + ln(beta) * leaky_trace / spike_count` (`leak_correction`). For an `IFCell` 1 stands for
`1 / threshold`.

The paper is Lee, Sarwar, Panda, Srinivasan, Roy, arXiv 1903.06379; "the code" is the authors' PyTorch code.

On totals
    The chain rule on quantities summed over the window: `net = synapse(total_inputs)`, `d spike_count / d net = slope`.
    Used by `spike_total`, `spread_over_steps`, `total_over_steps`. The slope is

    * `accumulated`: the paper's approximate derivative with leak correction, times `last_spike / num_steps` where the
      reset is to zero, because no current after a neuron's last spike affects its count;
    * `bounded`: `within_bounds`, ours: a count lies between 0 and T, and between these bounds it is proportional to its
      input;
    * with a surrogate, both: rate-based backpropagation (Yu et al., NeurIPS 2024, arXiv 2410.11488), by
      `eligibility_step`.

    With a synaptic current the first two slopes are multiplied by `mean_gain`, the first, where the reset is to zero,
    by that up to the last spike; and `e[t]` is different.

Step by step
    Autodiff through the loop. With `surrogate=None` it is what the code does (`lif_step_bptt`, `leak_bptt`,
    `deliver_corrections`):

        d spikes[t] / d potential[t] = spikes[t] * correction / threshold     (correction as after the last step)
        d membrane[t+1] / d potential[t] = 1 - spikes[t]    nothing flows through a reset, to zero or by subtraction
        the leak counts as 1

    With a surrogate it is what snnTorch and SpikingJelly do (`lif_step_surrogate`):

        d spikes[t] / d potential[t] = surrogate(potential[t] - threshold)
        d membrane[t+1] / d potential[t] = beta * (1 - spikes[t])    reset to zero
                                         = beta                      by subtraction: what is subtracted is a constant

    The decay of a synaptic current is differentiated in both. Forward mode (`tf.autodiff.ForwardAccumulator`) leaves
    the leak correction out, since it comes from later steps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_spiking_bp.broadcasting import per_sample, per_step
from keras_spiking_bp.neuron_parameters import is_one, log

try:  # whether a gradient tape is recording, and how to pause it; TensorFlow has no public names for them
    from tensorflow.python.eager.record import could_possibly_record
    from tensorflow.python.eager.record import stop_recording as not_recorded
except ImportError:  # pragma: no cover - a TensorFlow that moved them: gradients stay right; slower, and more memory

    def could_possibly_record() -> bool:
        """Assume that a tape watches."""
        return True

    not_recorded = contextlib.nullcontext


def gradient_wanted(training: bool | None) -> bool:
    """Whether the current computation needs a derivative: in training, or under a gradient tape.

    A function traced without a tape may be differentiated later: see `derived_on_demand`.
    """
    return bool(training) or could_possibly_record()


def derived_on_demand(
    plain: Callable[[tf.Tensor], tuple[tf.Tensor, list[tf.Tensor]]],
    with_derivative: Callable[[tf.Tensor], tf.Tensor],
    sequences: tf.Tensor,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The computation in a graph that may be differentiated later, or never.

    TensorFlow traces a function once, and does not retrace it for a later gradient tape. Records for a derivative would
    slow down inference, since a TensorFlow loop keeps everything it carries.

    Forward: `plain(sequences)`: an output, and states, which are constants. Backward: `with_derivative(sequences)`, the
    same output with its derivative, is computed only then, with the variables as they are then, and its gradient goes
    to `sequences` and to the variables.
    """

    @tf.custom_gradient
    def on_demand(sequences):
        output, states = plain(sequences)

        def grad(*upstream, variables=()):
            with tf.GradientTape() as tape:
                tape.watch(sequences)
                again = with_derivative(sequences)
            wanted = [sequences, *variables]
            to_sequences, *to_variables = tape.gradient(again, wanted, upstream[0])
            return (to_sequences, to_variables) if variables else to_sequences

        return (output, *states), grad

    output, *states = on_demand(sequences)
    return output, [tf.stop_gradient(state) for state in states]


def after_reads(compute: Callable[[], tf.Tensor]) -> tf.Tensor:
    """Passes the gradient into a pass over totals only after all weights it needs have been read.

    Forward: `compute()`. Backward: the gradient, with control edges from each read of a variable in the pass.

    The values of the pass are unused, so TensorFlow prunes its forward part, and only the backward pass reads the
    weights. Its graph optimizer (Grappler's `dependency_optimization`) then loses the edges from these reads to the
    weight updates, and occasionally a gradient would see an already updated weight (`docs/architecture.md`, "Reads
    before updates").
    """
    if tf.executing_eagerly():
        return compute()
    graph = tf.compat.v1.get_default_graph()
    before = len(graph.get_operations())
    output = compute()
    reads = [op.outputs[0] for op in graph.get_operations()[before:] if op.type == "ReadVariableOp"]

    @tf.custom_gradient
    def same(output):
        def grad(upstream):
            # the backward pass may be a separate graph, which control edges from here do not reach, but tensors do
            with tf.control_dependencies([tf.identity(read) for read in reads]):
                return tf.identity(upstream)

        return tf.identity(output), grad

    return same(output)


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
    not_full = spike_count < per_sample(num_steps, spike_count)
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
        num_steps: T, at least 1: a tensor that broadcasts against it.

    Returns:
        Tensor of the broadcast shape.
    """
    stays, decay, steps = _in_double(synaptic_beta, num_steps)
    gain = (1.0 - decay * _decayed(decay, steps) / ((1.0 - decay) * steps)) / (1.0 - decay)
    return tf.cast(tf.where(stays, (steps + 1.0) / 2.0, gain), num_steps.dtype)


def mean_decay(beta: Any, num_steps: tf.Tensor) -> tf.Tensor:
    """The fraction of a current left at the end of a window: the mean over t = 1 to T of `beta^(T - t + 1)`.

    Args and return value: as `mean_gain`, with the decay of a potential.
    """
    stays, decay, steps = _in_double(beta, num_steps)
    mean = decay * _decayed(decay, steps) / ((1.0 - decay) * steps)
    return tf.cast(tf.where(stays, tf.ones_like(steps), mean), num_steps.dtype)


def _in_double(decay: Any, num_steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where a decay is 1; the decay, replaced there; the steps. In float64: near 1 the formulas lose digits."""
    decay = tf.cast(decay, tf.float64) if tf.is_tensor(decay) else tf.constant(decay, tf.float64)
    stays = decay == 1.0
    return stays, tf.where(stays, tf.constant(0.5, tf.float64), decay), tf.cast(num_steps, tf.float64)


def _decayed(decay: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
    """`1 - decay^steps`."""
    return -tf.math.expm1(tf.math.log(decay) * steps)


# --- on totals --------------------------------------------------------------------------------------------------------


def spike_total(net: tf.Tensor, total: tf.Tensor, slope: tf.Tensor | float) -> tf.Tensor:
    """Output of a neuron, or of the network, over the window, with the accumulated derivative.

    Forward: `total` (simulated: the spike count, or the final potential of a readout).
    Backward: `d / d net = slope`; none to `total` and `slope`.
    """

    @tf.custom_gradient
    def with_slope(net, total, slope):
        def grad(*upstream):
            return upstream[0] * slope, None, None

        return tf.identity(total), grad

    return with_slope(net, total, tf.convert_to_tensor(slope, total.dtype))


def total_over_steps(sequences: tf.Tensor, total: tf.Tensor, seen: tf.Tensor | None) -> tf.Tensor:
    """The sum of the inputs over the steps (simulated, in `total`), with its derivative.

    Forward: `total`, shape (B, ...). Backward: each step of `sequences` (B, T, ...) gets the same gradient, except
    masked steps (`seen` (B, T) is False there), which get none.
    """
    if not sequences.dtype.is_floating:
        return total

    @tf.custom_gradient
    def with_steps(sequences, total):
        def grad(*upstream):
            each = tf.cast(tf.expand_dims(upstream[0], 1), sequences.dtype)
            if seen is not None:
                return each * tf.cast(per_step(seen, each), each.dtype), None
            return tf.broadcast_to(each, tf.shape(sequences)), None

        return tf.identity(total), grad

    return with_steps(sequences, total)


def spread_over_steps(
    total: tf.Tensor, outputs: tf.Tensor, num_steps: tf.Tensor, weights: tf.Tensor | None
) -> tf.Tensor:
    """The output at each step, with the accumulated derivative.

    Forward: `outputs` (B, T, ...), simulated. Backward: `total` (B, ...) gets the sum of the upstream gradient over the
    steps, each times its weight (`weights` (B, T), None for 1), divided by `num_steps`: its mean over time.
    """

    @tf.custom_gradient
    def with_mean(total, outputs, num_steps):
        def grad(*upstream):
            g = upstream[0]
            if weights is not None:
                g = g * per_step(weights, g)
            g = tf.reduce_sum(g, axis=1)
            return g / per_sample(num_steps, g), None, None

        return tf.identity(outputs), grad

    return with_mean(total, outputs, num_steps)


# --- step by step -----------------------------------------------------------------------------------------------------


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

        g = g_spikes * spikes * g_slot * slope_scale + g_membrane * (1 - spikes)

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
            g = g_membrane * (1.0 - spikes) + g_spikes * spikes * (correction * slope_scale)
            return g, g, *g_slot

        return (spikes, next_membrane, *[tf.identity(s) for s in slot]), grad

    spikes, next_membrane, *slot = step(membrane, current, *([] if slot is None else [slot]))
    return spikes, next_membrane, slot[0] if slot else None


def lif_step_surrogate(
    membrane: tf.Tensor,
    current: tf.Tensor,
    forward: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
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
            spikes = tf.cast(potential > threshold, tf.float32)  # computed again: kept, they are one more array a step
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
