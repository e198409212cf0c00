"""The residual block: two currents into one layer of neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.base import Cell, CellOfParts, State, nearest
from keras_spiking_bp.cells.lif import LIFCell
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.cells.synapse import (
    build_part,
    build_synapse,
    check_synapse,
    current_of,
    sum_of_currents,
    total_of,
)
from keras_spiking_bp.validation import check_static_shape


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class ResidualCell(CellOfParts):
    """A body of cells and a shortcut around it, whose currents sum in one layer of LIF neurons.

        I[t] = junction.synapse(body(inputs[t])) + shortcut(inputs[t])

    There is no neuron on the shortcut (arXiv 1903.06379, residual networks).

    Args:
        body: a cell that emits spikes, such as `LIFCell(Conv2D(...))`.
        junction: a `LIFCell`; its synapse is the last of the main path, its neurons get both currents.
        shortcut: a Keras layer from the inputs to the shape of the junction's current; None for the identity.

    Raises:
        TypeError: if `body` is not a cell, `junction` not a `LIFCell` or `shortcut` not a layer without neurons.
        ValueError: if `body` emits no spikes, or the two currents differ in shape.

    Example:
        >>> conv = lambda: keras.layers.Conv2D(4, 3, padding="same", use_bias=False)
        >>> block = ResidualCell(body=LIFCell(conv()), junction=LIFCell(conv()))
        >>> SpikingRNN(block)(np.ones((1, 5, 8, 8, 4), "float32")).shape
        TensorShape([1, 8, 8, 4])
    """

    part_names = ("body", "junction", "shortcut")

    def __init__(
        self,
        body: Cell,
        junction: LIFCell,
        shortcut: keras.layers.Layer | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not isinstance(body, Cell):
            raise TypeError(f"`body` must be a cell, such as LIFCell. Received: body={body!r}")
        if body.emits != "spikes":
            raise ValueError(f"`body` must give spikes, a readout cannot. Received: body={body!r}")
        if not isinstance(junction, LIFCell):
            raise TypeError(f"`junction` must be a LIFCell. Received: junction={junction!r}")
        if junction.feeds_back:
            raise ValueError(f"`junction` must not be in a RecurrentCell. Received: junction={junction!r}")
        self.body = body
        self.junction = junction
        self.shortcut = check_synapse("shortcut", shortcut, optional=True)

    def neurons(self) -> list[NeuronCell]:
        return [*self.body.neurons(), self.junction]

    def sources(self, before: Sequence[keras.layers.Layer] = ()) -> list[list[keras.layers.Layer]]:
        around = [] if self.shortcut is None else [self.shortcut]
        through = nearest([self.junction.synapse], self.body.passed_on(before))
        return [*self.body.sources(before), [*through, *around]]

    def affine_parts(self) -> list[tuple[keras.layers.Layer, tuple[int, ...]]]:
        parts = [*self.body.affine_parts(), *self.junction.affine_parts()]
        return parts if self.shortcut is None else [*parts, (self.shortcut, self.input_shape_of_step)]

    def build(self, input_shape: tuple) -> None:
        shape = check_static_shape("input_shape", input_shape[1:])
        build_part(self.junction, build_part(self.body, shape))
        self.input_shape_of_step, around = shape, shape
        if self.shortcut is not None:
            self.input_shape_of_step, around = build_synapse(self.shortcut, (None, *shape))
        self.output_shape_of_step = self.junction.output_shape_of_step
        if around != self.output_shape_of_step:
            raise ValueError(
                "`shortcut` must give a current of the same shape as the synapse of `junction`. Received: "
                f"{around} around the body ({'identity' if self.shortcut is None else self.shortcut.name}), "
                f"{self.output_shape_of_step} through it"
            )
        self.built = True

    def step(self, inputs: tf.Tensor, states: list[State]) -> tuple[tf.Tensor, list[State]]:
        """One time step through the body and around it."""
        spikes, body_states = self.body.step(inputs, states[:-1])
        around = tf.cast(inputs, tf.float32) if self.shortcut is None else current_of(self.shortcut, inputs)
        current = sum_of_currents(current_of(self.junction.synapse, spikes), around)
        outputs, junction_state = self.junction.fire(current, states[-1])
        return outputs, [*body_states, junction_state]

    def accumulate(
        self, total_inputs: tf.Tensor, states: list[State], num_steps: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """The chain rule on totals, through the body and around it."""
        total = self.body.accumulate(total_inputs, states[:-1], num_steps, training)
        around = total_inputs if self.shortcut is None else total_of(self.shortcut, total_inputs, num_steps, training)
        net = total_of(self.junction.synapse, total, num_steps, training) + around
        return self.junction.count_spikes(net, states[-1], num_steps)
