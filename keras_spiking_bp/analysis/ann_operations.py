"""What one inference of a spiking network costs as an ANN."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Sequence

import keras

from keras_spiking_bp.analysis.model_operations import OperationCount, is_linear, keeps_zeros
from keras_spiking_bp.analysis.synapse_counts import fan_out, has_synapses
from keras_spiking_bp.cells.composite import JOINS
from keras_spiking_bp.rnn.connections import Connection
from keras_spiking_bp.utils.layer_kinds import ONE_TO_ONE, SAME, parts_of


def ann_operations(paths: Sequence[Connection]) -> list[OperationCount]:
    """Cost of each connection in one inference of the same network as an ANN.

    As `operations_of_model` counts: one MAC for each synapse with a weight, one accumulate for each element of a
    pooling window, and for each element of a summand that is not itself a sum of weights, such as an identity shortcut.
    An identity that is no summand counts as one accumulate for each element. What several paths share, such as the
    pooling before a residual block or the layers after an `Add`, is counted once, for the first.
    """
    values = [_values(path) for path in paths]
    takers, summands = _uses(paths, values)
    found: list[OperationCount] = []
    counted: set[_Place] = set()
    added: set[tuple[_Place, _Place]] = set()  # summands, each with the sum
    for path, of in zip(paths, values, strict=True):
        cost = OperationCount()
        state = _State(path.source_shape)
        sums = iter(path.sums)
        ends_in_sum = len(summands[path.target]) > 1
        for layer, before, after in zip([*path.layers, None], of, [*of[1:], (path.target,)], strict=True):
            if isinstance(layer, keras.layers.Add) or (layer is None and ends_in_sum):
                if (before, after) not in added and not (state.is_sum and len(takers[before]) == 1):
                    cost = cost.plus(accumulates=math.prod(state.shape))
                added.add((before, after))
                state = _State(next(sums, state.shape), is_identity=False)
                continue
            for part in () if layer is None else parts_of(layer):
                synapses = 0 if after in counted else state.synapses(part)
                cost = cost.plus_synapses(synapses, part)
                state = state.behind(part)
            if len(takers[before]) > 1 and isinstance(layer, (*ONE_TO_ONE, *SAME)):
                state = dataclasses.replace(state, is_sum=False)  # what others need too is no partial sum
            counted.add(after)
        if state.is_identity:
            cost = cost.plus(accumulates=math.prod(state.shape))
        found.append(cost)
    return found


#: What identifies a value on a path: the source, or the last `Add`, and the layers since.
_Place = tuple[str | int, ...]


def _values(path: Connection) -> list[_Place]:
    """The values on a path: at its source and after each of its layers."""
    found: list[_Place] = [(path.source,)]
    for layer in path.layers:
        found.append((id(layer),) if isinstance(layer, keras.layers.Add) else (*found[-1], id(layer)))
    return found


def _uses(
    paths: Sequence[Connection], values: list[list[_Place]]
) -> tuple[dict[_Place, set[_Place]], dict[str, set[_Place]]]:
    """What takes each value, and the summands of the current of each target."""
    takers: dict[_Place, set[_Place]] = collections.defaultdict(set)
    summands: dict[str, set[_Place]] = collections.defaultdict(set)
    concatenations = {
        id(layer) for path in paths for layer in path.layers if isinstance(layer, keras.layers.Concatenate)
    }
    for path, of in zip(paths, values, strict=True):
        last = max((i for i, value in enumerate(of[-1]) if value in concatenations), default=0)
        summands[path.target].add(of[-1][last:])
        for before, after in zip(of, [*of[1:], (path.target,)], strict=True):
            takers[before].add(after)
    return takers, summands


@dataclasses.dataclass(frozen=True)
class _State:
    """What is known of a value on a path.

    Attributes:
        origin: shape of the last value before it that synapses, an `Add` or a normalisation computed, or of the source.
        since: the layers since that one.
        is_sum: whether it is a sum of weights, or over a pooling window.
        is_identity: whether it is the output of the source.
    """

    origin: tuple[int, ...]
    since: tuple[keras.layers.Layer, ...] = ()
    is_sum: bool = False
    is_identity: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.origin
        for layer in self.since:
            if not isinstance(layer, JOINS):
                shape = tuple(layer.compute_output_shape((None, *shape)))[1:]
        return shape

    def synapses(self, part: keras.layers.Layer) -> int:
        """Those that the whole value reaches in `part`."""
        return round(fan_out((*self.since, part), self.origin).sum()) if has_synapses(part) else 0

    def behind(self, part: keras.layers.Layer) -> _State:
        """The state of the output of `part`."""
        passed = dataclasses.replace(self, since=(*self.since, part))
        if has_synapses(part):
            return _State(passed.shape, is_sum=is_linear(part), is_identity=False)
        still_sum = self.is_sum and isinstance(part, (*ONE_TO_ONE, *SAME))
        if isinstance(part, ONE_TO_ONE) and not keeps_zeros(part):
            return dataclasses.replace(self, origin=passed.shape, since=(), is_sum=still_sum)
        return dataclasses.replace(passed, is_sum=still_sum)
