"""Layers of Keras: copies, and those of an ordinary model as a graph."""

import collections
import dataclasses
import itertools
from collections.abc import Collection
from typing import Any

import keras

from keras_spiking_bp.utils.layer_kinds import has_stock_call


@dataclasses.dataclass(frozen=True)
class Call:
    """A layer as called in a model: the names of the layers whose outputs it takes, and their shapes for one sample."""

    layer: keras.layers.Layer
    sources: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...], ...]


def calls(model: keras.Model, layers_only: bool = True) -> list[Call]:
    """The layers of a built Sequential or functional model in model order; `layers_only` rejects other operations."""
    if not isinstance(model, keras.Model) or not has_stock_call(model):
        raise TypeError(
            "An ANN must be a Sequential or functional Keras model without a `call` of its own, whose layers can be "
            f"followed. Received: {model!r} (type {type(model).__name__})"
        )
    if isinstance(model, keras.Sequential):
        return _of_sequential(model)
    if (numbers := (len(model.inputs), len(model.outputs))) != (1, 1):
        raise ValueError(f"An ANN must have one input and one output. Received: {numbers[0]}, {numbers[1]}")
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


def check_is_layer(operation: keras.Operation) -> None:
    """Rejects operations outside of layers, such as `x + 1`."""
    if not isinstance(operation, keras.layers.Layer):
        raise ValueError(
            f"The model computes {operation.name!r} ({type(operation).__name__}) outside of a layer. Use a layer for "
            "it, such as keras.layers.Add or keras.layers.ReLU"
        )


def name_of_output(model: keras.Model) -> str:
    """The name of the output layer of a model that `calls` accepts."""
    if isinstance(model, keras.Sequential):
        return model.layers[-1].name
    return model.outputs[0]._keras_history.operation.name


def _of_sequential(model: keras.Sequential) -> list[Call]:
    found, shape, source = [], tuple(model.inputs[0].shape), "input"
    for layer in model.layers:
        found.append(Call(layer, (source,), (shape[1:],)))
        shape, source = tuple(layer.compute_output_shape(shape)), layer.name
    return found


def unique_name(name: str, taken: Collection[str]) -> str:
    """`name`, with a number appended if it is taken."""
    number, found = 1, name
    while found in taken:
        number, found = number + 1, f"{name}_{number}"
    return found


def copy_of(layer: keras.layers.Layer, **changes: Any) -> keras.layers.Layer:
    """An unbuilt float32 layer with the same config, except for `changes`."""
    return type(layer).from_config({**layer.get_config(), "dtype": "float32", **changes})


def free_weights(layer: keras.layers.Layer) -> dict[str, None]:
    """Changes for `copy_of`, where the copy gets its weights later: none of what may be a function of the user's."""
    ends = ("_constraint", "_initializer", "_regularizer")
    return {key: None for key in layer.get_config() if key.endswith(ends)}


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
        store: dict[str, Any] = {}
        layer.save_own_variables(store)
        new.load_own_variables(store)  # so that a Normalization uses what it loads
    return new
