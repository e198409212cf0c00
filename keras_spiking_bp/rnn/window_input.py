"""What `SpikingRNN` receives for a window, verified before the loop runs."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from keras_spiking_bp.utils.broadcasting import per_step
from keras_spiking_bp.utils.validation import check_mask, check_static_shape, finite


def shape_of_step(sequences_shape: Any) -> tuple[int, ...]:
    """The shape of one time step of sequences (B, T, ...), every entry known."""
    if any(isinstance(size, (str, dict, list, tuple)) for size in sequences_shape):  # a structure of shapes
        raise ValueError(
            f"`sequences` must be one tensor, (batch, time steps, ...). Received: several, {sequences_shape!r}"
        )
    if len(sequences_shape) < 3:
        raise ValueError(
            "`sequences` must have the shape (batch, time steps, ...) with at least 3 dimensions. "
            f"Received: {tuple(sequences_shape)}. An encoder such as PoissonEncoder(num_steps) adds the time steps"
        )
    return check_static_shape("shape of one time step", sequences_shape[2:])


def of_shape(sequences: tf.Tensor, step_shape: tuple[int, ...], unroll: bool, layer: str) -> tf.Tensor:
    """Sequences whose steps have the shape for which the layer was built; with `unroll`, of a known number of steps."""
    if unroll and sequences.shape[1] is None:
        raise ValueError(
            "`sequences` must have a known number of time steps with unroll=True. Received: sequences of shape "
            f"{tuple(sequences.shape)}"
        )
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
    if sequences.dtype.is_floating:  # a NaN would silently become the absence of spikes
        if mask is not None:
            sequences = tf.where(per_step(mask, sequences), sequences, tf.zeros_like(sequences))
        sequences = finite("sequences", sequences, layer)
    return sequences, mask
