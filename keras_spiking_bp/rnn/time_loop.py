"""The loop over time, with the weights of all steps prepared before the first."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.base import Cell
from keras_spiking_bp.cells.batch_norm import BatchStatistics
from keras_spiking_bp.cells.block import Block, State
from keras_spiking_bp.gradients.totals import total_over_steps
from keras_spiking_bp.rnn.weights import changes_variables, computed_once, weights_cast_once, weights_prepared
from keras_spiking_bp.utils.layer_kinds import is_of_keras

#: On a GPU a window of at most so many steps is one block.
_FEW_STEPS = 16
#: Else the most steps of a block, and the most neurons of a sample and layer, over these steps: what fits a cache.
_LARGEST_BLOCK, _NEURONS_OF_A_BLOCK = 8, 2**13


@dataclasses.dataclass
class Window:
    """Result of a run over a window of T time steps.

    Attributes:
        total: sum of the output spikes over the unmasked steps, or the final potential of a readout, (B, ...).
        outputs: output of each step, (B, T, ...), or None if not requested.
        total_input: sum of the inputs over the unmasked steps, (B, ...), or None if not requested.
        states: states of all neurons after the last step.
        num_steps: unmasked steps of this window: a scalar, or (B,) with a mask; float32.
        traces: what the `Trace` returned in each step, (B, T, ...).
    """

    total: tf.Tensor
    outputs: tf.Tensor | None
    total_input: tf.Tensor | None
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
    sum_inputs: bool = False,
    block_size: int | None = None,
    constant: tf.Tensor | None = None,
    statistics: BatchStatistics | None = None,
    trace: Trace | None = None,
) -> Window:
    """Runs `cell` over the time steps of `sequences` (B, T, ...), in blocks.

    At a masked step (mask (B, T) is False), where `sequences` are zero, states are kept, and the output is that of the
    previous step, or zero with `zero_output_for_mask`; before the first step the potential of the readout, or no
    spikes. `differentiable` reads the inputs so that a gradient through the loop is cheap; otherwise they are sliced in
    place, without a copy. `constant` is the input (B, ...) of each step, where all have the same. `statistics` are
    those of batch normalisation that learns: the whole window is then one block.
    """
    static_steps, spikes = sequences.shape[1], cell.emits == "spikes"
    num_steps = static_steps if static_steps is not None else tf.shape(sequences)[1]
    size = num_steps if statistics is not None else _block_size(cell, static_steps, block_size, one=trace is not None)
    counted, unpadded_steps = num_steps if mask is None else tf.math.count_nonzero(mask, axis=1), num_steps
    if static_steps is None and isinstance(size, int) and size > 1:  # masked steps, up to a whole block
        sequences, mask = _padded(sequences, mask, -num_steps % size)
        num_steps += -num_steps % size
    weights_of_step = weights_cast_once(cell) if differentiable else contextlib.nullcontext

    def one(inputs: tf.Tensor, block: Block, total: Any, total_input: Any, states: list[State]) -> tuple:
        with weights_of_step():
            output, after = cell.run(inputs, states, block)
        output = block.masked(tf.cast(output, tf.float32))
        kept = [output] if keep_outputs else []
        kept += trace.of_step(inputs, states, after) if trace else []
        total = total + block.for_value(repeated=False).sum(output) if spikes else total
        total_input = total_input + block.sum(inputs) if sum_inputs else total_input
        return (total, total_input, after), kept

    def segment(start: Any, count: Any, size: Any, carry: tuple) -> tuple[tuple, list[tf.Tensor]]:
        """`count` blocks of `size` steps: the carry after them, and what is kept, (count * size, B, ...)."""
        block = Block(size, repeated=constant is not None, statistics=statistics, known=outputs_known)
        read = _reader(sequences, start, count, size, differentiable and not unroll)
        if constant is not None:
            read = lambda _: constant  # noqa: E731

        def block_at(b: Any) -> Block:
            if mask is None:
                return block
            steps = start + b * size + tf.range(size)  # not a slice: XLA knows none whose two ends are computed
            return dataclasses.replace(block, mask=tf.gather(mask, steps, axis=1))

        if isinstance(count, int) and (count == 1 or unroll):
            each = []
            for b in range(count):
                carry, kept = one(read(b), block_at(b), *carry)
                each.append(kept)
            return carry, [_by_step(tf.stack(values), count, size) for values in zip(*each, strict=True)]

        def body(b: tf.Tensor, carry: tuple, arrays: list[tf.TensorArray]) -> tuple:
            carry, kept = one(read(b), block_at(b), *carry)
            return b + 1, carry, [array.write(b, value) for array, value in zip(arrays, kept, strict=True)]

        known = sequences.shape[0] is not None and isinstance(size, int)
        shape = (sequences.shape[0] * size if known else None, *cell.output_shape_of_step)
        arrays = [tf.TensorArray(tf.float32, count, element_shape=shape)] if keep_outputs else []
        arrays += [tf.TensorArray(dtype, count) for dtype in (trace.dtypes if trace else ())]
        _, carry, arrays = tf.while_loop(
            lambda b, *_: b < count,
            body,
            (tf.constant(0), carry, arrays),
            # the first layers proceed while the last ones still work on the previous block
            parallel_iterations=1 if _may_add_inside(cell) else 4,
            maximum_iterations=count,
        )
        return carry, [_by_step(array.stack(), count, size) for array in arrays]

    batch_size = tf.shape(sequences)[0]
    total = tf.zeros((batch_size, *cell.output_shape_of_step)) if spikes else ()
    total_input = tf.zeros((batch_size, *sequences.shape[2:])) if sum_inputs else ()
    carry: tuple = (total, total_input, states)
    segments = [(0, 1 if size is num_steps else num_steps // size, size)]
    if static_steps is not None and num_steps % size:
        segments.append((num_steps - num_steps % size, 1, num_steps % size))
    parts = []
    before = states
    with contextlib.nullcontext() if differentiable or statistics is not None else weights_prepared(cell):
        outputs_known = {} if constant is None or statistics is not None else computed_once(cell, constant)
        for start, count, steps in segments:
            carry, kept = segment(start, count, steps, carry)
            parts.append(kept)
    total, total_input, states = carry
    over_time = [keras.ops.swapaxes(tf.concat(values, 0), 0, 1) for values in zip(*parts, strict=True)]
    outputs = over_time.pop(0) if keep_outputs else None
    if outputs is not None and mask is not None and not zero_output_for_mask:
        outputs = _held(outputs, cell, before, mask)
    if outputs is not None and static_steps is None:
        outputs = outputs[:, :unpadded_steps]
    return Window(
        total=total if spikes else states[-1]["membrane"],
        outputs=outputs,
        total_input=total_input if sum_inputs else None,
        states=states,
        num_steps=tf.cast(counted, tf.float32),
        traces=over_time,
    )


def run_with_totals(
    cell: Cell,
    sequences: tf.Tensor,
    states: list[State],
    mask: tf.Tensor | None,
    statistics: BatchStatistics,
    keep_outputs: bool = False,
    zero_output_for_mask: bool = False,
    block_size: int | None = None,
    constant: tf.Tensor | None = None,
) -> tuple[Window, tf.Tensor]:
    """The window in training with batch normalisation that learns, layer by layer, and its total with a derivative."""
    num_steps = sequences.shape[1]
    if num_steps is None:
        starts, size = [0], tf.shape(sequences)[1]
    else:
        size = _block_size(cell, num_steps, block_size, one=False)
        starts = list(range(0, num_steps, size))
    inputs, blocks = [], []
    for start in starts:
        steps = size if num_steps is None else min(size, num_steps - start)
        of_block = None if mask is None else mask[:, start : start + steps]
        blocks.append(Block(steps, of_block, constant is not None, statistics))
        inputs.append(blocks[-1].fold(sequences[:, start : start + steps]) if constant is None else constant)
    total_input = tf.add_n([block.sum(x) for block, x in zip(blocks, inputs, strict=True)])
    total_input = total_over_steps(sequences, tf.stop_gradient(total_input))
    seen = tf.cast(tf.shape(sequences)[1] if mask is None else tf.math.count_nonzero(mask, axis=1), tf.float32)
    outputs, after, total = cell.run_with_totals(
        [[x] for x in inputs], [total_input], states, blocks, tf.maximum(seen, 1.0)
    )
    blocks = [block.for_value(repeated=False) for block in blocks]
    outputs = [block.masked(tf.cast(x, tf.float32)) for block, x in zip(blocks, outputs, strict=True)]
    if cell.emits == "spikes":
        value = tf.add_n([block.sum(x) for block, x in zip(blocks, outputs, strict=True)])
    else:
        value = after[-1]["membrane"]
    over_time = None
    if keep_outputs:
        over_time = tf.concat([block.by_step(x) for block, x in zip(blocks, outputs, strict=True)], 0)
        over_time = keras.ops.swapaxes(over_time, 0, 1)
        if mask is not None and not zero_output_for_mask:
            over_time = _held(over_time, cell, states, mask)
    return Window(value, over_time, total_input, after, seen), total


def _block_size(cell: Cell, num_steps: int | None, wanted: int | None, one: bool) -> int:
    """Steps in a block: as wanted, else as many as keep the largest layer small, in blocks of one size."""
    if one or num_steps == 0 or changes_variables(cell):
        return 1
    if wanted is not None:
        return wanted if num_steps is None else min(wanted, num_steps)
    if num_steps is None:
        return 1
    if num_steps <= _FEW_STEPS and tf.config.list_logical_devices("GPU"):
        return num_steps
    largest = max(math.prod(neuron.output_shape_of_step) for neuron in cell.neurons())
    most = max(1, min(num_steps, _LARGEST_BLOCK, _NEURONS_OF_A_BLOCK // largest))
    return max(size for size in range(1, most + 1) if num_steps % size == 0)


def _reader(
    sequences: tf.Tensor, start: Any, count: Any, size: Any, differentiable: bool
) -> Callable[[Any], tf.Tensor]:
    """From the index of a block to its inputs, folded."""
    if isinstance(count, int) and count == 1 and not (isinstance(size, int) and size == 1):
        return lambda _: Block(size).fold(sequences[:, start : start + size])
    if differentiable and sequences.dtype.is_floating:
        by_step = keras.ops.swapaxes(sequences[:, start : start + count * size], 0, 1)
        blocks = tf.reshape(by_step, [count, -1, *sequences.shape[2:]])
        array = tf.TensorArray(sequences.dtype, count, clear_after_read=False).unstack(blocks)
        return array.read
    samples, steps = (known or tf.shape(sequences)[i] for i, known in enumerate(sequences.shape[:2]))
    rows = tf.reshape(start + tf.range(samples) * steps + tf.range(size)[:, None], [-1])  # of the first block
    by_row = tf.reshape(sequences, [-1, *sequences.shape[2:]])
    return lambda b: tf.gather(by_row, rows + b * size)


def _padded(sequences: tf.Tensor, mask: tf.Tensor | None, more: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """With more steps, which are masked."""
    mask = tf.ones(tf.shape(sequences)[:2], tf.bool) if mask is None else mask
    no_more = [[0, 0]] * (sequences.shape.rank - 2)
    return tf.pad(sequences, [[0, 0], [0, more], *no_more]), tf.pad(mask, [[0, 0], [0, more]])


def _by_step(values: tf.Tensor, count: Any, size: Any) -> tf.Tensor:
    """From (count, size * B, ...) to (count * size, B, ...)."""
    if isinstance(size, int) and size == 1:
        return values
    return tf.reshape(values, [count * size, -1, *values.shape[2:]])


def _held(outputs: tf.Tensor, cell: Cell, before: list[State], mask: tf.Tensor) -> tf.Tensor:
    """The outputs (B, T, ...), at masked steps those of the unmasked step before; at first no spikes, or the potential
    before the window.
    """
    first = tf.zeros_like(outputs[:, 0]) if cell.emits == "spikes" else before[-1]["membrane"]
    steps = tf.where(mask, tf.range(1, tf.shape(mask)[1] + 1), 0)
    last = tf.scan(tf.maximum, tf.transpose(steps))
    return tf.gather(tf.concat([first[:, None], outputs], 1), tf.transpose(last), axis=1, batch_dims=1)


def _may_add_inside(cell: Cell) -> bool:
    """Whether a synapse, a model or a layer of the user's, may add to the output of a convolution of its own.

    TensorFlow's fused operation for it must not run for several steps at once (`cells.synapse.sum_of_currents`).
    """
    layers = [layer for layer in cell._flatten_layers() if layer.weights and not isinstance(layer, Cell)]
    models = (layer for layer in layers if isinstance(layer, keras.Model) and not isinstance(layer, keras.Sequential))
    return any(models) or not all(map(is_of_keras, layers))
