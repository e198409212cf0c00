"""The numbers of an operation in C: as they are, or as integers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.cells import LIFCell, ReadoutCell
from keras_spiking_bp.export.c_paths import INPUT
from keras_spiking_bp.export.c_plan import Operation
from keras_spiking_bp.utils.neuron_parameters import in_numpy

#: Fractional bits of potentials (in units of a weight), of leaks, of inputs that are not spikes.
POTENTIAL_BITS, LEAK_BITS, INPUT_BITS = 8, 16, 10
_LARGEST = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Arrays for C: of each connection its weights or gains, and by name the parameters, of `period` neurons each.

    `units` are what 1 in a current stands for. `input_limit`: the largest input that no current overflows with.
    """

    weights: list[np.ndarray]
    parameters: dict[str, np.ndarray]
    period: int
    units: np.ndarray
    input_limit: int = 2**15 - 1


def numbers_of(operation: Operation, integer: bool, input_bits: int) -> Numbers:
    """The numbers of an operation; `integer` as 8-bit weights, thresholds and leaks to match."""
    parameters = {name: _reduced(value, operation.shape) for name, value in _parameters(operation).items()}
    channels = [path.connected().out_channels for path in operation.paths]
    period = math.lcm(*[len(value) for value in parameters.values()], *(channels if integer else []))
    parameters = {name: np.resize(value, period) for name, value in parameters.items()}
    weights = [_effective(operation, i) for i in range(len(operation.paths))]
    if operation.cell is None and operation.signal.largest is not None:
        weights = [np.round(w) for w in weights]
    if not integer:
        of_c = {name: value.astype("float32") for name, value in parameters.items()}
        return Numbers([w.astype("float32") for w in weights], of_c, period, np.ones(1))
    if "beta" not in parameters:  # no neurons
        return Numbers([w.astype("int32") for w in weights], {}, period, np.ones(1))
    units = _units(weights, parameters, period)
    quantised = [
        np.round(w / np.resize(units, w.shape[-1])).astype("int32" if path.connected().weights is None else "int8")
        for w, path in zip(weights, operation.paths, strict=True)
    ]
    of_c = {}
    for name, value in parameters.items():
        if name in ("beta", "synaptic_beta"):
            of_c[name] = np.round(value * 2**LEAK_BITS).astype("int32")
        else:
            of_c[name] = np.round(value / units * 2**POTENTIAL_BITS).astype("int32")
    from_input = from_signals = 0
    for w, path in zip(quantised, operation.paths, strict=True):
        largest = _largest_sum(w, path.connected().kernel)
        if path.signal.operation == INPUT:
            from_input += largest
        else:
            from_signals += largest * (path.signal.largest or 1)
    if from_signals * 2**POTENTIAL_BITS > _LARGEST:
        raise ValueError(f"The currents of {operation.name!r} may be too large for 32 bits: use weights='float32'")
    limit = min(2**15 - 1, _LARGEST // max(from_input, 1))
    if limit < 2**input_bits:
        raise ValueError(
            f"Inputs of {operation.name!r} of 1 would be cut, since it sums so many: use weights='float32'"
        )
    return Numbers(quantised, of_c, period, units / 2**POTENTIAL_BITS, limit)


def _parameters(operation: Operation) -> dict[str, Any]:
    """By their names in C; without neurons the bias alone."""
    cell, parameters = operation.cell, {"bias": operation.bias}
    if not isinstance(cell, LIFCell | ReadoutCell):
        return parameters
    parameters["beta"] = _numpy(cell.beta)
    if isinstance(cell, LIFCell):
        parameters |= {"threshold": _numpy(cell.threshold), "start": _numpy(cell.starting_potential)}
        if cell.synaptic_beta is not None:
            parameters["synaptic_beta"] = _numpy(cell.synaptic_beta)
    return parameters


def _numpy(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(in_numpy(value)), "float64")


def _reduced(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """One number, one for each channel or one for each neuron: the shortest that says the same."""
    whole = np.broadcast_to(np.asarray(value, "float64"), shape).reshape(-1, shape[-1])
    if (whole == whole[:1]).all():
        return whole[0, :1] if (whole[0] == whole[0, 0]).all() else whole[0]
    return whole.reshape(-1)


def _effective(operation: Operation, i: int) -> np.ndarray:
    """The weights of a connection on the whole numbers of its signal: (..., out_channels)."""
    path = operation.paths[i]
    connection = path.connected()
    if connection.weights is not None:
        return connection.weights * path.scale / operation.signal_unit
    return np.full(connection.out_channels, path.scale / operation.signal_unit)


def _units(weights: list[np.ndarray], parameters: dict[str, np.ndarray], period: int) -> np.ndarray:
    """Of each neuron of a period a 127th of the largest weight that leads to it; without weights, of the smallest gain.

    The next power of two where all weights are whole multiples of it: then nothing is rounded. Not less than with what
    threshold and bias fit 32 bits.
    """
    kernels = [np.resize(np.abs(w).max((0, 1, 2)), period) for w in weights if w.ndim > 1]
    largest = np.max(kernels, 0) if kernels else np.full(period, min(np.abs(w).min() for w in weights))
    units = np.where(largest > 0, largest, 1.0) / 127
    powers = np.exp2(np.ceil(np.log2(units) - 1e-5))  # a folded normalisation leaves rounding errors
    multiples = [w / np.resize(powers, w.shape[-1]) for w in weights]
    if all(np.abs(w - np.round(w)).max() < 1e-3 for w in multiples):
        units = powers
    bounds = [
        np.abs(parameters[name]) * 2.0 ** (POTENTIAL_BITS - 30)
        for name in ("bias", "threshold", "start")
        if name in parameters
    ]
    return np.max([units, *bounds], 0)


def _largest_sum(weights: np.ndarray, kernel: tuple[int, int]) -> int:
    """What inputs of 1 add to a current at most."""
    if weights.ndim == 1:
        return int(np.abs(weights).max()) * math.prod(kernel)
    return int(np.abs(weights.astype("int64")).sum((0, 1, 2)).max())
