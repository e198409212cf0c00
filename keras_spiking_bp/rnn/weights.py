"""What is the same at all steps of a window, prepared before the first: weights, currents of a constant input."""

from __future__ import annotations

import collections
import contextlib
import functools
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from keras_spiking_bp.cells.base import Cell
from keras_spiking_bp.cells.composite import CELL_INPUT
from keras_spiking_bp.cells.folding import fold, shifts_in_place
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.cells.synapse import output_of
from keras_spiking_bp.cells.walk import flat
from keras_spiking_bp.gradients.bptt import already_cast
from keras_spiking_bp.utils.layer_kinds import is_of_keras
from keras_spiking_bp.utils.randomness import seeds_of
from keras_spiking_bp.utils.scopes import VariableScope


@contextlib.contextmanager
def weights_prepared(cell: Cell) -> Iterator[None]:
    """Within it, batch normalisation is folded into the preceding weights, and layers of mixed precision find their
    weights cast: once, not once per block. Not for layers that change variables in a step.
    """
    if changes_variables(cell):  # what they assign within a stateless scope would be lost
        yield
        return
    folded, shifts = fold(cell.affine_parts())
    prepared = []
    for layer in cell._flatten_layers():
        for weight in layer._trainable_variables:
            dtype = _dtype_in_call(layer, weight)
            value = folded.get(id(weight), weight.value)
            if id(weight) in folded or dtype != weight.dtype:
                prepared.append((weight, tf.cast(value, dtype)))
    if not prepared:
        yield
        return
    scope = keras.StatelessScope([(v, v.value) for v in cell.variables])
    for update in prepared:
        scope.add_update(update)
    with scope, shifts_in_place(shifts):
        yield


def computed_once(cell: Cell, constant: tf.Tensor) -> dict[int, tf.Tensor]:
    """The outputs of the layers between an input that all steps have and the first neurons, by the id of the layer."""
    try:
        nodes = [] if changes_variables(cell) else flat(cell)
    except TypeError:  # a kind of cell of the user's
        return {}
    outputs: list[tf.Tensor | None] = []
    for node in nodes:
        values = [constant if i == CELL_INPUT else outputs[i] for i in node.inputs]
        known = len(values) == 1 and values[0] is not None and not isinstance(node.layer, NeuronCell)
        known = known and (node.cell is None or node.cell.has_stock_current)
        outputs.append(output_of(node.layer, values[0]) if known else None)
    uses = collections.Counter(id(node.layer) for node in nodes)
    found = zip(nodes, outputs, strict=True)
    return {id(node.layer): output for node, output in found if output is not None and uses[id(node.layer)] == 1}


def weights_cast_once(cell: Cell) -> Callable[[], contextlib.AbstractContextManager]:
    """A scope for each step of a loop that is differentiated, in which mixed-precision layers find their weights cast.

    The cast weights are those of all steps: a step's own would be kept for its derivative. Each step casts its share of
    a weight's gradient to float32 before they are summed. Not for layers that may change a weight in a step.
    """
    others = [part for part in cell._flatten_layers() if not isinstance(part, (Cell, keras.layers.BatchNormalization))]
    if any(part._non_trainable_variables for part in others):
        return contextlib.nullcontext
    casts = {
        id(weight): tf.stop_gradient(tf.cast(weight.value, dtype))
        for layer in cell._flatten_layers()
        for weight in layer._trainable_variables
        if (dtype := _dtype_in_call(layer, weight)) != weight.dtype
    }
    return functools.partial(_CastBefore, casts) if casts else contextlib.nullcontext


class _CastBefore(VariableScope):
    """Within it, weights have values that were cast before, by their ids."""

    def __init__(self, casts: dict[int, tf.Tensor]):
        super().__init__()
        self._casts = casts

    def get_current_value(self, variable: keras.Variable) -> tf.Tensor | None:
        value = super().get_current_value(variable)
        original = variable._value if value is None else value
        if id(variable) not in self._casts or original is None:  # it has none where Keras traces an unbuilt model
            return value
        return already_cast(tf.convert_to_tensor(original), self._casts[id(variable)])


def _dtype_in_call(layer: keras.layers.Layer, weight: keras.Variable) -> str:
    """The dtype in which a layer reads one of its weights."""
    return layer.compute_dtype if weight._autocast and layer.autocast else weight.dtype


def changes_variables(cell: Cell) -> bool:
    """Whether a step of this cell may change variables, other than the statistics of batch normalisation."""
    return any(map(_may_assign, cell._flatten_layers()))


def _may_assign(layer: keras.layers.Layer) -> bool:
    """Whether it is a layer of the user's with variables that a call may change, such as the state of a stream."""
    norm = keras.layers.BatchNormalization
    if isinstance(layer, (Cell, norm)) or is_of_keras(layer):
        return False
    inner = [part for part in layer._flatten_layers() if not isinstance(part, norm)]
    return any(seeds_of(part) or part._non_trainable_variables for part in inner)
