"""The nodes and edges of a NIR graph."""

import graphlib
from typing import Any

import numpy as np

from keras_spiking_bp.interchange import equations
from keras_spiking_bp.interchange.axes import swapped
from keras_spiking_bp.interchange.read_layers import READERS

SPIKING, READOUTS = tuple(equations.OF_SPIKING), ("I", "LI")
_ALLOWED = sorted(["Input", "Output", *SPIKING, *READOUTS, *READERS])


class Nodes:
    """The nodes of a flattened graph by name, checked, with the edges of one time step.

    `sources` and `followers` are the names before and after each, without those of a way back; `recurrent_paths`, for
    recurrent neurons, the names of the layers from them back to themselves.
    """

    def __init__(self, graph: Any):
        self.of, edges = flat(graph)
        self.sources = {name: [a for a, b in edges if b == name] for name in self.of}
        self.followers = {name: [b for a, b in edges if a == name] for name in self.of}
        for name in self.of:
            if self.kind(name) not in _ALLOWED:
                raise ValueError(
                    f"`graph` has the node {name!r} of type {self.kind(name)}. Allowed are {', '.join(_ALLOWED)}"
                )
            for parameter in ("bias", "scale", "v_leak", "weight"):  # NaN would become the absence of spikes
                with np.errstate(over="ignore"):
                    values = np.asarray(getattr(self.of[name], parameter, 0)).astype("float32")
                if not np.isfinite(values).all():
                    raise ValueError(f"`{parameter}` of the {self.kind(name)} node {name!r} must be finite in float32")
        self.recurrent_paths = {name: back for name in self.of if (back := self._cut_recurrent_path(name)) is not None}

    def kind(self, name: str) -> str:
        """The type of a node, such as `"LIF"`."""
        return type(self.of[name]).__name__

    def input(self) -> tuple[str, tuple[int, ...]]:
        """The name of the input node, and the shape of a step with channels last."""
        name = the_only("Input", self.of)
        shape = tuple(int(size) for size in self.of[name].input_type["input"])
        if len(shape) not in (1, 2, 3):
            raise ValueError(
                "The input of `graph` must be one step of one sample, (N,), (C, L) or (C, H, W). (snnTorch leaves out "
                f"the batch with ignore_dims=[0].) Received: {shape}"
            )
        return name, swapped(shape, "last")

    def in_order(self) -> list[str]:
        """The nodes after the input, each after its sources, without those of a way back and the output."""
        looped = {part for path in self.recurrent_paths.values() for part in path}
        start, end = (the_only(kind, self.of) for kind in ("Input", "Output"))
        sources = {name: names for name, names in self.sources.items() if name not in looped}
        for name, names in sources.items():
            if not (names or name == start) or not (self.followers[name] or name == end):
                raise ValueError(f"The node {name!r} must be between the input and the output of `graph`")
        return [name for name in graphlib.TopologicalSorter(sources).static_order() if name not in (start, end)]

    def _cut_recurrent_path(self, name: str) -> list[str] | None:
        """The layers from the neurons `name` back to themselves, whose edges are then removed; None if none."""
        paths = [path for follower in self.followers[name] if (path := self._path(follower, name)) is not None]
        if self.kind(name) not in SPIKING or not paths:
            return None
        path = paths[0]
        self.followers[name].remove(path[0] if path else name)
        self.sources[name].remove(path[-1] if path else name)
        return path

    def _path(self, name: str, end: str) -> list[str] | None:
        """The layers from the node `name` to `end`, without neurons or branches; None if there is no such path."""
        path = []
        while name != end:
            in_a_row = len(self.sources[name]) == len(self.followers[name]) == 1
            if name in path or self.kind(name) not in READERS or not in_a_row:
                return None
            path.append(name)
            name = self.followers[name][0]
        return path


def flat(graph: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The nodes and edges of a graph with nested graphs flattened: inner nodes have the names `outer.inner`."""
    nodes, edges = dict(graph.nodes), [(str(a), str(b)) for a, b in graph.edges]
    for name, node in graph.nodes.items():
        if not hasattr(node, "nodes"):
            continue
        del nodes[name]
        inner, between = flat(node)
        ends = {kind: f"{name}.{the_only(kind, inner)}" for kind in ("Input", "Output")}
        nodes |= {f"{name}.{part}": inner_node for part, inner_node in inner.items()}
        edges = [
            *[(ends["Output"] if a == name else a, ends["Input"] if b == name else b) for a, b in edges],
            *[(f"{name}.{a}", f"{name}.{b}") for a, b in between],
        ]
        for end in ends.values():  # connect sources to followers
            sources, followers = ([a for a, b in edges if b == end], [b for a, b in edges if a == end])
            edges = [edge for edge in edges if end not in edge] + [(a, b) for a in sources for b in followers]
            del nodes[end]
    return nodes, edges


def the_only(kind: str, nodes: dict[str, Any]) -> str:
    """The name of the one node of a kind."""
    names = [name for name, node in nodes.items() if type(node).__name__ == kind]
    if len(names) != 1:
        raise ValueError(f"`graph`, and each graph in it, must have one {kind} node. Received: {names}")
    return names[0]
