"""A Keras layer inside a cell: checked, built and called, for one step or for the sum over a window."""

from __future__ import annotations

import functools
import math
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.base import Cell
from keras_spiking_bp.cells.batch_norm import (
    check_normalizations,
    has_one_pass,
    in_keras_own,
    in_one_pass,
    learning_normalizations,
    normalizations,
)
from keras_spiking_bp.cells.block import ONE_STEP, Block, with_a_step
from keras_spiking_bp.cells.folding import shift_of
from keras_spiking_bp.gradients.totals import derived_later
from keras_spiking_bp.gradients.tracing import not_recorded
from keras_spiking_bp.kernels.mean import mean_of_steps
from keras_spiking_bp.utils.broadcasting import per_sample
from keras_spiking_bp.utils.layer_kinds import is_of_keras, parts_of
from keras_spiking_bp.utils.randomness import seeds_of
from keras_spiking_bp.utils.scopes import called, training_flag_restored
from keras_spiking_bp.utils.validation import check_layer, check_no_added_loss, check_static_shape


def check_synapse(name: str, layer: Any) -> Any:
    """A Keras layer that works in the loop over time; a penalty on its output would act on currents there."""
    check_layer(name, layer)
    for part in layer._flatten_layers():
        if isinstance(part, Cell):
            raise TypeError(
                f"`{name}` must be a layer without neurons: cells stand one after the other in SequentialCell, and "
                f"SpikingRNN is around all of them. Received: {name}={layer!r}, which has neurons in {part.name!r}"
            )
        if part.activity_regularizer is not None:
            raise ValueError(
                f"`{name}` must have no `activity_regularizer`: give it to the cell, where it acts on rates. "
                f"Received: {part.activity_regularizer!r} in layer {part.name!r}"
            )
    check_normalizations(name, layer)
    return layer


def build_synapse(synapse: keras.layers.Layer, input_shape: tuple) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Builds a synapse on the input of one step; returns its input and output shape without the batch."""
    per_step = check_static_shape("input_shape", input_shape[1:])
    _check_input(synapse, per_step)
    if is_of_keras(synapse):
        if not synapse.built:
            synapse.build((None, *per_step))
        output_shape = synapse.compute_output_shape((None, *per_step))
    else:  # called as in a model: it may have no `build` or `compute_output_shape` of its own
        output_shape = synapse(keras.KerasTensor((None, *per_step), synapse.compute_dtype)).shape
    return per_step, check_static_shape(f"output shape of {synapse.name}", output_shape[1:])


def build_part(layer: keras.layers.Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Builds a cell, or a layer beside cells, on the input of one step; returns the shape of its output, both without
    the batch.
    """
    if not isinstance(layer, Cell):
        return build_synapse(layer, (None, *shape))[1]
    if not layer.built:
        layer.build((None, *shape))
    known = tuple(getattr(layer, "input_shape_of_step", shape))
    if known != tuple(shape):
        raise ValueError(
            f"The cell {layer.name!r} has neurons for inputs of the shape {known}, for which it was built. Received: "
            f"inputs of the shape {tuple(shape)}. Make a new cell for them, and give it the weights: "
            "new.set_weights(old.get_weights())"
        )
    return tuple(layer.compute_output_shape((None, *shape)))[1:]


def _check_input(synapse: keras.layers.Layer, per_step: tuple[int, ...]) -> None:
    """Rejects images without an encoder, whose rows would be time steps."""
    first, rank = parts_of(synapse)[0], len(per_step) + 1
    spec = first.input_spec
    if not isinstance(spec, keras.layers.InputSpec):
        return
    least = spec.ndim or spec.min_ndim
    if least is not None and rank < least:
        raise ValueError(
            f"The layer {synapse.name!r} needs inputs of {least} dimensions, (batch, ...) without the time steps. "
            f"Received: a time step of the shape {('batch', *per_step)}. If this is a row of an image: `SpikingRNN` "
            "takes (batch, time steps, ...), and an encoder such as PoissonEncoder(num_steps) adds the time steps"
        )


def current_of(synapse: keras.layers.Layer, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    """The output of a synapse: computed in the synapse's own precision, returned in float32."""
    return tf.cast(output_of(synapse, inputs, ONE_STEP, training), tf.float32)


def output_of(
    layer: keras.layers.Layer, inputs: tf.Tensor, block: Block = ONE_STEP, training: bool = False
) -> tf.Tensor:
    """Calls a Keras layer inside a cell. Inputs may be of any dtype, such as the int8 spikes of an encoder.

    Batch normalisation is the same affine map at all steps of a block: that of `block.statistics`, or of its moving
    ones. With `training`, for sums over a window, it is in training mode, and layers that draw are in inference mode:
    one draw for all steps would not be the mean of a draw for each. Else they get the flag of the call, and outside of
    one that of inference, where some would be in training mode.
    """
    if id(layer) in block.known:
        return block.known[id(layer)]
    outputs = _through(parts_of(layer), inputs, block, training)
    check_no_added_loss(layer)
    return outputs


def _through(
    parts: list[keras.layers.Layer], inputs: tf.Tensor, block: Block = ONE_STEP, training: bool = False
) -> tf.Tensor:
    outputs = inputs
    for part in parts:
        outputs = tf.cast(outputs, part.compute_dtype)
        shift = None if training else shift_of(part)
        if block.statistics is not None and learning_normalizations(part):
            with training_flag_restored():
                outputs = block.statistics.normalize(part, outputs, block)
        elif shift is not None:
            outputs = tf.nn.bias_add(outputs, tf.cast(shift, outputs.dtype))
        elif has_one_pass(part, outputs, training):
            outputs = in_one_pass(part, outputs, training)
        elif normalizations(part):
            with training_flag_restored():
                outputs = in_keras_own(part, outputs, training)
        elif any(map(seeds_of, part._flatten_layers())):
            with training_flag_restored() as flag:
                outputs = part(outputs, training=flag and not training)
        else:
            outputs = part(outputs)
    return outputs


def sum_of_currents(current: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """`current + other`, as an addition that TensorFlow does not fuse with the convolution before it.

    oneDNN's kernel of the fused operation is not re-entrant, and a loop may run it for several time steps at once
    (docs/reports/fused_addition_race.py). Grappler fuses an addition that directly follows: hence the reshapes, which
    move no data.
    """
    batch_size, *shape = current.shape
    if list(other.shape[1:]) != shape:
        return current + other
    flat = (-1, math.prod(shape))
    total = tf.reshape(current, flat) + tf.reshape(other, flat)
    return tf.reshape(total, (-1 if batch_size is None else batch_size, *shape))


def input_dtype(layer: keras.layers.Layer) -> str:
    """The compute dtype of a layer; for a `Sequential`, that of its first part."""
    return parts_of(layer)[0].compute_dtype


def total_of(
    layer: keras.layers.Layer, total_inputs: tf.Tensor, num_steps: tf.Tensor, training: bool = False
) -> tf.Tensor:
    """The sum over `num_steps` steps (a scalar, or (B,)) of an affine layer's outputs, from the sum of its inputs.

    `num_steps * layer(total_inputs / num_steps)`: also right for a bias, which acts at each step.
    """
    mean = current_of(layer, total_inputs / per_sample(num_steps, total_inputs), training)
    return per_sample(num_steps, mean) * mean


def by_the_batch(
    layer: keras.layers.Layer,
    inputs: list[tf.Tensor],
    total_inputs: tf.Tensor,
    blocks: list[Block],
    num_steps: tf.Tensor,
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """The outputs of an affine layer for each block, without a derivative, and their sum over the window, with one.

    Batch normalisation that learns has the statistics of this sum. The parts before it are not applied to sums: what
    they give for a sum is the sum of what they give at the steps.
    """
    statistics, parts = blocks[0].statistics, parts_of(layer)
    first = next((i for i, part in enumerate(parts) if learning_normalizations(part)), len(parts))

    def at_steps(parts: list[keras.layers.Layer], values: list[tf.Tensor]) -> list[tf.Tensor]:
        once = blocks[0].repeated
        with not_recorded():
            outputs = [tf.stop_gradient(_through(parts, value)) for value in (values[:1] if once else values)]
        return outputs * len(blocks) if once else outputs

    outputs, mean = at_steps(parts[:first], inputs), total_inputs / per_sample(num_steps, total_inputs)
    if first:
        variables = [variable for part in parts[:first] for variable in part.variables]
        with training_flag_restored() as flag:
            again = functools.partial(called, functools.partial(_through, parts[:first], training=True), training=flag)
        dtype = parts[first].compute_dtype if first < len(parts) else "float32"
        mean = derived_later(again, mean, _mean(outputs, blocks, num_steps, dtype), variables)
    with statistics.taken(layer):
        mean = tf.cast(_through(parts[first:], mean, training=True), tf.float32)
    with statistics.in_place(layer):
        outputs = at_steps(parts[first:], outputs)
    check_no_added_loss(layer)
    return outputs, per_sample(num_steps, mean) * mean


def _mean(values: list[tf.Tensor], blocks: list[Block], num_steps: tf.Tensor, dtype: str) -> tf.Tensor:
    """The mean over the steps of a window of the values of each block, for a layer that computes in `dtype`; without a
    derivative.
    """
    if blocks[0].repeated:
        return values[0]
    if values[0].dtype == dtype and blocks[0].mask is None and all(block.is_one for block in blocks):
        mean = mean_of_steps(values)
        if mean is not None:
            return mean
    seen = with_a_step(blocks)
    total = tf.add_n([block.sum(block.masked(value)) for block, value in zip(seen, values, strict=True)])
    return total / per_sample(num_steps, total)
