"""What `SpikingRNN` returns of a window: divided by the number of steps so far, at the end or at each step."""

from __future__ import annotations

import tensorflow as tf

from keras_spiking_bp.gradients.totals import spread_over_steps
from keras_spiking_bp.rnn.carried import Carried
from keras_spiking_bp.rnn.time_loop import Window
from keras_spiking_bp.utils.broadcasting import per_sample, per_step


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
