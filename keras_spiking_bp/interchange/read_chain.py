"""A NIR graph as a chain of cells and residual blocks."""

from __future__ import annotations

from typing import Protocol

import keras

from keras_spiking_bp.cells import RecurrentCell, ResidualCell, SequentialCell
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.interchange.axes import Signal
from keras_spiking_bp.interchange.nodes import Nodes
from keras_spiking_bp.interchange.read_layers import READERS, joined, keras_name, read_layer
from keras_spiking_bp.interchange.read_neurons import SPIKING

Parts = list[keras.layers.Layer]


class MakeCell(Protocol):
    """Makes the cell of the neurons `name`, whose synapse gives `current`."""

    def __call__(self, name: str, synapse: keras.layers.Layer, current: Signal) -> NeuronCell | RecurrentCell: ...


class NotAChain(Exception):
    """Paths meet elsewhere than in residual blocks."""


def read_chain(nodes: Nodes, make_cell: MakeCell, start: str, signal: Signal) -> tuple[Parts, Signal]:
    """All cells after the input, layers without neurons after the last, and the output.

    Raises:
        NotAChain: if paths meet elsewhere than in residual blocks.
    """
    return _Chain(nodes, make_cell).all(start, signal)


class _Chain:
    """Follows the edges from the input to the output."""

    def __init__(self, nodes: Nodes, make_cell: MakeCell):
        self.nodes, self.make_cell = nodes, make_cell

    def all(self, start: str, signal: Signal) -> tuple[Parts, Signal]:
        blocks, name, signal = self._behind(start, signal)
        cells, layers, last, signal = self._from(name, signal)
        if self.nodes.kind(last) != "Output":
            raise NotAChain
        if layers and cells and cells[-1].emits != "spikes":
            raise ValueError(f"Behind the last LI or I node there must be neurons, or the output. Received: {last!r}")
        return [*blocks, *cells, *layers], signal

    def _from(self, name: str, signal: Signal) -> tuple[Parts, Parts, str, Signal]:
        """From a node up to the output, or to neurons where paths meet.

        Returns the cells, the layers after the last of them, the node where it ends, and the signal that arrives.
        """
        cells: Parts = []
        layers: Parts = []
        while self.nodes.kind(name) != "Output" and len(self.nodes.sources[name]) == 1:
            if self.nodes.kind(name) in READERS:
                layer, signal = read_layer(name, self.nodes.of[name], signal)
                layers.append(layer)
            else:
                synapse = layers.pop() if layers else keras.layers.Identity(dtype="float32")
                cells, layers = [*cells, *layers, self.make_cell(name, synapse, signal)], []
            blocks, name, signal = self._behind(name, signal)
            if blocks:
                cells, layers = [*cells, *layers, *blocks], []
        return cells, layers, name, signal

    def _behind(self, name: str, signal: Signal) -> tuple[list[ResidualCell], str, Signal]:
        """The residual blocks right after a node, and the node after these."""
        blocks = []
        while len(self.nodes.followers[name]) > 1:
            block, name, signal = self._block(name, signal)
            blocks.append(block)
        self.nodes.check_leads_on(name)
        return blocks, self.nodes.followers[name][0], signal

    def _block(self, name: str, signal: Signal) -> tuple[ResidualCell, str, Signal]:
        """The residual block after a node, the name of its junction, and the current that arrives there."""
        paths = [self._from(follower, signal) for follower in self.nodes.followers[name]]
        paths.sort(key=lambda path: len(path[0]))  # first the one without neurons
        junction = paths[0][2]
        if not (
            len(paths) == len(self.nodes.sources[junction]) == 2
            and paths[1][2] == junction
            and not paths[0][0]
            and paths[1][0]
            and self.nodes.kind(junction) in SPIKING
            and junction not in self.nodes.recurrent_paths
        ):
            raise NotAChain
        (_, around, _, shortcut), (body, through, _, current) = paths
        if body[-1].emits != "spikes":
            raise ValueError(f"The path from {name!r} to {junction!r} must end in neurons that fire, not in LI or I")
        for arriving in (shortcut, current):
            arriving.check_order(f"The node {junction!r}")
        cell = ResidualCell(
            body[0] if len(body) == 1 else SequentialCell(body),
            self.make_cell(junction, joined(through), current),
            joined(around) if around else None,
            name=f"{keras_name(junction)}_block",
        )
        return cell, junction, current
