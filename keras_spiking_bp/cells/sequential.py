"""Cells in a row: a whole network as one cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.base import Cell, CellOfParts, State, passed_on_by
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.cells.synapse import build_part, check_synapse, output_of, total_of
from keras_spiking_bp.validation import check_layer, check_static_shape


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class SequentialCell(CellOfParts):
    """Runs cells one after another within the same time step: `outputs = cells[-1](... cells[0](inputs[t]))`.

    Stateless Keras layers such as `Flatten` may stand between and before cells, and behind a last cell that spikes. One
    that draws random numbers redraws them at each step: for `gradient="bptt"` only. A `ReadoutCell` before other cells
    passes its potential on.

    Args:
        cells: list of cells and stateless layers, with at least one cell.

    Shapes: inputs as for the first cell, outputs as the last one returns them.

    Raises:
        TypeError: if an entry is not a layer, or is a layer with cells in it.
        ValueError: if there is no cell among them, a `ReadoutCell` is followed by layers only, or a layer has an
            `activity_regularizer` or, when called, adds a loss.

    Example:
        >>> cell = SequentialCell([LIFCell(keras.layers.Dense(8)), ReadoutCell(keras.layers.Dense(3))])
        >>> SpikingRNN(cell)(np.ones((2, 5, 4), "float32")).shape
        TensorShape([2, 3])
    """

    part_names = ("cells",)

    def __init__(self, cells: Sequence[keras.layers.Layer], **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(cells, (list, tuple)):
            raise TypeError(f"`cells` must be a list of cells and layers. Received: cells={cells!r}")
        self.cells = [
            check_layer(f"cells[{i}]", cell) if isinstance(cell, Cell) else check_synapse(f"cells[{i}]", cell)
            for i, cell in enumerate(cells)
        ]
        self.track_for_checkpoints(self.cells)
        if not any(isinstance(cell, Cell) for cell in self.cells):
            raise ValueError(f"`cells` must hold at least one spiking cell, such as LIFCell. Received: {cells!r}")
        last = max(i for i, cell in enumerate(self.cells) if isinstance(cell, Cell))
        if self.cells[last].emits == "potential" and last + 1 < len(self.cells):
            raise ValueError(
                "`cells` must not end in layers behind a readout: put them before it, or a cell behind them. "
                f"Received: cells[{last}]={self.cells[last]!r} and {len(self.cells) - 1 - last} behind it"
            )
        self.input_shapes_of_step: list[tuple[int, ...]] = []

    @property
    def emits(self) -> str:
        last = self.cells[-1]
        return last.emits if isinstance(last, Cell) else "spikes"

    @property
    def input_shape_of_step(self) -> tuple[int, ...]:
        """Shape of the input of one step, without the batch, once built."""
        return self.input_shapes_of_step[0]

    def neurons(self) -> list[NeuronCell]:
        return [n for cell in self.cells if isinstance(cell, Cell) for n in cell.neurons()]

    def sources(self, before: Sequence[keras.layers.Layer] = ()) -> list[list[keras.layers.Layer]]:
        found: list[list[keras.layers.Layer]] = []
        for cell in self.cells:
            found += cell.sources(before) if isinstance(cell, Cell) else []
            before = passed_on_by(cell, before)
        return found

    def passed_on(self, before: Sequence[keras.layers.Layer] = ()) -> list[keras.layers.Layer]:
        for cell in self.cells:
            before = passed_on_by(cell, before)
        return list(before)

    def affine_parts(self) -> list[tuple[keras.layers.Layer, tuple[int, ...]]]:
        parts: list[tuple[keras.layers.Layer, tuple[int, ...]]] = []
        for cell, shape in zip(self.cells, self.input_shapes_of_step, strict=True):
            parts += cell.affine_parts() if isinstance(cell, Cell) else [(cell, shape)]
        return parts

    def build(self, input_shape: tuple) -> None:
        shape = check_static_shape("input_shape", input_shape[1:])
        self.input_shapes_of_step = []
        for cell in self.cells:
            self.input_shapes_of_step.append(shape)
            shape = build_part(cell, shape)
        self.output_shape_of_step = shape
        self.built = True

    def step(self, inputs: tf.Tensor, states: list[State]) -> tuple[tf.Tensor, list[State]]:
        """One time step through all cells."""
        states = list(states)
        new_states = []
        for cell in self.cells:
            if isinstance(cell, Cell):
                own = [states.pop(0) for _ in cell.neurons()]
                inputs, own = cell.step(inputs, own)
                new_states += own
            else:
                inputs = output_of(cell, inputs)
        return inputs, new_states

    def accumulate(
        self, total_inputs: tf.Tensor, states: list[State], num_steps: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """The chain rule on totals, cell by cell."""
        states = list(states)
        for cell in self.cells:
            if isinstance(cell, Cell):
                own = [states.pop(0) for _ in cell.neurons()]
                total_inputs = cell.accumulate(total_inputs, own, num_steps, training)
            else:
                total_inputs = total_of(cell, total_inputs, num_steps, training)
        return total_inputs
