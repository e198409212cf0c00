"""The `training` flag that Keras passes on from call to call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf


@contextlib.contextmanager
def training_flag_restored() -> Iterator[bool]:
    """The current flag, False outside of a call. Afterwards layers that are called without `training` get it again.

    Keras passes a flag that one layer is called with on to all that are called after it, in the same outer call.
    """
    flag = _Flag(name="training_flag")  # a name that a graph may begin with
    flag(tf.zeros(()))
    try:
        yield bool(flag.passed_on)
    finally:
        flag(tf.zeros(()), training=flag.passed_on)


class _Flag(keras.layers.Layer):
    """Keeps the flag that Keras passes on."""

    passed_on: bool | None = None

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        self.passed_on = training
        return inputs
