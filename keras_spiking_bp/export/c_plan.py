"""A network as the C code runs it: operations in order, each with the paths that lead to it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import keras
import numpy as np

from keras_spiking_bp.cells import Cell, LIFCell, MaxPoolingCell, ReadoutCell
from keras_spiking_bp.cells.composite import CELL_INPUT, JOINS
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.cells.walk import flat
from keras_spiking_bp.conversion.fold import without_normalization
from keras_spiking_bp.export.c_paths import (
    CONVOLUTIONS,
    INPUT,
    POOLING,
    Path,
    Shape,
    Signal,
    Value,
    padded,
    reshaped,
    weighted,
    windowed,
)  # fmt: skip
from keras_spiking_bp.utils.layer_kinds import (
    GLOBAL_MAX_POOLING,
    MAX_POOLING,
    PADDING,
    SAME,
    computes_otherwise,
    parts_of,
)
from keras_spiking_bp.utils.validation import named

_SHAPED = (keras.layers.Flatten, keras.layers.Reshape)
_KINDS = (keras.layers.Dense, *CONVOLUTIONS, *POOLING, *PADDING[:2], *_SHAPED, keras.layers.Rescaling, *SAME)


@dataclasses.dataclass(frozen=True)
class Operation:
    """Neurons or a maximum; without a cell, a sum that is passed on as it is. `signal` is what it gives."""

    name: str
    shape: Shape
    cell: NeuronCell | None
    paths: tuple[Path, ...]
    bias: np.ndarray | float
    signal: Signal

    @property
    def signal_unit(self) -> float:
        """What 1 in its sums stands for; neurons have sums in units of the network."""
        return self.signal.scale if self.cell is None else 1.0


class Plan:
    """The operations of a cell, batch normalisation folded into its weights.

    Args:
        cell: of the network.
        input_signal: of the input of a step.
        scale: factor on the input.
        integer: whether all signals between layers of neurons must be whole numbers.
    """

    def __init__(self, cell: Cell, input_signal: Signal, scale: float, integer: bool):
        self.operations: list[Operation] = []
        self._integer = integer
        nodes, values = flat(cell), []  # type: ignore[var-annotated]
        start = Value((Path(input_signal, input_signal.shape, scale),))
        for node in nodes:
            inputs = [start if i == CELL_INPUT else values[i] for i in node.inputs]
            if isinstance(node.cell, MaxPoolingCell):
                value = inputs[0]  # the cell pools
            elif isinstance(node.layer, MaxPoolingCell):
                value = self._maximum(node.layer, self._plain(inputs[0], node.name))
            elif isinstance(node.layer, NeuronCell):
                value = self._neurons(node.layer, _summed(inputs))
            elif isinstance(node.layer, JOINS):
                value = self._joined(node.layer, node.shape, inputs)
            else:
                value = inputs[0]
                for part in parts_of(without_normalization(node.layer)):
                    value = self._through(part, value)
            if node.delayed_to is not None:
                self._feed_back(values[node.delayed_to], value)
            values.append(value)
        last = max(i for i, node in enumerate(nodes) if node.delayed_to is None)
        self.output = self._plain(values[last], nodes[last].name).paths[0].signal.operation

    def _add(self, name: str, cell: NeuronCell | None, value: Value, shape: Shape, signal: Signal) -> Value:
        for path in value.paths:
            source = path.signal.operation
            if source != INPUT and isinstance(self.operations[source].cell, ReadoutCell):
                raise ValueError(f"The readout {self.operations[source].name!r} must be the last cell, for C")
        self.operations.append(Operation(name, shape, cell, value.paths, value.bias, signal))
        return Value((Path(signal, shape, signal.scale),))

    def _neurons(self, cell: NeuronCell, value: Value) -> Value:
        if type(cell).fire not in (LIFCell.fire, ReadoutCell.fire) or not cell.has_stock_current:
            raise ValueError(f"The cell {named(cell)} has a `fire` or `current` of its own, which C does not know")
        return self._add(cell.name, cell, value, value.shape, Signal(len(self.operations), value.shape))

    def _feed_back(self, neurons: Value, value: Value) -> None:
        """Adds a current of the next step."""
        i = neurons.paths[0].signal.operation
        if any(np.any(operation.bias) for operation in self.operations[i + 1 :]):
            raise ValueError(
                f"The recurrent synapse of {self.operations[i].name!r} must have a bias in its last layer only, for C: "
                "before the first step the others have not run"
            )
        old = self.operations[i]
        summed = _summed([Value(old.paths, old.bias), value])
        self.operations[i] = dataclasses.replace(old, paths=summed.paths, bias=summed.bias)

    def _maximum(self, cell: MaxPoolingCell, value: Value) -> Value:
        (path,) = value.paths
        if path.signal.operation == INPUT:
            raise ValueError(f"The cell {named(cell)} must not pool the input, for C")
        pools = (*MAX_POOLING[:2], *GLOBAL_MAX_POOLING[:2])
        stock = type(cell) is MaxPoolingCell and type(cell.synapse) in pools
        if not stock or cell.synapse.data_format != "channels_last":
            raise ValueError(f"The cell {named(cell)} must be a plain MaxPoolingCell with channels last, for C")
        window = windowed(cell.synapse, path)
        shape = cell.output_shape_of_step
        signal = dataclasses.replace(path.signal, operation=len(self.operations), shape=shape)
        return self._add(cell.name, cell, Value((window,)), shape, signal)

    def _plain(self, value: Value, name: str) -> Value:
        """The value as a signal, by an operation that passes it on if need be."""
        return value if value.is_plain else self._passed(value, name, value.shape)

    def _passed(self, value: Value, name: str, shape: Shape) -> Value:
        connections = [path.connected() for path in value.paths]
        whole = [path.signal.largest for path in value.paths if path.signal.largest is not None]
        unit = min(abs(path.scale) for path in value.paths)
        factors = [path.scale / unit for path in value.paths]
        if (
            len(whole) == len(connections) and all(c.weights is None for c in connections)
            and not np.any(value.bias) and np.allclose(factors, np.round(factors))
        ):  # fmt: skip
            areas = [math.prod(connection.kernel) for connection in connections]
            largest = sum(abs(round(f)) * area * n for f, area, n in zip(factors, areas, whole, strict=True))
            signal = Signal(len(self.operations), shape, unit, largest)
        elif self._integer:
            raise ValueError(
                f"What goes into {name!r} must be spikes or whole sums of them, for weights='int8': put neurons behind "
                "each layer with weights or a bias, and the first layer with weights right behind the input"
            )
        else:
            signal = Signal(len(self.operations), shape, 1.0, None)
        return self._add(name, None, value, shape, signal)

    def _joined(self, layer: keras.layers.Layer, shape: Shape, inputs: Sequence[Value]) -> Value:
        adds = isinstance(layer, keras.layers.Add)
        if any((value.shape != shape) if adds else (value.shape[:-1] != shape[:-1]) for value in inputs):
            raise ValueError(f"The layer {named(layer)} must join outputs of one size, for C")
        if adds:
            summed = _summed(inputs)
            return self._passed(summed, layer.name, shape) if all(value.is_plain for value in inputs) else summed
        if layer.axis not in (-1, len(shape)):
            raise ValueError(f"The layer {named(layer)} must join channels, the last axis, for C")
        paths, offset = [], 0
        for value in inputs:
            (path,) = self._plain(value, layer.name).paths
            part = dataclasses.replace(path.connected(), joined=shape[-1], offset=offset)
            paths.append(dataclasses.replace(path, connection=part))
            offset += value.shape[-1]
        return self._passed(Value(tuple(paths)), layer.name, shape)

    def _through(self, part: keras.layers.Layer, value: Value) -> Value:
        """What a Keras layer makes of a value."""
        why = "it is of another kind" if type(part) not in _KINDS else computes_otherwise(part, _KINDS)
        if getattr(part, "activation", keras.activations.linear) is not keras.activations.linear:
            why = "it has an activation"
        if getattr(part, "data_format", None) == "channels_first" or getattr(part, "quantization_mode", None):
            why = "it has channels first, or is quantised by Keras"
        if why:
            raise ValueError(
                f"The layer {named(part)} has no form in C: {why}. Allowed are linear "
                f"{', '.join(sorted({kind.__name__ for kind in _KINDS} - {kind.__name__ for kind in SAME}))}"
            )
        if isinstance(part, SAME):
            return value
        if isinstance(part, keras.layers.Rescaling):
            if np.ndim(part.scale) or np.any(part.offset):
                raise ValueError(f"The layer {named(part)} must have one number as its scale, and no offset, for C")
            paths = [dataclasses.replace(path, scale=path.scale * part.scale) for path in value.paths]
            return Value(tuple(paths), value.bias * part.scale)
        shape = tuple(part.compute_output_shape((None, *value.shape))[1:])
        if isinstance(part, _SHAPED):
            if any(np.any(path.padding) for path in value.paths):
                value = self._passed(value, part.name, value.shape)
            bias = np.broadcast_to(value.bias, value.shape).reshape(shape) if np.ndim(value.bias) else value.bias
            return Value(tuple(reshaped(path, shape) for path in value.paths), bias)
        if np.any(value.bias) or any(path.connection is not None for path in value.paths):
            value = self._passed(value, part.name, value.shape)
        if isinstance(part, PADDING):
            return Value(tuple(padded(part, path, shape) for path in value.paths))
        make = windowed if isinstance(part, POOLING) else weighted
        bias = np.broadcast_to(np.asarray(part.bias), shape) if getattr(part, "use_bias", False) else 0.0
        return Value(tuple(make(part, path) for path in value.paths), bias)


def _summed(values: Sequence[Value]) -> Value:
    return Value(tuple(path for value in values for path in value.paths), sum(value.bias for value in values))
