"""What a network hands from one window of time steps to the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_spiking_bp.cells import record
from keras_spiking_bp.cells.base import Cell, State
from keras_spiking_bp.rnn.time_loop import Window
from keras_spiking_bp.utils.validation import asserted

#: Entries of a state within a window (docs/architecture.md), which no further state of a user's cell may be called.
OF_A_WINDOW = (
    *record.SPIKES, *record.SURROGATE[1:], "drive", "potential_sum", "slot", "pooled", "fired",
    "keep", "count",
)  # fmt: skip


@dataclasses.dataclass
class Carried:
    """The states at the start of a window.

    Attributes:
        neurons: for each layer of neurons, its entries of `NeuronCell.carried_shapes`.
        spikes: of a network that ends in spikes, their number so far, (B, ...); else None.
        steps: the number of steps so far, (B,).
    """

    neurons: list[State]
    spikes: tf.Tensor | None
    steps: tf.Tensor

    def flat(self) -> list[tf.Tensor]:
        """As one list, in the order of `entries`."""
        of_neurons = [tensor for state in self.neurons for tensor in state.values()]
        return [*of_neurons, *([] if self.spikes is None else [self.spikes]), self.steps]


def entries(cell: Cell) -> list[tuple[str, tuple[int, ...]]]:
    """What the states of a built cell are, and their shapes without the batch, in order."""
    of_neurons = [
        (f"{entry} of {neuron.name}", tuple(shape))
        for neuron in cell.neurons()
        for entry, shape in neuron.carried_shapes.items()
    ]
    spikes = [("spikes so far", tuple(cell.output_shape_of_step))] if cell.emits == "spikes" else []
    return [*of_neurons, *spikes, ("steps so far", ())]


def check_names(cell: Cell) -> None:
    """Rejects further states of a user's cell that would be mistaken for entries of a window."""
    for neuron in cell.neurons():
        if taken := [name for name in neuron.carried_shapes if name in OF_A_WINDOW]:
            raise ValueError(
                f"`carried_shapes` of the cell {neuron.name!r} must not have entries of the names {OF_A_WINDOW}, which "
                f"stand for something else within a window. Received: {taken}"
            )


def at_rest(cell: Cell, batch_size: Any) -> Carried:
    """The states before the first step; those of neurons follow a learned threshold."""
    spikes = tf.zeros((batch_size, *cell.output_shape_of_step)) if cell.emits == "spikes" else None
    return Carried([neuron.at_rest(batch_size) for neuron in cell.neurons()], spikes, tf.zeros((batch_size,)))


def given(cell: Cell, states: Sequence[Any], sequences: tf.Tensor) -> Carried:
    """The states that a list holds, in the order of `entries`, as constants."""
    expected, batch_size = entries(cell), sequences.shape[0]
    tensors = [tf.stop_gradient(tf.cast(state, tf.float32)) for state in states]
    for i, (tensor, (name, shape)) in enumerate(zip(tensors, expected, strict=True)):
        if not tensor.shape.is_compatible_with((batch_size, *shape)):
            raise ValueError(
                f"`initial_state[{i}]`, {name}, must have the shape "
                f"{('batch' if batch_size is None else batch_size, *shape)}. Received: a tensor of shape "
                f"{tuple(tensor.shape)}"
            )
        tensors[i] = tf.ensure_shape(tensor, (batch_size, *shape))
    if batch_size is None:  # states of one sample would broadcast to all
        sizes = tf.stack([tf.shape(tensor)[0] for tensor in tensors])
        message = ["`initial_state` must have the batch size of `sequences`. Received: batch sizes", sizes, "and"]
        actual = tf.shape(sequences)[0]
        tensors = asserted(sizes == actual, [*message, actual], *tensors)
    flat = iter(tensors)
    neurons = [{name: next(flat) for name in neuron.carried_shapes} for neuron in cell.neurons()]
    return Carried(neurons, next(flat) if cell.emits == "spikes" else None, next(flat))


def after(cell: Cell, window: Window, before: Carried) -> Carried:
    """The states after a window that started with `before`, as constants."""
    neurons = [
        {name: tf.stop_gradient(state[name]) for name in neuron.carried_shapes}
        for neuron, state in zip(cell.neurons(), window.states, strict=True)
    ]
    spikes = None if before.spikes is None else tf.stop_gradient(before.spikes + window.total)
    return Carried(neurons, spikes, before.steps + window.num_steps)
