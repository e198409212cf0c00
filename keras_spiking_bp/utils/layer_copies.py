"""Copies of Keras layers."""

from typing import Any

import keras


def copy_of(layer: keras.layers.Layer, **changes: Any) -> keras.layers.Layer:
    """An unbuilt float32 layer with the same config, except for `changes`."""
    return type(layer).from_config({**layer.get_config(), "dtype": "float32", **changes})


def free_weights(layer: keras.layers.Layer) -> dict[str, None]:
    """Changes for `copy_of`, where the copy gets its weights later: none of what may be a function of the user's."""
    ends = ("_constraint", "_initializer", "_regularizer")
    return {key: None for key in layer.get_config() if key.endswith(ends)}


def copy_own_variables(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    """Copies the variables of a layer, not of layers in it; random streams too."""
    store: dict[str, Any] = {}
    source.save_own_variables(store)
    target.load_own_variables(store)


def use_assigned(layer: keras.layers.Layer) -> None:
    """Makes each `Normalization` in a layer compute with the statistics assigned to it: Keras reads them in advance."""
    for part in layer._flatten_layers():
        if isinstance(part, keras.layers.Normalization):
            part.finalize_state()


def copy_with_weights(layer: keras.layers.Layer, name: str | None = None) -> keras.layers.Layer:
    """A new layer with the same config and weights, in float32; None keeps its name."""
    new = copy_of(layer, name=name or layer.name)
    if layer.weights:
        new.build(layer.input.shape)
        copy_own_variables(layer, new)  # so that a Normalization uses what it loads
    return new
