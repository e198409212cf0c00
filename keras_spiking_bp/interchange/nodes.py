"""The nodes and edges of a NIR graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_spiking_bp.interchange.axes import swapped
from keras_spiking_bp.interchange.flat import flat
from keras_spiking_bp.interchange.read_layers import READERS, keras_name
from keras_spiking_bp.interchange.read_neurons import READOUTS, SPIKING
from keras_spiking_bp.utils.layer_graph import unique_name

_INFINITE_WITHOUT_LEAK = ("r", "tau", "tau_mem", "tau_syn", "w_in")
_PARAMETERS = (
    "bias", "scale", "threshold", "v_leak", "v_reset", "v_threshold", "weight", *_INFINITE_WITHOUT_LEAK,
)  # fmt: skip
_ALLOWED = sorted(["Input", "Output", *SPIKING, *READOUTS, *READERS])


class Nodes:
    """The nodes of a flattened graph, checked, with the edges of one time step.

    Attributes:
        of: the nodes by name.
        sources, followers: names of the nodes before and after each, without those of a way back.
        recurrent_paths: for recurrent neurons, the names of the layers from them back to themselves.
    """

    def __init__(self, graph: Any):
        self.of, edges = flat(graph)
        self.sources = {name: [a for a, b in edges if b == name] for name in self.of}
        self.followers = {name: [b for a, b in edges if a == name] for name in self.of}
        for name in self.of:
            if self.kind(name) not in _ALLOWED:
                raise ValueError(
                    f"`graph` has the node {name!r} of type {self.kind(name)}, for which there is no cell. "
                    f"Allowed are {', '.join(_ALLOWED)}"
                )
            self._check_numbers(name)
        inner = [name for name in self.of if self.kind(name) not in ("Input", "Output")]
        names = [keras_name(name) for name in inner]
        alike = [name for name in inner if names.count(keras_name(name)) > 1]
        if alike:
            raise ValueError(
                "The nodes of `graph` must have names that differ in Keras too, where all characters but A-Z, a-z and "
                f"0-9 become _, a first _ becomes node_, and input becomes node_input. Received: {alike}"
            )
        for kind in ("Input", "Output"):
            found = [name for name in self.of if self.kind(name) == kind]
            if len(found) != 1:
                raise ValueError(f"`graph` must have one {kind} node. Received: {found}")
        if not any(self.kind(name) in SPIKING + READOUTS for name in self.of):
            raise ValueError(f"`graph` must have neurons. Received: {[self.kind(name) for name in self.of]}")
        self.recurrent_paths = {name: back for name in self.of if (back := self._cut_recurrent_path(name)) is not None}

    def _check_numbers(self, name: str) -> None:
        """Rejects parameters that are not finite in float32; those of a neuron without leak may be infinite."""
        for parameter in _PARAMETERS:
            try:
                with np.errstate(over="ignore"):
                    values = np.asarray(getattr(self.of[name], parameter, 0), "float64").astype("float32")
            except (TypeError, ValueError):  # no numbers: told where they are read
                continue
            infinite = parameter in _INFINITE_WITHOUT_LEAK
            if np.isnan(values).any() or not (infinite or np.isfinite(values).all()):
                raise ValueError(
                    f"`{parameter}` of the {self.kind(name)} node {name!r} must be "
                    f"{'numbers' if infinite else 'finite numbers'} in float32. Received: NaN or infinity"
                )

    def kind(self, name: str) -> str:
        """The type of a node, such as `"LIF"`."""
        return type(self.of[name]).__name__

    def unused_name(self, name: str) -> str:
        """`name` as a layer may have it that is no node, with a number behind it where a node has that name."""
        return unique_name(keras_name(name), {keras_name(other) for other in self.of})

    def input(self) -> tuple[str, tuple[int, ...]]:
        """The name of the input node, and the shape of a step with channels last."""
        name = next(name for name in self.of if self.kind(name) == "Input")
        shape = tuple(int(size) for size in self.of[name].input_type["input"])
        if len(shape) not in (1, 2, 3):
            raise ValueError(
                "The input of `graph` must be one step of one sample, (N,), (C, L) or (C, H, W). In snnTorch, export "
                f"with ignore_dims=[0], which leaves out the batch. Received: {shape}"
            )
        return name, swapped(shape, "last")

    def in_order(self, start: str) -> list[str]:
        """The nodes after the input, each after its sources, without those of a way back; the last is the output."""
        looped = {part for path in self.recurrent_paths.values() for part in path}
        order, rest = [start], [name for name in self.of if name not in looped | {start}]
        for name in rest:
            if not self.sources[name]:
                raise ValueError(f"The node {name!r} must have a source in `graph`. Received: no edge to it")
            self.check_leads_on(name)
        while rest:
            ready = [name for name in rest if all(source in order for source in self.sources[name])]
            if not ready:
                raise ValueError(
                    f"The nodes {rest} wait for each other. The only way back that has a cell is that of neurons to "
                    "themselves, through layers of its own"
                )
            order += ready
            rest = [name for name in rest if name not in ready]
        return order[1:]

    def check_leads_on(self, name: str) -> None:
        """Raises a ValueError for a node without an edge from it that is not the output."""
        if not self.followers[name] and self.kind(name) != "Output":
            raise ValueError(f"The node {name!r} must lead to the output of `graph`. Received: no edge from it")

    def _cut_recurrent_path(self, name: str) -> list[str] | None:
        """The layers from the neurons `name` back to themselves, whose edges are then removed; None if none."""
        found = [path for follower in self.followers[name] if (path := self._path(follower, name)) is not None]
        if self.kind(name) not in SPIKING or not found:
            return None
        if len(found) > 1:
            raise ValueError(f"The node {name!r} must have one path back to itself. Received: {len(found)}, {found}")
        (path,) = found
        self.followers[name].remove(path[0] if path else name)
        self.sources[name].remove(path[-1] if path else name)
        return path

    def _path(self, name: str, end: str) -> list[str] | None:
        """The layers from the node `name` to `end`, without neurons or branches; None if there is no such path."""
        path = []
        while name != end:
            if name in path or self.kind(name) not in READERS:
                return None
            if len(self.sources[name]) != 1 or len(self.followers[name]) != 1:
                return None
            path.append(name)
            name = self.followers[name][0]
        return path
