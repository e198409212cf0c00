"""Reads an ordinary Keras model as a chain of layers with residual blocks; refuses what it cannot follow."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from keras_spiking_bp.layer_graph import calls


@dataclasses.dataclass(frozen=True)
class Branches:
    """Two ways from one tensor to an `Add`, each a chain."""

    first: list[Any]
    second: list[Any]
    add: keras.layers.Layer


#: A layer, or branches that meet again.
Part = keras.layers.Layer | Branches


def read(ann: keras.Model) -> list[Part]:
    """The layers of `ann` from its input to its output, without the input layer; nested models opened.

    Raises:
        TypeError, ValueError: as `layer_graph.calls`; ValueError too if its layers form neither a chain nor branches of
            two that meet in an `Add`.
    """
    return _Graph(ann).chain()


class _Graph:
    def __init__(self, ann: keras.Model):
        found = calls(ann)
        self.layers = {call.layer.name: call.layer for call in found}
        self.next: dict[str, list[str]] = {name: [] for name in ["input", *self.layers]}
        for call in found:
            for source in call.sources:
                self.next[source].append(call.layer.name)
        starts = [name for name, layer in self.layers.items() if isinstance(layer, keras.layers.InputLayer)]
        self.start = starts[0] if starts else "input"

    def chain(self) -> list[Part]:
        parts, add = self._follow(self.next[self.start])
        if add is not None:
            raise ValueError(f"The layer {add!r} adds what comes from no common layer")
        return parts

    def _follow(self, names: list[str]) -> tuple[list[Part], str | None]:
        """The parts from here to the end of the model, or to an `Add` that closes a branch: its name."""
        parts: list[Part] = []
        while names:
            if len(names) > 2:
                raise ValueError(f"More than two layers take the same input, {names}: that cannot be converted")
            if len(names) == 2:
                ways, adds = zip(*(self._follow([name]) for name in names), strict=True)
                if adds[0] is None or adds[0] != adds[1]:
                    raise ValueError(f"The branches that begin with {names} do not meet in an Add")
                parts.append(Branches(*ways, self.layers[adds[0]]))
                names = self.next[adds[0]]
                continue
            layer = self.layers[names[0]]
            if isinstance(layer, keras.layers.Add):
                return parts, layer.name
            parts += _opened(layer)
            names = self.next[layer.name]
        return parts, None


def _opened(layer: keras.layers.Layer) -> list[Part]:
    """The layer, or the parts of a nested model."""
    return read(layer) if isinstance(layer, keras.Model) else [layer]
