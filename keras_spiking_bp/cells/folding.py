"""Batch normalisation in inference, folded into the weights before it."""

from __future__ import annotations

import collections
import contextlib
import contextvars
import itertools
from collections.abc import Iterator

import keras
import tensorflow as tf

from keras_spiking_bp.utils.layer_kinds import parts_of

#: For each batch normalisation whose factor is folded into the weights before it, by id: the shift left to add.
_shifts: contextvars.ContextVar[dict[int, tf.Tensor] | None] = contextvars.ContextVar("shifts", default=None)


def shift_of(layer: keras.layers.Layer) -> tf.Tensor | None:
    """The shift left to add of a batch normalisation folded into the weights before it; None if not folded."""
    return (_shifts.get() or {}).get(id(layer))


@contextlib.contextmanager
def shifts_in_place(shifts: dict[int, tf.Tensor]) -> Iterator[None]:
    """Within it `shift_of` finds these."""
    token = _shifts.set(shifts)
    try:
        yield
    finally:
        _shifts.reset(token)


def fold(synapses: list[keras.layers.Layer]) -> tuple[dict[int, tf.Tensor], dict[int, tf.Tensor]]:
    """Folds batch normalisation, in inference mode, into the weights directly before it.

        gamma * (W x + b - mean) / sqrt(variance + epsilon) + beta = (factor * W) x + factor * b + shift

    Args:
        synapses: all layers that a network applies, each as often as it is applied; weights used more than once are not
            folded.

    Returns:
        The new values of weights, by the id of the variable, and the shifts for `shifts_in_place`.
    """
    rows = [parts_of(synapse) for synapse in synapses]
    uses = collections.Counter(id(weight) for row in rows for part in row for weight in part.weights)
    weights: dict[int, tf.Tensor] = {}
    shifts: dict[int, tf.Tensor] = {}
    for row in rows:
        for before, norm in itertools.pairwise(row):
            once = all(uses[id(weight)] == 1 for weight in (*before.weights, *norm.weights))
            if not (once and _folds(before, norm)):
                continue
            factor, shifts[id(norm)] = factor_and_shift(norm)
            weights |= {id(weight): tf.cast(weight.value, tf.float32) * factor for weight in before.weights}
    return weights, shifts


def _folds(layer: keras.layers.Layer, norm: keras.layers.Layer) -> bool:
    return (
        type(norm) is keras.layers.BatchNormalization
        and type(layer) in (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
        and why_not_folded(layer, norm) is None
    )


def factor_and_shift(norm: keras.layers.BatchNormalization) -> tuple[tf.Tensor, tf.Tensor]:
    """Batch normalisation in inference as `factor * x + shift`, per channel, in float32."""
    factor = 1.0 / tf.sqrt(tf.cast(norm.moving_variance.value, tf.float32) + norm.epsilon)
    if norm.scale:
        factor *= tf.cast(norm.gamma.value, tf.float32)
    shift = -tf.cast(norm.moving_mean.value, tf.float32) * factor
    return factor, shift + tf.cast(norm.beta.value, tf.float32) if norm.center else shift


def why_not_folded(layer: keras.layers.Layer, norm: keras.layers.BatchNormalization) -> str | None:
    """Why a normalisation cannot be folded into kernel and bias of the layer before it; None if it can."""
    if getattr(layer, "quantization_mode", None) is not None or getattr(layer, "lora_enabled", False):
        return f"the layer {layer.name!r} before it is quantised or has LoRA weights"
    if layer.activation is not keras.activations.linear:
        return f"the layer {layer.name!r} before it has the activation {layer.activation!r}"
    if norm.axis not in (-1, norm.input_spec.ndim - 1):
        return f"it has axis={norm.axis}"
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return f"the layer {layer.name!r} before it has data_format={layer.data_format!r}"
    return None
