"""The parts of a cell, and theirs; what their names and weights must be."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from keras_spiking_bp.cells.base import Cell, CellOfParts
from keras_spiking_bp.cells.composite import unknown_kind
from keras_spiking_bp.utils.validation import named


def tree(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """The cells, and the layers in them: synapses, shortcuts, layers between cells."""
    yield layer
    if isinstance(layer, CellOfParts):
        for part in layer.parts():
            yield from tree(part)
    elif isinstance(layer, Cell):
        raise TypeError(unknown_kind(layer))


def checked_names(cell: Cell) -> list[str]:
    """The names of the neurons of a cell, in execution order.

    Raises:
        ValueError: if two have the same name.
    """
    names = [neuron.name for neuron in cell.neurons()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Cells are told apart by name, and these names stand for more than one: {twice}")
    return names


def used_twice(cell: Cell) -> keras.layers.Layer | None:
    """A layer with weights that stands at two places of a cell tree; None if there is none.

    Raises:
        TypeError: if the tree holds a cell of an unknown kind.
    """
    seen: set[int] = set()
    for layer in tree(cell):
        parts = [layer] if isinstance(layer, Cell) else layer._flatten_layers()
        for part in parts:
            if id(part) in seen and (part.variables or not part.built):
                return part
        seen |= {id(part) for part in parts}
    return None


def check_nothing_shared(cell: Cell) -> None:
    """Rejects weights that several cells use: a config holds two layers, and a file the weights of one."""
    try:
        shared = used_twice(cell)
    except TypeError:  # a kind of cell of the user's
        return
    if shared is not None:
        raise ValueError(
            f"The layer {named(shared)} is used by several cells, and the config of a model does not keep that. "
            "Save the weights alone (`save_weights`), and build the network in code before loading them"
        )
