"""The trainable weights that the current of a layer is in proportion to, for `calibrate`."""

import keras

from keras_spiking_bp.cells import Cell
from keras_spiking_bp.cells.batch_norm import normalizations
from keras_spiking_bp.cells.walk import current_sources
from keras_spiking_bp.utils.layer_kinds import parts_of

Sources = list[keras.layers.Layer]


def sources_of(cell: Cell) -> dict[str, Sources]:
    """The layers that give the current of each neuron layer, by its name."""
    return {neuron.name: own for neuron, own in zip(cell.neurons(), current_sources(cell), strict=True)}


def weights_of(sources: Sources) -> list:
    """The variables to scale: the weights, or what acts last where a source has batch normalisation."""
    return [variable for source in sources for variable in _of_synapse(source)]


def last_weights_of(sources: Sources) -> list:
    """Those of the last layer in each source that has trainable weights: its output is in proportion to them."""
    parts = [part for source in sources for part in [part for part in parts_of(source) if part.trainable_weights][-1:]]
    return [variable for part in parts for variable in _of_one_layer(part)]


def _of_synapse(source: keras.layers.Layer) -> list:
    norms = normalizations(source)
    if norms and (behind := _behind(norms[-1], source)):
        return _of_one_layer(behind[-1])
    if norms and (norms[-1].scale or not norms[-1].trainable):
        return norms[-1].trainable_weights
    return source.trainable_weights


def _of_one_layer(layer: keras.layers.Layer) -> list:
    """The variables in proportion to which the output of this layer is."""
    if len(layer._flatten_layers()) > 1:  # a block, such as a functional model: gamma and beta, if it has them
        return _of_synapse(layer)
    if not hasattr(layer, "pointwise_kernel"):
        return layer.trainable_weights
    return [variable for variable in layer.trainable_weights if variable.name != "depthwise_kernel"]


def _behind(norm: keras.layers.BatchNormalization, source: keras.layers.Layer) -> Sources:
    """The layers with trainable weights that follow it, other than the slopes of an activation."""
    parts = parts_of(source)
    last = max(i for i, part in enumerate(parts) if any(inner is norm for inner in part._flatten_layers()))
    return [part for part in parts[last + 1 :] if part.trainable_weights and not isinstance(part, keras.layers.PReLU)]
