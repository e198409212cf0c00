"""A NIR graph as one `GraphCell`."""

from __future__ import annotations

import keras

from keras_spiking_bp.cells import Cell, GraphCell
from keras_spiking_bp.cells.graph import INPUT
from keras_spiking_bp.interchange.axes import Signal
from keras_spiking_bp.interchange.nodes import Nodes
from keras_spiking_bp.interchange.read_chain import MakeCell, Parts
from keras_spiking_bp.interchange.read_layers import READERS, read_layer


def read_graph(nodes: Nodes, make_cell: MakeCell, start: str, signal: Signal) -> tuple[Parts, Signal]:
    """All nodes in one `GraphCell`, layers without neurons after it, and the output; where paths meet, their sum."""
    signals, names = {start: signal}, {start: INPUT}
    parts: dict[str, tuple[keras.layers.Layer, list[str]]] = {}
    for name in nodes.in_order(start):
        sources, taken = nodes.sources[name], [names[source] for source in nodes.sources[name]]
        signal = signals[sources[0]]
        if len(sources) > 1:
            _check_alike(name, {source: signals[source] for source in sources})
            add = keras.layers.Add(name=nodes.unused_name(f"{name}_inputs"), dtype="float32")
            parts[add.name], taken = (add, taken), [add.name]
        if nodes.kind(name) == "Output":
            break
        if nodes.kind(name) in READERS:
            layer, signal = read_layer(name, nodes.of[name], signal)
        else:
            synapse = keras.layers.Identity(dtype="float32")
            if len(sources) == len(nodes.followers[sources[0]]) == 1 and nodes.kind(sources[0]) in READERS:
                synapse, taken = parts.pop(sources[0])
            layer = make_cell(name, synapse, signal)
            if layer.emits != "spikes" and nodes.kind(nodes.followers[name][0]) != "Output":
                raise ValueError(f"The node {name!r}, an LI or I, must be the last where paths branch and meet")
        parts[name], names[name], signals[name] = (layer, taken), layer.name, signal
    inside = list(parts.values())
    behind: Parts = []
    while not isinstance(inside[-1][0], (Cell, keras.layers.Add)):
        behind.insert(0, inside.pop()[0])
    if not isinstance(inside[-1][0], Cell) or (behind and inside[-1][0].emits != "spikes"):
        raise ValueError(
            "Paths may not meet behind the last neurons of `graph`: its output must be that of an LI or I, or of one "
            f"layer of neurons that fire, or of layers behind it. Received: {nodes.sources[name]}"
        )
    return [GraphCell(inside, name="graph"), *behind], signal


def _check_alike(name: str, arriving: dict[str, Signal]) -> None:
    """Raises a ValueError where signals that cannot be added meet in the node `name`."""
    for signal in arriving.values():
        signal.check_order(f"The node {name!r}")
    if len(shapes := {signal.shape for signal in arriving.values()}) > 1:
        raise ValueError(
            f"The node {name!r} must get inputs of one shape, which are added. Received: {shapes}, channels last"
        )
