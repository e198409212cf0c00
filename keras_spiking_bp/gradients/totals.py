"""The derivatives of a pass over totals: once for a whole window."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_spiking_bp.utils.broadcasting import per_sample, per_step
from keras_spiking_bp.utils.scopes import Held


def spike_total(net: tf.Tensor, total: tf.Tensor, slope: tf.Tensor | float) -> tf.Tensor:
    """Output of a neuron, or of the network, over the window, with the accumulated derivative.

    Forward: `total` (simulated: the spike count, or the final potential of a readout).
    Backward: `d / d net = slope`; none to `total` and `slope`.
    """

    @tf.custom_gradient
    def with_slope(net, total, slope):
        def grad(*upstream):
            return upstream[0] * slope, None, None

        return tf.identity(total), grad

    return with_slope(net, total, tf.convert_to_tensor(slope, total.dtype))


def total_over_steps(sequences: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
    """The sum of the inputs over the steps (simulated, in `total`), with its derivative.

    Forward: `total`, shape (B, ...). Backward: each step of `sequences` (B, T, ...) gets the same gradient.
    """
    if not sequences.dtype.is_floating:
        return total

    @tf.custom_gradient
    def with_steps(sequences, total):
        def grad(*upstream):
            each = tf.cast(tf.expand_dims(upstream[0], 1), sequences.dtype)
            return tf.broadcast_to(each, tf.shape(sequences)), None

        return tf.identity(total), grad

    return with_steps(sequences, total)


def derived_later(
    layer: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor, outputs: tf.Tensor, variables: list[keras.Variable]
) -> tf.Tensor:
    """`outputs`, which are known to be those of `layer` for `inputs`, with its derivative; `variables` are its own.

    In a graph, the backward pass computes of `layer(inputs)` only what its derivative needs: nothing of a convolution.
    """
    variables = [variable for variable in variables if keras.backend.is_float_dtype(variable.dtype)]

    @tf.custom_gradient
    def known(inputs, outputs, *values):
        def grad(*upstream):
            learned = [value for variable, value in zip(variables, values, strict=True) if variable.trainable]
            with tf.GradientTape() as tape, Held(variables, list(values)):
                tape.watch([inputs, *learned])
                again = layer(inputs)
            of_inputs, *rest = tape.gradient(again, [inputs, *learned], tf.cast(upstream[0], again.dtype))
            of_learned = iter(rest)
            return of_inputs, None, *(next(of_learned) if v.trainable else None for v in variables)

        return tf.identity(outputs), grad

    return known(inputs, outputs, *[variable.value for variable in variables])


def spread_over_steps(
    total: tf.Tensor, outputs: tf.Tensor, num_steps: tf.Tensor, weights: tf.Tensor | None
) -> tf.Tensor:
    """The output at each step, with the accumulated derivative.

    Forward: `outputs` (B, T, ...), simulated. Backward: `total` (B, ...) gets the sum of the upstream gradient over the
    steps, each times its weight (`weights` (B, T), None for 1), divided by `num_steps`: its mean over time.
    """

    @tf.custom_gradient
    def with_mean(total, outputs, num_steps):
        def grad(*upstream):
            g = upstream[0]
            if weights is not None:
                g = g * per_step(weights, g)
            g = tf.reduce_sum(g, axis=1)
            return g / per_sample(num_steps, g), None, None

        return tf.identity(outputs), grad

    return with_mean(total, outputs, num_steps)
