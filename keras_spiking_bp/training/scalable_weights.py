"""The trainable weights that the current of a layer is in proportion to, for `calibrate`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import keras
import numpy as np

from keras_spiking_bp.cells import Cell
from keras_spiking_bp.cells.composite import current_sources
from keras_spiking_bp.cells.normalization import normalizations
from keras_spiking_bp.utils.layer_kinds import parts_of

Sources = list[keras.layers.Layer]


def sources_of(cell: Cell) -> dict[str, Sources]:
    """The layers that give the current of each neuron layer, by its name."""
    return {neuron.name: own for neuron, own in zip(cell.neurons(), current_sources(cell), strict=True)}


def weights_of(sources: Sources) -> list:
    """The variables to scale: the weights, or what acts last where a source has batch normalisation."""
    return [variable for source in sources for variable in _of_synapse(source)]


def last_weights_of(sources: Sources) -> list:
    """The same of the last layer in each source that has trainable weights."""
    return [variable for part in last_parts(sources) for variable in _of_one_layer(part)]


def last_parts(sources: Sources) -> list[keras.layers.Layer]:
    """The last layer in each source that has trainable weights, if any: its output is in proportion to them."""
    return [part for source in sources for part in [part for part in parts_of(source) if part.trainable_weights][-1:]]


def check_no_lora(sources: Sources) -> None:
    """Raises a ValueError where a layer has LoRA weights: its kernel is fixed, and what is added to it is a product."""
    for source in sources:
        for part in source._flatten_layers():
            if getattr(part, "lora_enabled", False):
                raise ValueError(
                    f"The layer {part.name!r} has LoRA weights, whose scaling would not scale its output. Calibrate "
                    "the network before enable_lora"
                )


def check_gamma(sources: Sources) -> None:
    """Raises a ValueError where a batch normalisation has no gamma to scale the current by."""
    for source in sources:
        norm = _last_normalization(source)
        if norm is not None and norm.trainable and not norm.scale and not _behind(norm, source):
            raise ValueError(
                f"The batch normalisation {norm.name!r} has scale=False: there is no gamma to scale its layer by. Make "
                "it with scale=True, or name the other layers in `firing_rate` (None for none)"
            )


def check_not_shared(weights: Mapping[str, list]) -> None:
    """Two layers that share weights cannot each have a rate: scaling one scales the other."""
    users: dict[int, list[str]] = {}
    for name, own in weights.items():
        for variable in {id(variable) for variable in own}:  # one layer may have it twice
            users.setdefault(variable, []).append(name)
    for names in users.values():
        if len(names) > 1:
            raise ValueError(
                "`firing_rate` must name one layer only of those that share their weights, since scaling one scales "
                f"the others (`output_std` scales the readout). Received: {names}, which share weights"
            )


def check_that_constraints_keep(scaled: Iterable) -> None:
    """A constraint on the size of weights would undo the scaling in the first optimizer step."""
    for variable in scaled:
        value = variable.numpy()
        if variable.constraint is not None:
            constrained = keras.ops.convert_to_numpy(variable.constraint(variable))
            if np.abs(constrained - value).max() > 0.05 * np.abs(value).max():  # not the rounding of bfloat16
                raise ValueError(
                    f"The constraint of {variable.path!r}, {variable.constraint!r}, would undo the scaling in the "
                    "first step of the training. Calibrate a network whose constraints leave the size of the "
                    "weights alone"
                )


def _of_synapse(source: keras.layers.Layer) -> list:
    norm = _last_normalization(source)
    if norm is not None and (behind := _behind(norm, source)):
        return _of_one_layer(behind[-1])
    if norm is not None and (norm.scale or not norm.trainable):  # else `check_gamma` rejects it, if it is to be scaled
        return norm.trainable_weights
    return source.trainable_weights


def _of_one_layer(layer: keras.layers.Layer) -> list:
    """The variables in proportion to which the output of this layer is."""
    if len(layer._flatten_layers()) > 1:  # a block, such as a functional model: gamma and beta, if it has them
        return _of_synapse(layer)
    if not hasattr(layer, "pointwise_kernel"):
        return layer.trainable_weights
    return [variable for variable in layer.trainable_weights if variable.name != "depthwise_kernel"]


def _last_normalization(source: keras.layers.Layer) -> keras.layers.BatchNormalization | None:
    norms = normalizations(source)
    return norms[-1] if norms else None


def _behind(norm: keras.layers.BatchNormalization, source: keras.layers.Layer) -> Sources:
    """The layers with trainable weights that follow it, other than the slopes of an activation."""
    parts = parts_of(source)
    last = max(i for i, part in enumerate(parts) if any(inner is norm for inner in part._flatten_layers()))
    return [part for part in parts[last + 1 :] if part.trainable_weights and not isinstance(part, keras.layers.PReLU)]
