"""One window of time steps and its derivative: once, on sums over time, or through the loop; which cells have it."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import tensorflow as tf

from keras_spiking_bp.cells.base import Cell, check_no_activity_regularizer
from keras_spiking_bp.cells.batch_norm import BatchStatistics, learning_normalizations
from keras_spiking_bp.cells.block import State
from keras_spiking_bp.cells.recurrent import recurrent_cells
from keras_spiking_bp.gradients.bptt import deliver_corrections
from keras_spiking_bp.gradients.surrogates import Bounded
from keras_spiking_bp.gradients.totals import spike_total, total_over_steps
from keras_spiking_bp.gradients.tracing import after_reads, not_recorded
from keras_spiking_bp.kernels.switch import in_training
from keras_spiking_bp.rnn.carried import Carried
from keras_spiking_bp.rnn.time_loop import Window, run_window, run_with_totals
from keras_spiking_bp.utils.broadcasting import per_sample
from keras_spiking_bp.utils.validation import check_choice


def run(
    cell: Cell,
    sequences: tf.Tensor,
    before: Carried,
    mask: tf.Tensor | None,
    training: bool,
    gradient: str | None,
    recorded: bool = False,
    keep_outputs: bool = False,
    zero_output_for_mask: bool = False,
    unroll: bool = False,
    block_size: int | None = None,
    constant: tf.Tensor | None = None,
) -> Window:
    """The loop over time; its total (or outputs) has the derivative of `gradient` (None: none).

    `constant` is the input of each step, (B, ...), where all have the same. In training, batch normalisation that
    learns has the statistics of the batch, and updates its moving ones.
    """
    states = [
        neuron.initial_state(tf.shape(sequences)[0], state, gradient, recorded, dropout=training)
        for neuron, state in zip(cell.neurons(), before.neurons, strict=True)
    ]
    if cell.emits == "potential":
        states[-1].pop("potential_sum", None)  # no cell follows the last readout
    statistics = BatchStatistics() if training and learning_normalizations(cell) else None
    with in_training(training):
        if statistics is not None and gradient == "accumulated":
            options = (statistics, keep_outputs, zero_output_for_mask, block_size, constant)
            return _normalized_by_the_batch(cell, sequences, states, mask, *options)
        # an eager tape would keep what each step computes, to throw it away
        with not_recorded() if gradient == "accumulated" else contextlib.nullcontext():
            window = run_window(
                cell,
                sequences,
                states,
                mask=mask,
                keep_outputs=keep_outputs,
                zero_output_for_mask=zero_output_for_mask,
                unroll=unroll,
                differentiable=gradient == "bptt",
                sum_inputs=gradient == "accumulated",
                block_size=block_size,
                constant=None if gradient == "bptt" else constant,  # the gradient would go around `sequences`
                statistics=statistics,
            )
    if gradient is None:
        return window
    if gradient == "accumulated":
        return on_totals(cell, window, sequences, training)
    return through_the_loop(cell, window)


def on_totals(cell: Cell, window: Window, sequences: tf.Tensor, training: bool) -> Window:
    """The window, whose total has the derivative of a pass over totals."""
    constant = window.without_gradient()
    num_steps = tf.maximum(window.num_steps, 1.0)
    total_input = total_over_steps(sequences, constant.total_input)
    total = after_reads(lambda: cell.accumulate(total_input, constant.states, num_steps, training=training))
    return _with_total(constant, total)


def _normalized_by_the_batch(
    cell: Cell, sequences: tf.Tensor, states: list[State], mask: tf.Tensor | None, *options: Any
) -> Window:
    """The same, the pass over totals and the loop side by side: the former has the statistics that the latter needs."""
    windows = []

    def compute() -> tf.Tensor:
        window, total = run_with_totals(cell, sequences, states, mask, *options)
        windows.append(window)
        return total

    total = after_reads(compute)
    return _with_total(windows[0], total)


def _with_total(window: Window, total: tf.Tensor) -> Window:
    """The window, whose total has the derivative of this one.

    Layers behind the last neurons compute something else from totals: a bias in a window without steps, sums in low
    precision.
    """
    total = _of_steps_alone(total, window.num_steps)
    return dataclasses.replace(window, total=spike_total(total, window.total, 1.0))


def through_the_loop(cell: Cell, window: Window) -> Window:
    """The window, whose total (and outputs) have the derivative of the loop.

    The leak corrections, only known now, enter with the gradient.
    """
    slots = [state["slot"] for state in window.states]
    corrections = [n.correction(state) for n, state in zip(cell.neurons(), window.states, strict=True)]
    name = "total" if window.outputs is None else "outputs"
    output = deliver_corrections(getattr(window, name), slots, corrections)
    return dataclasses.replace(window, **{name: output})


def add_penalties(cell: Cell, window: Window) -> None:
    """Adds the penalties on firing rates to the losses of the neurons, from the counts with their derivative."""
    for neuron, state in zip(cell.neurons(), window.states, strict=True):
        if "count" in state:
            state["count"] = _of_steps_alone(state["count"], window.num_steps)
        penalty = neuron.penalty(state, tf.maximum(window.num_steps, 1.0))
        if penalty is not None:
            neuron.add_loss(penalty)


def _of_steps_alone(total: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor:
    """The same, without a gradient to samples without a step, as a mask may leave them.

    The pass over totals takes them for samples of one step, in which a bias acts.
    """
    known = tf.get_static_value(num_steps)
    if known is not None and (known > 0).all():
        return total
    return tf.where(per_sample(num_steps > 0, total), total, tf.stop_gradient(total))


def take_statistics(layer: Any, sequences: tf.Tensor, mask: tf.Tensor | None = None) -> None:
    """Sets the moving statistics of batch normalisation in synapses to those of the given data.

    Args:
        layer: the `SpikingRNN`.
        sequences, mask: as in the call of the layer.
    """
    sequences, before, mask = layer.checked_inputs(sequences, None, mask)
    if not learning_normalizations(layer.cell):
        return
    gradient, statistics = layer.gradient if layer.gradient == "accumulated" else None, BatchStatistics(momentum=0.0)
    states = [
        neuron.initial_state(tf.shape(sequences)[0], state, gradient)
        for neuron, state in zip(layer.cell.neurons(), before.neurons, strict=True)
    ]
    if gradient == "accumulated":
        run_with_totals(layer.cell, sequences, states, mask, statistics)
    else:
        run_window(
            layer.cell, sequences, states, mask,
            keep_outputs=False, zero_output_for_mask=False, unroll=False, differentiable=False, statistics=statistics,
        )  # fmt: skip


#: The ways back through time: once, on sums over time, or step by step.
GRADIENTS = ("accumulated", "bptt")


def check_rule(gradient: str, cell: Cell) -> None:
    """Rejects cells without a derivative under this rule: known before they are built."""
    if check_choice("gradient", gradient, GRADIENTS) == "bptt":
        check_no_activity_regularizer(cell, "gradient='bptt'")
        for neuron in cell.neurons():
            if isinstance(getattr(neuron, "surrogate", None), Bounded):
                raise ValueError(
                    f"`gradient` must be 'accumulated' for surrogate='bounded', of {neuron.name!r}: it is the "
                    "derivative of a count, not of a spike. Received: gradient='bptt'"
                )
        return
    if recurrent_cells(cell):
        raise ValueError(
            f"`gradient` must be 'bptt' for the RecurrentCell {recurrent_cells(cell)[0].name!r}: sums over time do "
            f"not tell in which order its spikes come back. Received: gradient={gradient!r}"
        )
    for neuron in cell.neurons():
        if neuron.learned:
            raise ValueError(
                f"`gradient` must be 'bptt' to learn the {' and '.join(neuron.learned)} of {neuron.name!r}: sums over "
                f"time have no derivative with respect to them. Received: gradient={gradient!r}. To keep values "
                "that have been learned, give them to a new cell as numbers or arrays"
            )
