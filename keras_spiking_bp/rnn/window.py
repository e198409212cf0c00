"""What `SpikingRNN` receives for a window, verified, and what it returns of it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from keras_spiking_bp.gradients.totals import spread_over_steps
from keras_spiking_bp.rnn.carried import Carried
from keras_spiking_bp.rnn.time_loop import Window
from keras_spiking_bp.utils.broadcasting import per_sample, per_step
from keras_spiking_bp.utils.validation import check_mask, finite


def shape_of_step(sequences_shape: Any) -> tuple[int, ...]:
    """The shape of one time step of sequences (B, T, ...)."""
    if len(sequences_shape) < 3:
        raise ValueError(
            "`sequences` must have the shape (batch, time steps, ...) with at least 3 dimensions. "
            f"Received: {tuple(sequences_shape)}. An encoder such as PoissonEncoder(num_steps) adds the time steps"
        )
    return tuple(sequences_shape[2:])


def of_shape(sequences: tf.Tensor, step_shape: tuple[int, ...], layer: str) -> tf.Tensor:
    """Sequences whose steps have the shape for which the layer was built."""
    if not sequences.shape[2:].is_compatible_with(step_shape):
        raise ValueError(
            f"`sequences` must have the step shape that {layer!r} was built for, {tuple(step_shape)}. "
            f"Received: sequences of shape {tuple(sequences.shape)}. (A tf.data.Dataset must "
            "be batched; one image or series is a batch of one, x[None])"
        )
    if not sequences.shape[2:].is_fully_defined():  # as of images decoded in tf.data
        sequences = tf.ensure_shape(sequences, (*sequences.shape[:2], *step_shape))
    return sequences


def without_masked(sequences: tf.Tensor, mask: Any, layer: str) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Finite sequences, zero at the steps to skip, and the mask (B, T) as the loop takes it."""
    if mask is not None:
        mask = tf.cast(mask, tf.bool)
        check_mask(mask, sequences)
        mask = tf.ensure_shape(mask, sequences.shape[:2])
        sequences = tf.where(per_step(mask, sequences), sequences, tf.zeros_like(sequences))
    if sequences.dtype.is_floating:  # a NaN would silently become the absence of spikes
        sequences = finite("sequences", sequences, layer)
    return sequences, mask


def at_the_end(window: Window, before: Carried) -> tf.Tensor:
    """The total over all steps so far, divided by their number, with the derivative that the window has."""
    steps = tf.maximum(before.steps + window.num_steps, 1.0)  # a sample may be fully masked
    total = window.total if before.spikes is None else window.total + before.spikes
    return total / per_sample(steps, total)


def at_each_step(
    window: Window, before: Carried, mask: tf.Tensor | None, zero_output_for_mask: bool, on_totals: bool
) -> tf.Tensor:
    """The spikes of each step, or the potential divided by the number of steps so far.

    `on_totals`: the derivative is that of `window.total`; else it is that of the outputs.
    """
    outputs, potentials = window.outputs, before.spikes is None
    weights = None
    if mask is None:
        steps = tf.range(1, tf.shape(outputs)[1] + 1)[None]
    else:
        steps = tf.cumsum(tf.cast(mask, tf.int32), axis=1)
        weights = tf.cast(mask if zero_output_for_mask else steps > 0, tf.float32)
    if potentials:
        of_window = tf.cast(steps, tf.float32)
        so_far = tf.maximum(before.steps[:, None] + of_window, 1.0)
        outputs = outputs / per_step(so_far, outputs)
        share = of_window / so_far  # of the steps so far, those in this window
        weights = share if weights is None else weights * share
    if not on_totals:
        return outputs
    return spread_over_steps(window.total, outputs, tf.maximum(window.num_steps, 1.0), weights)
