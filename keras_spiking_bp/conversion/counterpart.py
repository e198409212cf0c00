"""The ordinary (ANN) counterpart of a spiking network."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.cells import Cell, LIFCell, PoolingCell
from keras_spiking_bp.cells.batch_norm import FusedBatchNormalization
from keras_spiking_bp.cells.composite import CELL_INPUT, Node
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.cells.walk import flat
from keras_spiking_bp.rnn.spiking_model import encoder_of, is_spiking, output_layer, spiking_layer
from keras_spiking_bp.utils.layers import unique_name, use_assigned

#: How a config names the class.
_FUSED = {
    "module": FusedBatchNormalization.__module__,
    "class_name": FusedBatchNormalization.__name__,
    "registered_name": keras.saving.get_registered_name(FusedBatchNormalization),
}
#: Name of the layers before the encoder, as one, in the counterpart.
_BEFORE = "before_encoder"


def ann_counterpart(model: keras.Model) -> keras.Model:
    """The same network as an ordinary Keras model: ReLU for LIF neurons, plain pooling, the same synapses and dropout.

    It maps one image (B, ...) to the outputs of the readout (B, classes), which are logits: train it with
    `CategoricalCrossentropy(from_logits=True)` or with the paper's loss. Its layers are named after the cells, and have
    the current weights; its batch normalisation is Keras' in a faster form (to load the model, import this library).
    Thresholds, leaks and penalties on firing rates have no counterpart: with other thresholds than 1 its activations
    are on another scale than the rates, and a shortcut without weights that adds to a current (`ResidualCell`) has
    another weight beside it than in the spiking network.

    Args:
        model: a built functional model that ends in its one `SpikingRNN`. Its encoder is left out, but for its `scale`.
            Without an encoder, the counterpart takes one time step of the input.

    Raises:
        TypeError: if the model has no `SpikingRNN`, or a cell without a counterpart, such as a `RecurrentCell`.
        ValueError: if it is not built, does not end in its `SpikingRNN`, or has several inputs or layers between this
            and the encoder.

    Example:
        >>> snn = models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [16], num_steps=10, dropout=0.2)
        >>> ann = ann_counterpart(snn)
        >>> [layer.name for layer in ann.layers][1:5]
        ['conv1', 'conv1_relu', 'conv1_dropout', 'pool1']
    """
    layer = output_layer(model)
    encoder, encoded = encoder_of(model)
    if encoder is None and encoded is not model.inputs[0]:
        raise ValueError(
            "`model` must have one input, and no layers right before its SpikingRNN other than an encoder. "
            f"Received: {encoded._keras_history.operation.name!r}"
        )
    shape = model.inputs[0].shape[1:] if encoder else encoded.shape[2:]
    images = inputs = keras.Input(shape)
    used: set[str] = set()

    def synapse(of: keras.layers.Layer, called: str) -> keras.layers.Layer:
        if not of.weights and called in used:  # it may stand at several places
            called = unique_name(called, used | {part.name for part in layer._flatten_layers()})
        used.add(called)
        config = _with_fused(keras.saving.serialize_keras_object(of))
        config["config"]["name"] = called
        return keras.saving.deserialize_keras_object(config)

    if encoder and encoded is not model.inputs[0]:
        images = keras.models.clone_model(_before_encoder(model))(inputs)
    scale = getattr(encoder, "scale", 1.0)
    if scale != 1:
        images = keras.layers.Rescaling(scale, dtype="float32", name="encoder_scale")(images)
    outputs = _ann(layer.cell, images, synapse)
    if outputs.dtype != "float32":
        outputs = keras.layers.Activation("linear", dtype="float32", name="float32")(outputs)
    ann = keras.Model(inputs, outputs, name=f"{model.name}_ann")
    copy_weights(model, ann)
    return ann


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights of a spiking network to its counterpart, or back, with those before the encoder.

    Args:
        source, target: a model with one `SpikingRNN` and its `ann_counterpart`, or that of a network with the same
            names and shapes; in either order.

    Raises:
        ValueError: if a layer of the spiking network is not in the other, or has another shape, or cells share weights
            to which an ANN gives two values.

    Example:
        >>> snn = models.spiking_vgg((8, 8, 1), 3, [(4, 3)], [], num_steps=10)
        >>> ann = ann_counterpart(snn)
        >>> copy_weights(ann, snn)
    """
    spiking, ordinary = (source, target) if is_spiking(source) else (target, source)
    synapses = [node for node in flat(spiking_layer(spiking).cell) if not isinstance(node.layer, NeuronCell)]
    parts = [(_name(node), node.layer) for node in synapses if node.layer.weights]
    if _BEFORE in {layer.name for layer in ordinary.layers} and encoder_of(spiking)[1] is not spiking.inputs[0]:
        parts.append((_BEFORE, _before_encoder(spiking)))
    values: dict[int, np.ndarray] = {}
    for name, part in parts:
        there = ordinary.get_layer(name).weights
        weights, targets = (part.weights, there) if spiking is source else (there, part.weights)
        for weight, to in zip(weights, targets, strict=True):
            value = np.asarray(weight)
            if not np.array_equal(values.setdefault(id(to), value), value, equal_nan=True):
                raise ValueError(f"The weight {to.path!r} of `target` is shared by layers that differ in `source`")
            to.assign(value)
    use_assigned(target)


def _with_fused(config: Any) -> Any:
    """The config of a layer, with `FusedBatchNormalization` for that of Keras."""
    if isinstance(config, list):
        return [_with_fused(value) for value in config]
    if not isinstance(config, dict):
        return config
    if (config.get("module"), config.get("class_name")) == ("keras.layers", "BatchNormalization"):
        config = {**config, **_FUSED}
    return {key: _with_fused(value) for key, value in config.items()}


def _before_encoder(model: keras.Model) -> keras.Model:
    return keras.Model(model.inputs[0], encoder_of(model)[1], name=_BEFORE)


def _ann(cell: Cell, x: keras.KerasTensor, synapse: Callable) -> keras.KerasTensor:
    """The outputs of the counterpart of `cell` on `x`."""
    values: list[keras.KerasTensor] = []
    for node in flat(cell):
        if node.delayed_to is not None:
            raise TypeError(f"The recurrent synapses {node.name!r} have no counterpart: an ANN has no step before")
        inputs = [x if i == CELL_INPUT else values[i] for i in node.inputs]
        if isinstance(node.layer, NeuronCell):
            current = inputs[0] if len(inputs) == 1 else keras.layers.Add(name=f"{node.name}_add")(inputs)
            values.append(_activated(node.layer, current))
        else:
            values.append(synapse(node.layer, _name(node))(inputs if len(inputs) > 1 else inputs[0]))
    return values[-1]


def _activated(cell: NeuronCell, x: keras.KerasTensor) -> keras.KerasTensor:
    """Counterpart of neurons: of LIF neurons ReLU, and their dropout; of others, and of pooling neurons, nothing."""
    moves = not cell.synapse.weights and not isinstance(cell.synapse, keras.layers.Identity)
    pools = moves and isinstance(cell, PoolingCell)  # spikes, whose averages are not negative
    if pools or not isinstance(cell, LIFCell):
        return x
    x = keras.layers.ReLU(name=f"{cell.name}_relu")(x)
    return keras.layers.Dropout(cell.dropout, seed=cell.seed, name=f"{cell.name}_dropout")(x) if cell.dropout else x


def _name(node: Node) -> str:
    """What a layer without neurons is called in the counterpart."""
    return node.name if node.cell is None else node.cell.name
