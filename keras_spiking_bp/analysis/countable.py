"""Which networks have spikes that can be counted."""

from __future__ import annotations

import keras

from keras_spiking_bp.analysis.synapse_counts import PASSES_ON
from keras_spiking_bp.cells import MaxPoolingCell
from keras_spiking_bp.cells.tree import checked_names
from keras_spiking_bp.rnn.connections import INPUT, Connection
from keras_spiking_bp.rnn.layer import SpikingRNN
from keras_spiking_bp.rnn.spiking_model import output_layer
from keras_spiking_bp.utils.layer_kinds import parts_of


def countable_layer(model: keras.Model) -> SpikingRNN:
    """The layer to analyse: the one `SpikingRNN` of the model, if its spikes can be counted."""
    layer = output_layer(model)
    if not any(neuron.emits == "spikes" for neuron in layer.cell.neurons()):
        raise ValueError(
            f"`model` must have spiking neurons to analyse. Its layer {layer.name!r} has a readout only, which never "
            "fires"
        )
    if layer.go_backwards:
        raise ValueError(f"`model` must not have go_backwards=True in {layer.name!r}. Reverse the data instead")
    reserved = {INPUT, "total"} & set(checked_names(layer.cell))
    if reserved:
        raise ValueError(f"The cells of `model` must not be called {sorted(reserved)}: tables have rows of that name")
    return layer


def _max_pooling(layer: SpikingRNN) -> set[str]:
    """The names of its max pooling cells."""
    return {cell.name for cell in layer.cell.neurons() if isinstance(cell, MaxPoolingCell)}


def refuse_pooled_sums(layer: SpikingRNN, paths: tuple[Connection, ...]) -> None:
    """Max pooling of sums, or of averages, of spikes gives real numbers."""
    for path in paths:
        parts = [part for of in path.layers[:-1] for part in parts_of(of)]
        before = [part for part in parts if not isinstance(part, (*PASSES_ON, keras.layers.Concatenate))]
        if path.target in _max_pooling(layer) and before:
            raise ValueError(
                f"The max pooling {path.target!r} gets its input from the layer {before[-1].name!r} "
                f"({type(before[-1]).__name__}), so that what it gives cannot be counted as spikes. Put neurons in "
                "front of it"
            )


def refuse_pooled_currents(layer: SpikingRNN, paths: tuple[Connection, ...], spiking_input: bool) -> None:
    """Max pooling of currents, or of potentials, has no spikes to count."""
    sources = {neuron.name for neuron in layer.cell.neurons() if neuron.emits == "potential"}
    sources |= set() if spiking_input else {INPUT}
    pooled = [path.target for path in paths if path.source in sources and path.target in _max_pooling(layer)]
    if pooled:
        raise ValueError(
            f"The max pooling {pooled[0]!r} gets an input that is no spikes, so that what it gives cannot be counted "
            "as spikes. Use a PoissonEncoder, or put neurons in front of it"
        )
