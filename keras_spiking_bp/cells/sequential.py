"""Cells in a row: a whole network as one cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_spiking_bp.cells.base import Cell
from keras_spiking_bp.cells.composite import CompositeCell, Node
from keras_spiking_bp.cells.synapse import check_synapse


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class SequentialCell(CompositeCell):
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
        self.cells = [
            cell if isinstance(cell, Cell) else check_synapse(f"cells[{i}]", cell) for i, cell in enumerate(cells)
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

    def nodes(self) -> list[Node]:
        return [Node(cell, (i - 1,), cell.name) for i, cell in enumerate(self.cells)]
