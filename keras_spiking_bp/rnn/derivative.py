"""One window of time steps and its derivative: once, on sums over time, or through the loop; which cells have it."""

from __future__ import annotations

import contextlib
import dataclasses

import tensorflow as tf

from keras_spiking_bp.cells.affine import check_affine, why_not_affine
from keras_spiking_bp.cells.base import Cell, check_no_activity_regularizer
from keras_spiking_bp.cells.batch_norm import learning_normalizations
from keras_spiking_bp.cells.recurrent import recurrent_cells
from keras_spiking_bp.gradients.bptt import deliver_corrections
from keras_spiking_bp.gradients.surrogates import Bounded
from keras_spiking_bp.gradients.totals import spike_total, total_over_steps
from keras_spiking_bp.gradients.tracing import after_reads, not_recorded
from keras_spiking_bp.kernels.switch import in_training
from keras_spiking_bp.rnn.carried import Carried
from keras_spiking_bp.rnn.connections import paths_of
from keras_spiking_bp.rnn.time_loop import Window, run_window
from keras_spiking_bp.utils.broadcasting import per_sample
from keras_spiking_bp.utils.layer_kinds import SAME, parts_of
from keras_spiking_bp.utils.validation import check_choice, named


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
) -> Window:
    """The loop over time; its total (or outputs) has the derivative of `gradient` (None: none)."""
    states = [
        neuron.initial_state(tf.shape(sequences)[0], state, gradient, recorded, dropout=training)
        for neuron, state in zip(cell.neurons(), before.neurons, strict=True)
    ]
    if cell.emits == "potential":
        states[-1].pop("potential_sum", None)  # no cell follows the last readout
    # an eager tape would keep what each step computes, to throw it away
    with in_training(training), not_recorded() if gradient == "accumulated" else contextlib.nullcontext():
        window = run_window(
            cell,
            sequences,
            states,
            mask=mask,
            keep_outputs=keep_outputs,
            zero_output_for_mask=zero_output_for_mask,
            unroll=unroll,
            differentiable=gradient == "bptt",
        )
    if gradient is None:
        return window
    if gradient == "accumulated":
        return on_totals(cell, window, sequences, mask, training)
    if training and learning_normalizations(cell):  # to update them: the gradient goes through the loop
        constant, num_steps = window.without_gradient(), tf.maximum(window.num_steps, 1.0)
        cell.accumulate(constant.total_input, constant.states, num_steps, training)
    return through_the_loop(cell, window)


def on_totals(cell: Cell, window: Window, sequences: tf.Tensor, mask: tf.Tensor | None, training: bool) -> Window:
    """The window, whose total has the derivative of a pass over totals. It updates batch normalisation.

    Args:
        cell, sequences, mask: as in `run_window`.
        window: its result.
        training: whether batch normalisation is in training mode.
    """
    constant = window.without_gradient()
    num_steps = tf.maximum(window.num_steps, 1.0)
    total_input = total_over_steps(sequences, constant.total_input, mask)
    total = after_reads(lambda: cell.accumulate(total_input, constant.states, num_steps, training=training))
    total = _of_steps_alone(total, window.num_steps)
    # layers behind the last neurons compute something else from totals: batch normalisation, a bias in a window
    # without steps, sums in low precision
    return dataclasses.replace(constant, total=spike_total(total, constant.total, 1.0))


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


#: The ways back through time: once, on sums over time, or step by step.
GRADIENTS = ("accumulated", "bptt")


def check_rule(gradient: str, cell: Cell) -> None:
    """Rejects cells without a derivative under this rule: known before they are built.

    Raises:
        ValueError: if `gradient` is unknown; under `"bptt"` for an `activity_regularizer` or
            `surrogate="bounded"`; under `"accumulated"` for a `RecurrentCell` or a learned parameter of neurons.
    """
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


def check_built_rule(gradient: str, cell: Cell, step_shape: tuple[int, ...]) -> None:
    """Rejects built cells whose layers do not work under this rule.

    Raises:
        ValueError: under `"bptt"` for a batch normalisation that learns behind a layer that is not affine; under the
            other for any synapse that is not affine.
    """
    if gradient == "bptt":
        _check_batch_statistics(cell, step_shape)
    else:
        check_affine(cell.affine_parts(), gradient)


def _check_batch_statistics(cell: Cell, input_shape: tuple[int, ...]) -> None:
    """Rejects a batch normalisation that learns behind a layer that is not affine, with no neurons between.

    Its statistics are those of its mean input over the window, computed from mean spikes (`Cell.accumulate`): the mean
    of a maximum, or of an activation, is not the maximum of the means. Paths in cells of an unknown kind are not known,
    and are not checked.
    """
    learning = {id(layer) for layer in learning_normalizations(cell)}
    try:
        paths = [path for group in paths_of(cell, input_shape) for path in group] if learning else []
    except TypeError:  # a kind of cell of the user's
        return
    on_sums = {id(layer) for layer in cell.affine_parts()}
    for path in paths:
        parts = [part for layer in path.layers if id(layer) in on_sums for part in parts_of(layer)]
        last = max(
            (i for i, part in enumerate(parts) if learning & {id(p) for p in part._flatten_layers()}), default=-1
        )
        for part in parts[: last + 1]:
            if id(part) in learning or type(part) in SAME:  # dropout and noise, whose mean is their input
                continue
            why = why_not_affine(part)
            if why is not None:
                norm = next(inner for inner in parts[last]._flatten_layers() if id(inner) in learning)
                place = "be inside of" if norm in part._flatten_layers() else "stand behind"
                raise ValueError(
                    f"The batch normalisation {norm.name!r} must not {place} {named(part)} without neurons between "
                    f"them: {why}, and the statistics are computed from mean spikes. Put it before that layer, in a "
                    "keras.Sequential, or set its trainable=False"
                )
