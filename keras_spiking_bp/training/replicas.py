"""Values of variables on each replica (device) of each worker: read and written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def gatherer(strategy: tf.distribute.Strategy, read: Callable[[], list[tf.Tensor]]) -> Callable[[], list[np.ndarray]]:
    """A function that stacks `read()` of each replica of each worker: (replicas, ...). All must call it."""

    @tf.function
    def gather():
        replica = tf.distribute.get_replica_context()
        return [replica.all_gather(tf.expand_dims(value, 0), axis=0) for value in read()]

    return lambda: [strategy.experimental_local_results(value)[0].numpy() for value in strategy.run(gather)]


def assign_to_replicas(model: keras.Model, pairs: Sequence[tuple[Any, np.ndarray]]) -> None:
    """Gives these variables, on each replica, their values (replicas, ...)."""

    @tf.function
    def assign():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for variable, values in pairs:
            variable.assign(tf.gather(values, replica))

    model.distribute_strategy.run(assign)


def sums_for_replicas(values: np.ndarray, replicas: int) -> np.ndarray:
    """The saved sums of each replica; if the number of replicas has changed, the first has all."""
    if len(values) == replicas:
        return values
    first, others = values.sum(0, keepdims=True), np.zeros((replicas - 1, *values.shape[1:]), values.dtype)
    return np.concatenate([first, others])
