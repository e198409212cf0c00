"""Layers of an ordinary Keras model: their connections; those of a `Sequential` as a flat list; copies."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Collection
from typing import Any

import keras


@dataclasses.dataclass(frozen=True)
class Call:
    """A layer as called in a model.

    Attributes:
        layer: the layer.
        sources: names of the layers whose outputs it takes, in order.
        shapes: shapes of these, without the batch.
    """

    layer: keras.layers.Layer
    sources: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...], ...]


def calls(model: keras.Model, layers_only: bool = True) -> list[Call]:
    """The layers of a Sequential or functional model in model order.

    Args:
        model: the model.
        layers_only: whether to reject operations outside of layers; False returns them too.

    Raises:
        TypeError: if `model` is neither, or has a `call` of its own.
        ValueError: if it is not built, has several inputs or outputs, uses a layer twice, or computes something outside
            of a layer.
    """
    if getattr(model, "outputs", None) and not has_stock_call(model):
        raise TypeError(
            f"The model {model.name!r} ({type(model).__name__}) has a `call` of its own, which may compute something "
            "else than its layers. Use a Sequential or functional model"
        )
    if isinstance(model, keras.Sequential):
        return _of_sequential(model)
    if not isinstance(model, keras.Model) or not hasattr(model, "operations"):
        raise TypeError(
            "An ANN must be a Sequential or functional Keras model, whose layers can be followed. "
            f"Received: {model!r} (type {type(model).__name__})"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        number = len(model.inputs), len(model.outputs)
        raise ValueError(f"An ANN must have one input and one output. Received: {number[0]}, {number[1]}")
    of_operations = collections.defaultdict(list)
    for node in itertools.chain.from_iterable(model._nodes_by_depth.values()):
        of_operations[node.operation.name].append(node)
    found = []
    for operation in model.operations:
        if layers_only:
            check_is_layer(operation)
        uses = of_operations[operation.name]
        if len(uses) > 1:
            raise ValueError(f"The layer {operation.name!r} is used {len(uses)} times, which cannot be followed")
        tensors = uses[0].input_tensors
        names = tuple(tensor._keras_history.operation.name for tensor in tensors)
        found.append(Call(operation, names, tuple(tuple(tensor.shape[1:]) for tensor in tensors)))
    return found


def has_stock_call(model: keras.Model) -> bool:
    """Whether a model is called as Keras' Sequential and functional models are, by a `call` of Keras."""
    return type(model).call.__module__.startswith("keras.")


def check_is_layer(operation: keras.Operation) -> None:
    """Rejects operations outside of layers, such as `x + 1`."""
    if not isinstance(operation, keras.layers.Layer):
        raise ValueError(
            f"The model computes {operation.name!r} ({type(operation).__name__}) outside of a layer. Use a layer "
            "for it, such as keras.layers.Add or keras.layers.ReLU"
        )


def name_of_output(model: keras.Model) -> str:
    """The name of the output layer of a model that `calls` accepts."""
    if isinstance(model, keras.Sequential):
        return model.layers[-1].name
    return model.outputs[0]._keras_history.operation.name


def _of_sequential(model: keras.Sequential) -> list[Call]:
    if not model.built:
        raise ValueError("An ANN must be built: give it a keras.Input, or call it once")
    found, shape, source = [], tuple(model.inputs[0].shape), "input"
    for layer in model.layers:
        found.append(Call(layer, (source,), (shape[1:],)))
        shape, source = tuple(layer.compute_output_shape(shape)), layer.name
    return found


def copy_of(layer: keras.layers.Layer, **changes: Any) -> keras.layers.Layer:
    """An unbuilt float32 layer with the same config, except for `changes`."""
    return type(layer).from_config({**layer.get_config(), "dtype": "float32", **changes})


def unique_name(name: str, taken: Collection[str]) -> str:
    """`name`, with a number appended if it is taken."""
    number, found = 1, name
    while found in taken:
        number, found = number + 1, f"{name}_{number}"
    return found


def free_weights(layer: keras.layers.Layer) -> dict[str, None]:
    """Changes for `copy_of`, where the copy gets its weights later: without initial values, constraints, regularizers.

    They may be functions of the user's, which a config cannot give back.
    """
    ends = ("_constraint", "_initializer", "_regularizer")
    return {key: None for key in layer.get_config() if key.endswith(ends)}


def parts_of(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers of a `keras.Sequential` as a flat list, nested ones too; any other layer alone."""
    in_a_row = isinstance(layer, keras.Sequential) and has_stock_call(layer) and layer.layers
    if not in_a_row:
        return [layer]
    return [part for inner in layer.layers for part in parts_of(inner)]


def is_of_keras(layer: keras.layers.Layer) -> bool:
    """Whether its class is one of Keras, whose behaviour is known, and none of the user's."""
    return type(layer).__module__.startswith("keras.")


#: Attributes of a class that define what its layers compute.
_COMPUTES = ("call", "__call__", "convolution_op", "_merge_function", "kernel")


def computes_otherwise(layer: keras.layers.Layer, kinds: tuple[type, ...]) -> str | None:
    """Why a layer may compute something else than the one of `kinds` that it is; None if it cannot, or is none."""
    kind = next((kind for kind in type(layer).__mro__ if kind in kinds), None)
    if kind is None:
        return None
    for name in _COMPUTES:
        if getattr(type(layer), name, None) is not getattr(kind, name, None):
            return f"its class has a `{name}` of its own, other than that of {kind.__name__}"
    return None


def use_assigned(layer: keras.layers.Layer) -> None:
    """Makes each `Normalization` in a layer compute with the statistics assigned to it: Keras reads them in advance."""
    for part in layer._flatten_layers():
        if isinstance(part, keras.layers.Normalization):
            part.finalize_state()
