"""What the TensorFlow cases share: fixed input, and a compiled model's own training step."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks import networks
from benchmarks.networks import Network
from benchmarks.registry import INFER_SPIKES, TRAIN


def spikes(network: Network, num_steps: int, batch: int) -> tf.Tensor:
    """Input spikes of all steps, (B, T, H, W, C) int8, for the cases that have no encoder."""
    rng = np.random.default_rng(3)
    x = networks.images(network, batch)[:, None]
    fired = rng.uniform(0, 1, (batch, num_steps, *network.input_shape)) < np.abs(x)
    return tf.constant((np.sign(x) * fired).astype("int8"))


def step_of(model: keras.Model, network: Network, num_steps: int, batch: int, mode: str) -> Callable[[], float]:
    """A training step as `fit` runs it, or a forward pass in a `tf.function`, on a fixed batch."""
    if mode == TRAIN:
        pair = (networks.images(network, batch), networks.one_hot(batch))
        batches = iter(tf.data.Dataset.from_tensors(pair).repeat())
        model.make_train_function()
        return lambda: float(model.train_function(batches)["loss"])
    given = mode == INFER_SPIKES
    inputs = spikes(network, num_steps, batch) if given else tf.constant(networks.images(network, batch))
    forward = tf.function(lambda x: model(x, training=False))
    return lambda: float(np.sum(forward(inputs)))
