"""Reads an ordinary Keras model as a chain of layers with residual blocks; refuses what it cannot follow."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras


@dataclasses.dataclass(frozen=True)
class Branches:
    """Two ways from one tensor to an `Add`, each a chain."""

    first: list[Any]
    second: list[Any]
    add: keras.layers.Layer


#: A layer, or branches that meet again.
Part = keras.layers.Layer | Branches


def read(ann: keras.Model) -> list[Part]:
    """The layers of `ann` from its input to its output, without the input layer; nested `Sequential` models opened.

    Raises:
        TypeError: if `ann` is no Sequential or functional model.
        ValueError: if it has several inputs or outputs, uses a layer twice, or its layers form neither a chain nor
            branches of two that meet in an `Add`.
    """
    if isinstance(ann, keras.Sequential):
        if not ann.built:
            raise ValueError("`ann` must be built: give it a keras.Input, or call it once")
        return _opened(ann)
    if not isinstance(ann, keras.Model) or not hasattr(ann, "inputs") or "layers" not in ann.get_config():
        raise TypeError(
            "`ann` must be a Sequential or functional Keras model, whose layers can be followed. "
            f"Received: ann={ann!r} (type {type(ann).__name__})"
        )
    if len(ann.inputs) != 1 or len(ann.outputs) != 1:
        raise ValueError(f"`ann` must have one input and one output. Received: {len(ann.inputs)}, {len(ann.outputs)}")
    return _Graph(ann).chain()


class _Graph:
    def __init__(self, ann: keras.Model):
        self.layers = {layer.name: layer for layer in ann.layers}
        self.next: dict[str, list[str]] = {name: [] for name in self.layers}
        for config in ann.get_config()["layers"]:
            calls = config["inbound_nodes"]
            if len(calls) > 1:
                raise ValueError(f"The layer {config['name']!r} is used {len(calls)} times: that cannot be converted")
            for source in [name for call in calls for name in _tensors(call)]:
                self.next[source].append(config["name"])
        self.start = next(layer.name for layer in ann.layers if isinstance(layer, keras.layers.InputLayer))

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
    if isinstance(layer, keras.Sequential):
        return [part for inner in layer.layers for part in _opened(inner)]
    if isinstance(layer, keras.Model):
        return read(layer)
    return [] if isinstance(layer, keras.layers.InputLayer) else [layer]


def _tensors(config: Any) -> list[str]:
    """The names of the layers whose outputs are the arguments of a serialised call."""
    if isinstance(config, dict):
        if config.get("class_name") == "__keras_tensor__":
            return [config["config"]["keras_history"][0]]
        return [name for value in config.values() for name in _tensors(value)]
    if isinstance(config, (list, tuple)):
        return [name for value in config for name in _tensors(value)]
    return []
