"""The spiking network in a model: its `SpikingRNN`, its encoder, and what comes before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from keras_spiking_bp.encoders.base import Encoder
from keras_spiking_bp.rnn.layer import SpikingRNN
from keras_spiking_bp.utils.layer_kinds import has_stock_call
from keras_spiking_bp.utils.validation import check_finite_weights


def is_spiking(model: Any) -> bool:
    """Whether a model, or one nested in it, has a `SpikingRNN`."""
    return any(isinstance(layer, SpikingRNN) for layer in _layers(model))


def _layers(model: Any) -> Iterator[keras.layers.Layer]:
    """The layers of a model and its nested models."""
    for layer in getattr(model, "layers", []):
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def spiking_layers(model: keras.Model | SpikingRNN) -> list[SpikingRNN]:
    """The built `SpikingRNN` layers of a model and its nested models, in traversal order."""
    layers = [model] if isinstance(model, SpikingRNN) else dict.fromkeys(_layers(model))  # each once
    spiking = [layer for layer in layers if isinstance(layer, SpikingRNN)]
    if not spiking:
        raise TypeError(
            "`model` must have a SpikingRNN among its layers, as the networks of keras_spiking_bp.models have. "
            f"Received: model={model!r}"
        )
    for layer in spiking:
        if not layer.built:
            raise ValueError(f"`model` must be built: its layer {layer.name!r} has not seen an input yet")
    return spiking


def spiking_layer(model: keras.Model) -> SpikingRNN:
    """The one `SpikingRNN` layer of a model."""
    layers = spiking_layers(model)
    if len(layers) > 1:
        raise ValueError(
            "`model` must have one SpikingRNN layer with the whole network in its cell. "
            f"Received: {len(layers)}, {[layer.name for layer in layers]}"
        )
    return layers[0]


def output_layer(model: keras.Model) -> SpikingRNN:
    """The one `SpikingRNN` of a model that ends in it."""
    layer = spiking_layer(model)
    check_graph(model)
    check_stock_calls(model, layer)
    if layer not in model.layers:
        inner = _part_with(model, layer)
        raise ValueError(
            f"`model` must have its SpikingRNN layer {layer.name!r} among its own layers. Received: a model that has "
            f"it in the model {inner.name!r}. Give that one, model.get_layer({inner.name!r}), and the data as it gets "
            "them"
        )
    sequences_and_mask(model)
    outputs = call_in(model, layer).output_tensors
    if not all(any(tensor is output for output in outputs) for tensor in model.outputs):
        raise ValueError(
            f"`model` must end in its SpikingRNN layer {layer.name!r}. Received: a model with layers behind it. Make "
            "one without them, keras.Model(inputs, outputs) with the outputs of this layer, and apply them to what it "
            "returns"
        )
    check_finite_weights(model)
    return layer


def call_in(model: keras.Model, layer: keras.layers.Layer) -> Any:
    """The call of a layer of `model` in it: other models may call the layer too."""
    graph = getattr(model, "_functional", model)  # that of a Sequential
    found = [node for nodes in graph._nodes_by_depth.values() for node in nodes if node.operation is layer]
    if len(found) > 1:
        raise ValueError(f"`model` must call its layer {layer.name!r} once. Received: {len(found)} calls")
    return found[0]


def sequences_of(model: keras.Model) -> keras.KerasTensor:
    """The input over time of the `SpikingRNN` among the layers of `model`, symbolic."""
    sequences, mask = sequences_and_mask(model)
    if mask is not None or _has_mask(sequences):
        raise ValueError(
            f"The SpikingRNN layer {spiking_layer(model).name!r} of `model` gets a mask, which cannot be followed "
            "here. Give a model without it, and sequences cut to their length"
        )
    return sequences


def sequences_and_mask(model: keras.Model) -> tuple[keras.KerasTensor, keras.KerasTensor | None]:
    """The input over time of the `SpikingRNN` among the layers of `model`, and the mask given to it, symbolic.

    The mask that Keras attaches to the input is not always among what it gives to the layer.
    """
    layer = spiking_layer(model)
    call = call_in(model, layer)
    given, states = call.arguments.kwargs, call.arguments.args[1:]
    if given.get("initial_state") is not None or any(state is not None for state in states):
        raise ValueError(
            f"The SpikingRNN layer {layer.name!r} of `model` gets an initial state, which cannot be followed here. "
            "Give a model without it, or with stateful=True"
        )
    return call.input_tensors[0], given.get("mask")


def _has_mask(tensor: keras.KerasTensor) -> bool:
    """Whether a symbolic tensor gets a mask in a run: Keras does not attach those that nested models make."""
    to_see, seen = [tensor], set()
    while to_see:
        tensor = to_see.pop()
        if getattr(tensor, "_keras_mask", None) is not None:
            return True
        if id(tensor) in seen:  # paths that meet
            continue
        seen.add(id(tensor))
        operation, node_index, index = tensor._keras_history
        if isinstance(operation, keras.Model):
            to_see.append(operation.outputs[index])
        if getattr(operation, "supports_masking", False):
            to_see += operation._inbound_nodes[node_index].input_tensors
    return False


def check_graph(model: keras.Model) -> None:
    """Rejects models that have no layer graph."""
    if not getattr(model, "outputs", None):
        raise TypeError(
            "`model` must be a functional or sequential keras.Model that has seen its input shape, such as "
            f"keras.Model(images, SpikingRNN(cell)(spikes)). Received: model={model!r}"
        )


def check_stock_calls(model: keras.Model, layer: SpikingRNN) -> None:
    """Rejects a model, or its `SpikingRNN`, whose class may compute something else than its layers do."""
    stock = (model, model is layer or has_stock_call(model)), (layer, type(layer).call is SpikingRNN.call)
    for part in [part for part, known in stock if not known]:
        raise TypeError(
            f"`model` must compute what its layers do. Received: {part.name!r}, whose class {type(part).__name__} has "
            "a `call` of its own"
        )


def _part_with(model: keras.Model, layer: SpikingRNN) -> keras.Model:
    """The model among the layers of `model` that contains `layer`."""
    return next(part for part in model.layers if layer in _layers(part))


def input_over_time(model: keras.Model) -> keras.Model:
    """The part of a model before its `SpikingRNN`: from the model's inputs to those of each step, and their mask.

    The `SpikingRNN` may be in a nested model. The mask is a second output where the layer is given one; one that Keras
    attaches to the sequences may be on them in a run only.
    """
    check_graph(model)
    layer = spiking_layer(model)
    if layer in model.layers:
        sequences, mask = sequences_and_mask(model)
        outputs = sequences if mask is None else [sequences, mask]
    else:
        inner = _part_with(model, layer)
        given = call_in(model, inner).arguments
        attached = (getattr(tensor, "_keras_mask", None) for tensor in keras.tree.flatten(given.args[0]))
        masks = keras.tree.flatten(given.kwargs.get("mask"))  # those attached are among them
        if any(mask is not None for mask in masks) and all(mask is None for mask in attached):
            raise ValueError(
                f"The model {inner.name!r}, a layer of `model`, is given a mask, which cannot be followed into it. "
                f"Make the mask an input of {inner.name!r}"
            )
        outputs = input_over_time(inner)(given.args[0])
    # its name, which warnings of Keras give
    return keras.Model(model.inputs[0] if len(model.inputs) == 1 else model.input, outputs, name=model.name)


def encoder_of(model: keras.Model) -> tuple[Encoder | None, keras.KerasTensor]:
    """The encoder right before the `SpikingRNN` that a model ends in, and what it takes in this model.

    An encoder may be part of several models. Without one, None and the input of the `SpikingRNN`.
    """
    output_layer(model)
    sequences = sequences_of(model)
    operation, node_index, _ = sequences._keras_history
    if not isinstance(operation, Encoder):
        return None, sequences
    return operation, operation._inbound_nodes[node_index].input_tensors[0]
