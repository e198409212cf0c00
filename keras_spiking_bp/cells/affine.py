"""Which layers commute with a sum over time."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf


def is_affine(layer: keras.layers.Layer, input_shape: tuple[int, ...]) -> bool:
    """Whether a built layer is an affine map of one sample, `f(a) + f(b) = f(a + b) + f(0)`, tried on random inputs.

    A trial catches what names cannot: an activation deep inside a `keras.Sequential`, a user's own layer. Batch
    normalisation is refused by type, since it is affine only outside of training.
    """
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, *input_shape)).astype("float32")
    with tf.init_scope():
        trial = tf.cast(np.stack([a, b, a + b, 0 * a]), layer.compute_dtype)
        fa, fb, fab, f0 = np.asarray(tf.cast(layer(trial, training=False), tf.float32))
    largest = max(np.abs(values).max() for values in (fa, fb, fab, f0))
    # bfloat16 rounds to 0.4 %; an activation or a maximum misses by tens of per cent
    return bool(np.abs(fa + fb - fab - f0).max() <= 0.05 * largest)


def check_affine(parts: Iterable[tuple[keras.layers.Layer, tuple[int, ...]]], gradient: str) -> None:
    """Refuses layers, given with the shape of their input, that a rule on sums over time cannot take."""
    for layer, input_shape in parts:
        if not is_affine(layer, input_shape):
            raise ValueError(
                f"`gradient={gradient!r}` needs synapses that are affine: it applies them to sums over time. "
                f"The layer {layer.name!r} ({type(layer).__name__}) is not: it has an activation, a maximum or a "
                "normalisation inside. Use gradient='bptt', or another layer"
            )
