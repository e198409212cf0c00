"""Numbers of samples and of steps, shaped to broadcast against tensors that have more axes."""

import tensorflow as tf


def per_sample(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """One number per sample, shape (B,), reshaped to broadcast against `like` (B, ...); a scalar is unchanged."""
    if values.shape.rank == 0:
        return values
    return tf.reshape(values, [-1] + [1] * (like.shape.rank - 1))


def per_step(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """One number per sample and step, shape (B, T), reshaped to broadcast against `like` (B, T, ...)."""
    return tf.reshape(values, tf.concat([tf.shape(values), [1] * (like.shape.rank - 2)], 0))
