"""What is known of a network before it runs over data."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from keras_spiking_bp.analysis.countable import countable_layer, refuse_pooled_currents, refuse_pooled_sums
from keras_spiking_bp.analysis.model_operations import OperationCount, operations_before
from keras_spiking_bp.analysis.synapse_counts import fan_out
from keras_spiking_bp.rnn.connections import Connection, connections
from keras_spiking_bp.rnn.layer import SpikingRNN
from keras_spiking_bp.rnn.spiking_model import sequences_and_mask


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


def plan(model: keras.Model, counted: bool = False) -> Plan:
    """The plan of a run of `model`; `counted` says whether its operations must be counted.

    Raises:
        TypeError, ValueError: as `run`; ValueError too if operations are needed and cannot be counted.
    """
    layer = countable_layer(model)
    paths = tuple(connections(layer.cell, sequences_and_mask(model)[0].shape[2:]))
    refuse_pooled_sums(layer, paths)
    refuse_pooled_currents(layer, paths, spiking_input=True)
    fans: tuple[np.ndarray, ...] = ()
    before, uncounted = OperationCount(), ""
    try:
        before = operations_before(model)
        fans = tuple(fan_out(path.layers, path.source_shape) for path in paths)
    except (TypeError, ValueError) as error:  # spikes can be counted all the same
        if counted:
            raise
        before, uncounted = OperationCount(), str(error)
    return Plan(layer, paths, fans, before, uncounted)
