"""The whole network of a cell as one list, and what is asked of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import keras

from keras_spiking_bp.cells.base import Cell, CellOfParts
from keras_spiking_bp.cells.composite import CELL_INPUT, CompositeCell, Node, last_node
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.utils.validation import named


def flat(cell: Cell) -> list[Node]:
    """The whole network of a built cell as one graph: synapses, layers of neurons, what stands between them."""
    nodes: list[Node] = []
    _add(nodes, Node(cell, (CELL_INPUT,), cell.name))
    return nodes


def _add(nodes: list[Node], node: Node) -> int:
    """Adds a node, or in its place those of a cell; returns the index of its output."""
    layer = node.layer
    if isinstance(layer, NeuronCell):
        synapse = dataclasses.replace(node, layer=layer.synapse, inputs=node.inputs[:1], name=f"{layer.name}_synapse")
        shape = layer.output_shape_of_step
        nodes.append(dataclasses.replace(synapse, shape=shape, cell=layer))
        nodes.append(Node(layer, (len(nodes) - 1, *node.inputs[1:]), layer.name, shape=shape))
    elif isinstance(layer, CompositeCell) and type(layer).run is CompositeCell.run:
        places: list[int] = []
        for inner, shape in zip(layer.nodes(), layer.node_shapes, strict=True):
            inputs = tuple(node.inputs[0] if i == CELL_INPUT else places[i] for i in inner.inputs)
            target = None if inner.delayed_to is None else places[inner.delayed_to]
            place = _add(nodes, dataclasses.replace(inner, inputs=inputs, delayed_to=target, shape=shape))
            places.append(place)
        return places[last_node(layer.nodes())]
    elif isinstance(layer, Cell):
        raise TypeError(unknown_kind(layer))
    else:
        nodes.append(node)
    return len(nodes) - 1


def unknown_kind(cell: Cell) -> str:
    """The message of an error on a cell of the user's."""
    return (
        f"The cell {cell.name!r} ({type(cell).__name__}) has an unknown type. Known are: neurons with a synapse, "
        "SequentialCell, ResidualCell, GraphCell, RecurrentCell"
    )


def current_sources(cell: Cell) -> list[list[keras.layers.Layer]]:
    """For each layer of neurons, the nearest layers with weights whose outputs sum to its current."""
    nodes = flat(cell)
    by_neurons: dict[int, list[keras.layers.Layer]] = {}
    nearest: list[list[keras.layers.Layer]] = []
    for i, node in enumerate(nodes):
        before = [layer for j in node.inputs if j != CELL_INPUT for layer in nearest[j]]
        if isinstance(node.layer, NeuronCell):
            by_neurons[i] = before
            nearest.append([] if node.layer.has_threshold else before)
        elif node.delayed_to is not None:
            by_neurons[node.delayed_to].append(node.layer)
            nearest.append([])
        else:
            nearest.append([node.layer] if node.layer.weights else before)
    return list(by_neurons.values())


def tree(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """The cells, and the layers in them: synapses, shortcuts, layers between cells."""
    yield layer
    if isinstance(layer, CellOfParts):
        for part in layer.parts():
            yield from tree(part)
    elif isinstance(layer, Cell):
        raise TypeError(unknown_kind(layer))


def checked_names(cell: Cell) -> list[str]:
    """The names of the neurons of a cell, in execution order."""
    names = [neuron.name for neuron in cell.neurons()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Cells are told apart by name, and these names stand for more than one: {twice}")
    return names


def used_twice(cell: Cell) -> keras.layers.Layer | None:
    """A layer with weights that stands at two places of a cell tree; None if there is none."""
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
