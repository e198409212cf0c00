"""Nodes of NIR as cells."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_spiking_bp.cells import IFCell, LIFCell, PoolingCell, ReadoutCell
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.gradients import surrogates
from keras_spiking_bp.interchange import equations
from keras_spiking_bp.interchange.axes import Signal, neurons_from_nir, swapped
from keras_spiking_bp.interchange.read_layers import joined, keras_name, scaled

SPIKING, READOUTS = ("CubaLIF", "IF", "LIF", "Threshold"), ("I", "LI")


def read_neurons(
    name: str,
    node: Any,
    synapse: keras.layers.Layer,
    current: Signal,
    dt: float,
    reset_mechanism: str,
    surrogate: surrogates.Surrogate | None,
) -> NeuronCell:
    """The cell of the neurons of a node, whose synapse gives `current`."""
    kind = type(node).__name__
    if kind in READOUTS:
        return _readout(name, node, synapse, current, dt, differentiate_leak=surrogate is not None)
    found: dict[str, Any]
    if kind == "Threshold":
        found = equations.read_threshold(name, node)
    elif kind == "IF":
        found = {"beta": 1.0, **equations.read_if(name, node, dt)}
    else:
        found = (equations.read_lif if kind == "LIF" else equations.read_cuba_lif)(name, node, dt)
    found = {key: _ours(name, value, current) for key, value in found.items()}
    gain = found.pop("gain", 1.0)
    if surrogate is not None and np.any(gain != 1):  # it is a function of the potential in the graph
        surrogate = surrogate.scaled(1.0 / gain)
    if np.min(found["beta"]) <= equations.NO_MEMORY:  # the paper's derivative needs neurons with memory
        surrogate = surrogate or surrogates.ATan()
    found |= {"reset_mechanism": reset_mechanism, "surrogate": surrogate, "name": keras_name(name)}
    dropout = float(node.metadata.get("dropout", 0.0))
    if kind == "IF":
        del found["beta"]
        pools = node.metadata.get("cell") == PoolingCell.__name__  # to_nir wrote it: the derivative of a pooling neuron
        return (PoolingCell if pools else IFCell)(synapse, dropout=dropout, **found)
    if kind == "LIF" and np.any(rest := _ours(name, equations.read_resting_current(node), current)):
        constant = np.broadcast_to(rest, current.shape).tolist()
        synapse = joined([synapse, keras.layers.Rescaling(1.0, offset=constant, dtype="float32")])
    return LIFCell(synapse, dropout=dropout, **found)


def _readout(
    name: str, node: Any, synapse: keras.layers.Layer, current: Signal, dt: float, differentiate_leak: bool
) -> ReadoutCell:
    beta, factor = (equations.read_li if type(node).__name__ == "LI" else equations.read_i)(name, node, dt)
    beta, factor = _ours(name, beta, current), _ours(name, factor, current)
    if np.any(factor != 1):
        synapse = scaled(synapse, factor)
    return ReadoutCell(synapse, beta=beta, differentiate_leak=differentiate_leak, name=keras_name(name))


def _ours(name: str, value: Any, signal: Signal) -> Any:
    """A parameter with one value for each neuron, in our order; others as they are."""
    if not isinstance(value, np.ndarray):
        return value
    wanted = swapped(signal.shape, "first")
    fits = value.ndim == len(wanted) and all(n in (1, m) for n, m in zip(value.shape, wanted, strict=True))
    if not fits:  # NumPy would align a vector with the last axis, the width of a picture
        raise ValueError(
            f"The parameters of node {name!r} must have the shape of its input, {wanted}. Received: {value.shape}"
        )
    return neurons_from_nir(value, signal)
