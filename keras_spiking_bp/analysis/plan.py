"""What is known of a network before it runs over data."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from keras_spiking_bp.analysis.model_operations import OperationCount, operations_before
from keras_spiking_bp.analysis.synapse_counts import PASSES_ON, fan_out
from keras_spiking_bp.cells import MaxPoolingCell
from keras_spiking_bp.cells.tree import checked_names
from keras_spiking_bp.rnn.connections import INPUT, Connection, connections
from keras_spiking_bp.rnn.layer import SpikingRNN
from keras_spiking_bp.rnn.spiking_model import output_layer, sequences_and_mask
from keras_spiking_bp.utils.layer_kinds import parts_of


@dataclasses.dataclass(frozen=True)
class Plan:
    """The layer of a network, its connections, and what a spike of each costs.

    `fans` is empty where operations cannot be counted; `uncounted` then says why.
    """

    layer: SpikingRNN
    paths: tuple[Connection, ...]
    fans: tuple[np.ndarray, ...]
    before: OperationCount
    uncounted: str

    def check_max_pooling(self, spiking_input: bool) -> None:
        """Rejects max pooling of currents, potentials, sums or averages: it gives numbers that are no spikes."""
        neurons = self.layer.cell.neurons()
        pools = {neuron.name for neuron in neurons if isinstance(neuron, MaxPoolingCell)}
        no_spikes = {neuron.name for neuron in neurons if neuron.emits == "potential"}
        no_spikes |= set() if spiking_input else {INPUT}
        for path in self.paths:
            before = [part for layer in path.layers[:-1] for part in parts_of(layer)]
            sums = not all(isinstance(part, (*PASSES_ON, keras.layers.Concatenate)) for part in before)
            if path.target in pools and (sums or path.source in no_spikes):
                raise ValueError(
                    f"The max pooling {path.target!r} gets an input that is no spikes, so that what it gives cannot be "
                    "counted as spikes. Use a PoissonEncoder, or put neurons in front of it"
                )


def plan(model: keras.Model, counted: bool = False) -> Plan:
    """The plan of a run of `model`; `counted` says whether its operations must be counted.

    Raises:
        TypeError, ValueError: as `run`; ValueError too if operations are needed and cannot be counted.
    """
    layer = countable_layer(model)
    paths = tuple(connections(layer.cell, sequences_and_mask(model)[0].shape[2:]))
    uncounted = Plan(layer, paths, (), OperationCount(), "")
    uncounted.check_max_pooling(spiking_input=True)
    try:
        before = operations_before(model)
        fans = tuple(fan_out(path.layers, path.source_shape) for path in paths)
    except (TypeError, ValueError) as error:  # spikes can be counted all the same
        if counted:
            raise
        return dataclasses.replace(uncounted, uncounted=str(error))
    return dataclasses.replace(uncounted, fans=fans, before=before)


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
