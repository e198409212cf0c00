"""What one inference of an ordinary network costs: of a Keras model, and of a spiking network as an ANN."""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_spiking_bp.analysis.synapse_counts import PASSES_ON, fan_out, has_synapses
from keras_spiking_bp.rnn.connections import Connection
from keras_spiking_bp.utils.layer_kinds import ONE_TO_ONE, PADDING, POOLING, parts_of
from keras_spiking_bp.utils.layers import calls


class OperationCount(NamedTuple):
    """Numbers of additions of a weight or a value, and of multiplications with an addition."""

    accumulates: int = 0
    macs: int = 0

    def plus(self, accumulates: int = 0, macs: int = 0) -> OperationCount:
        return OperationCount(self.accumulates + accumulates, self.macs + macs)

    def plus_synapses(self, layers: tuple[keras.layers.Layer, ...], shape: tuple[Any, ...]) -> OperationCount:
        """With one operation for each synapse of the last of `layers`: pooling, without weights, only adds."""
        synapses = round(fan_out(layers, shape).sum())
        return self.plus(macs=synapses) if layers[-1].weights else self.plus(accumulates=synapses)


def ann_operations(paths: Sequence[Connection]) -> list[OperationCount]:
    """Cost of each connection in one inference of the same network as an ANN, counted as by `operations_of_model`.

    What several paths share, such as the layers after an `Add`, is counted once, for the first.
    """
    costs: list[OperationCount] = []
    computed: set[tuple] = set()
    summands: dict[Any, set] = collections.defaultdict(set)

    def added(by: Any, where: Any, shape: tuple[int, ...]) -> int:
        """The additions of a further summand: the output of a layer, or of neurons."""
        new = by not in summands[where]
        summands[where].add(by)
        return math.prod(shape) if new and len(summands[where]) > 1 else 0

    for path in paths:
        cost, sums = OperationCount(), iter(path.sums)
        last: Any = path.source
        value: tuple = (path.source,)  # what identifies it: the source or the last sum, and the layers since
        shape = start = path.source_shape
        since: tuple[keras.layers.Layer, ...] = ()  # the layers since `start`
        for part in [part for layer in path.layers for part in parts_of(layer)]:
            if isinstance(part, keras.layers.Add):
                cost = cost.plus(accumulates=added(last, id(part), shape))
                value, since = (id(part),), ()
                shape = start = next(sums)
                last = id(part)
                continue
            last, value = id(part), (*value, id(part))
            if isinstance(part, keras.layers.Concatenate):
                continue
            since, shape = (*since, part), tuple(part.compute_output_shape((None, *shape))[1:])
            if has_synapses(part):
                if value not in computed:
                    cost = cost.plus_synapses(since, start)
                computed.add(value)
                start, since = shape, ()
        costs.append(cost.plus(accumulates=added(last, path.target, shape)))
    return costs


def operations_of_model(ann: keras.Model) -> OperationCount:
    """Operations of one inference of an ordinary Keras model.

    One MAC for each synapse of a dense layer or convolution (none for its padding, nor that of a `ZeroPadding` right
    before it), one accumulate for each element of a pooling window, and of each input of an `Add` but the first. Other
    layers without weights, such as activations, cost nothing, nor does normalisation by fixed statistics, which can be
    folded into the weights. A `GRU`, `LSTM` or `SimpleRNN` has a MAC for each weight at each step of its input, whose
    number must be fixed; the products of its gates are not counted.
    """
    cost = OperationCount()
    of_layer = {call.layer.name: call for call in calls(ann)}
    for call in of_layer.values():
        layer = call.layer
        if isinstance(layer, keras.Model):
            cost = cost.plus(*operations_of_model(layer))
        elif isinstance(layer, keras.layers.Add):
            shapes: Any = call.shapes
            cost = cost.plus(accumulates=(len(shapes) - 1) * math.prod(np.broadcast_shapes(*shapes)))
        elif isinstance(layer, _RECURRENT):
            weights = (layer.cell.kernel, layer.cell.recurrent_kernel)
            cost = cost.plus(macs=call.shapes[0][0] * sum(math.prod(weight.shape) for weight in weights))
        elif computes_sums(layer):
            before = of_layer.get(call.sources[0], call)
            padded = isinstance(before.layer, PADDING)
            layers, shape = ((before.layer, layer), before.shapes[0]) if padded else ((layer,), call.shapes[0])
            cost = cost.plus_synapses(layers, shape)
    return cost


def computes_sums(layer: keras.layers.Layer) -> bool:
    """Whether it has synapses: pooling, or weights that are more than one factor an element."""
    parts = [part for part in layer._flatten_layers() if len(part._flatten_layers()) == 1]
    return any(isinstance(part, POOLING) or (part.weights and not isinstance(part, _PER_ELEMENT)) for part in parts)


_RECURRENT = (keras.layers.GRU, keras.layers.LSTM, keras.layers.SimpleRNN)
_PER_ELEMENT = (
    keras.layers.ReLU, keras.layers.PReLU, keras.layers.Activation, keras.layers.Normalization, *ONE_TO_ONE, *PASSES_ON,
)  # fmt: skip
