"""The loop over time, with the weights of all steps prepared before the first."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.base import Cell, State
from keras_spiking_bp.cells.folding import fold, shifts_in_place
from keras_spiking_bp.gradients.bptt import already_cast
from keras_spiking_bp.utils.broadcasting import per_sample
from keras_spiking_bp.utils.layer_kinds import is_of_keras
from keras_spiking_bp.utils.randomness import seeds_of
from keras_spiking_bp.utils.scopes import VariableScope


@dataclasses.dataclass
class Window:
    """Result of a run over a window of T time steps.

    Attributes:
        total: sum of the output spikes over the unmasked steps, or the final potential of a readout, (B, ...).
        outputs: output of each step, (B, T, ...), or None if not requested.
        total_input: sum of the inputs over the unmasked steps, (B, ...).
        states: states of all neurons after the last step.
        num_steps: unmasked steps of this window: a scalar, or (B,) with a mask; float32.
        traces: what the `Trace` returned in each step, (B, T, ...).
    """

    total: tf.Tensor
    outputs: tf.Tensor | None
    total_input: tf.Tensor
    states: list[State]
    num_steps: tf.Tensor
    traces: Sequence[tf.Tensor] = ()

    def without_gradient(self) -> Window:
        """The same values as constants."""

        def constant(value: Any) -> Any:
            return None if value is None else tf.nest.map_structure(tf.stop_gradient, value)

        return Window(**{field.name: constant(getattr(self, field.name)) for field in dataclasses.fields(self)})


@dataclasses.dataclass(frozen=True)
class Trace:
    """What to keep of each step.

    Attributes:
        of_step: from the inputs of a step, and the states before and after it, to a list of tensors (B, ...).
        dtypes: of these tensors.
    """

    of_step: Callable[[tf.Tensor, list[State], list[State]], list[tf.Tensor]]
    dtypes: Sequence[tf.DType]


def run_window(
    cell: Cell,
    sequences: tf.Tensor,
    states: list[State],
    mask: tf.Tensor | None,
    keep_outputs: bool,
    zero_output_for_mask: bool,
    unroll: bool,
    differentiable: bool,
    trace: Trace | None = None,
) -> Window:
    """Runs `cell` over the time steps of `sequences` (B, T, ...).

    At a masked step (mask (B, T) is False) states are kept, and the output is that of the previous step, or zero with
    `zero_output_for_mask`; before the first step the potential of the readout, or no spikes. `differentiable` reads the
    inputs so that a gradient through the loop is cheap; otherwise they are sliced in place, without a copy.
    """
    static_steps = sequences.shape[1]
    num_steps = static_steps if static_steps is not None else tf.shape(sequences)[1]
    batch_size = tf.shape(sequences)[0]

    if differentiable and sequences.dtype.is_floating and not unroll:
        array = tf.TensorArray(sequences.dtype, num_steps, clear_after_read=False)
        array = array.unstack(keras.ops.swapaxes(sequences, 0, 1))
        read = array.read
    elif unroll:
        read = tf.unstack(sequences, axis=1).__getitem__
    else:
        read = lambda t: tf.gather(sequences, t, axis=1)  # noqa: E731

    weights_of_step = weights_cast_once(cell) if differentiable else contextlib.nullcontext

    def step(inputs, states):
        with weights_of_step():
            return cell.step(inputs, states)

    def body(t, output, total_output, total_input, states, *arrays):
        inputs, before = read(t), states
        if mask is None:
            new_output, states = step(inputs, states)
            output = tf.cast(new_output, tf.float32)
            seen_output, seen_input = output, tf.cast(inputs, tf.float32)
        else:
            now = mask[:, t]
            new_output, new_states = step(inputs, states)
            new_output = tf.cast(new_output, tf.float32)
            seen_output = _where(now, new_output, tf.zeros_like(new_output))
            seen_input = tf.cast(inputs, tf.float32) * per_sample(tf.cast(now, tf.float32), inputs)
            output = seen_output if zero_output_for_mask else _where(now, new_output, output)
            states = [_held_back(now, new, old) for new, old in zip(new_states, states, strict=True)]
        if cell.emits == "spikes":
            total_output = total_output + seen_output
        total_input = total_input + tf.stop_gradient(seen_input)
        kept = [output] if keep_outputs else []
        kept += trace.of_step(inputs, before, states) if trace else []
        written = [array.write(t, value) for array, value in zip(arrays, kept, strict=True)]
        return (t + 1, output, total_output, total_input, states, *written)

    zeros = tf.zeros((batch_size, *cell.output_shape_of_step))
    loop_vars: tuple[Any, ...] = (
        tf.constant(0),
        zeros if cell.emits == "spikes" else states[-1]["membrane"],
        zeros,
        tf.zeros((batch_size, *sequences.shape[2:])),
        states,
    )
    if keep_outputs:
        loop_vars = (*loop_vars, tf.TensorArray(tf.float32, num_steps, element_shape=zeros.shape))
    loop_vars += tuple(tf.TensorArray(dtype, num_steps) for dtype in (trace.dtypes if trace else ()))
    with contextlib.nullcontext() if differentiable else weights_prepared(cell):
        if unroll:
            for t in range(num_steps):
                loop_vars = body(t, *loop_vars[1:])
        else:
            loop_vars = tf.while_loop(
                lambda t, *_: t < num_steps,
                body,
                loop_vars,
                # the first layers proceed while the last ones still work on the previous step
                parallel_iterations=1 if _may_add_inside(cell) else 4,
                maximum_iterations=num_steps,
            )
    _, _, total_output, total_input, states, *arrays = loop_vars
    over_time = [keras.ops.swapaxes(array.stack(), 0, 1) for array in arrays]
    return Window(
        total=total_output if cell.emits == "spikes" else states[-1]["membrane"],
        outputs=over_time.pop(0) if keep_outputs else None,
        total_input=total_input,
        states=states,
        num_steps=tf.cast(num_steps if mask is None else tf.math.count_nonzero(mask, axis=1), tf.float32),
        traces=over_time,
    )


def _may_add_inside(cell: Cell) -> bool:
    """Whether a synapse, a model or a layer of the user's, may add to the output of a convolution of its own.

    TensorFlow's fused operation for it must not run for several steps at once (`cells.synapse.sum_of_currents`).
    """
    layers = [layer for layer in cell._flatten_layers() if layer.weights and not isinstance(layer, Cell)]
    models = (layer for layer in layers if isinstance(layer, keras.Model) and not isinstance(layer, keras.Sequential))
    return any(models) or not all(map(is_of_keras, layers))


def _held_back(now: tf.Tensor, new: State, old: State) -> State:
    """The new state for samples that have this step, the old one for those whose step is masked.

    Except `slot`, which stands for what comes from later steps, and what all steps share.
    """
    return {
        name: new[name] if name in ("slot", "keep", "first_fed_back") else _where(now, new[name], old[name])
        for name in new
    }


def _where(now: tf.Tensor, new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
    return tf.where(per_sample(now, new), new, old)


@contextlib.contextmanager
def weights_prepared(cell: Cell) -> Iterator[None]:
    """Within it, batch normalisation is folded into the preceding weights, and mixed-precision layers find their
    weights already cast: once, not once per time step. Not for layers that change variables in a step.
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
