"""The whole state of a training in a folder: weights, optimizer, random streams, metrics, place in the data, curve."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.datasets.batches import Batches


@dataclasses.dataclass
class Position:
    """Where a training stands.

    Attributes:
        epoch: the epoch that is being trained, from 0.
        batch: batches of that epoch already seen.
        curve: the logs of each finished epoch.
    """

    epoch: int = 0
    batch: int = 0
    curve: list[dict[str, float]] = dataclasses.field(default_factory=list)


class Checkpoint:
    """Saves a training to a folder, and brings it back.

    A save is written beside the last one and then takes its place: a process killed at any moment leaves a whole
    checkpoint. With `writes=False` (all workers but the first) it is read only.

    Args:
        folder: where; made if it is not there.
        batches: the data of the training. A checkpoint of other data is refused.
        writes: whether this process saves.
    """

    def __init__(self, folder: str | os.PathLike, batches: Batches, writes: bool = True):
        self.folder = Path(folder)
        self.writes = writes
        self._data = batches.description()
        if writes:
            self.folder.mkdir(parents=True, exist_ok=True)

    def save(self, model: keras.Model, position: Position) -> None:
        """Writes everything, then removes the checkpoint before. All workers must call it, each after `restore`."""
        metrics = self._gather_metrics()
        if not self.writes:
            return
        name = f"epoch-{position.epoch:04d}-batch-{position.batch:06d}"
        unfinished = self.folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        model.save_weights(unfinished / "model.weights.h5")
        np.savez(unfinished / "metrics.npz", *metrics)
        state = {"data": self._data, **dataclasses.asdict(position)}
        (unfinished / "position.json").write_text(json.dumps(state, indent=1))
        finished = self.folder / name
        if finished.exists():  # the same place saved again, as when a callback stops right behind a save
            aside = finished.with_name(f"{name}-before")
            _remove(aside)
            finished.rename(aside)
        unfinished.rename(finished)
        for old in self._finished():
            if old != finished:
                _remove(old)

    def restore(self, model: keras.Model, batch: tuple[tf.Tensor, tf.Tensor]) -> Position:
        """Brings the model to the last save, if there is one. Builds its metrics and its optimizer in any case.

        Args:
            model: built and compiled as the one that was saved; of any number of replicas.
            batch: any (inputs, labels), for the shapes of the metrics.

        Raises:
            ValueError: if the checkpoint is of a training on other data, or of another order of it.
        """
        _build(model, batch)
        variables = _metric_variables(model)
        self._gather_metrics = gatherer(model.distribute_strategy, lambda: [v.value for v in variables])
        finished = self._finished()
        if not finished:
            return Position()
        folder = finished[-1]
        state = json.loads((folder / "position.json").read_text())
        data = state.pop("data")
        if data != self._data:
            raise ValueError(
                f"The checkpoint in {str(self.folder)!r} belongs to another training: its data is {data}, this one's "
                f"{self._data}. Give another folder, or remove that one"
            )
        model.load_weights(folder / "model.weights.h5")
        self._metrics = list(np.load(folder / "metrics.npz").values())
        return Position(**state)

    def restore_metrics(self, model: keras.Model) -> None:
        """Brings the sums of the metrics in the middle of an epoch back; `fit` starts each epoch at zero."""
        strategy = model.distribute_strategy
        variables = _metric_variables(model)
        pairs = zip(variables, self._metrics, strict=True)
        saved = [_for_replicas(value.reshape((-1, *v.shape)), strategy.num_replicas_in_sync) for v, value in pairs]

        def assign():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            for variable, values in zip(variables, saved, strict=True):
                variable.assign(tf.gather(values, replica))

        strategy.run(tf.function(assign))

    def _finished(self) -> list[Path]:
        return sorted(path.parent for path in self.folder.glob("epoch-*/position.json"))


def _remove(checkpoint: Path) -> None:
    """First what makes it count as whole: it is never found half taken apart."""
    (checkpoint / "position.json").unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def gatherer(strategy: tf.distribute.Strategy, read: Callable[[], list[tf.Tensor]]) -> Callable[[], list[np.ndarray]]:
    """A function that stacks what `read` gives in each replica of each worker: (replicas, ...). All must call it."""

    @tf.function
    def gather():
        replica = tf.distribute.get_replica_context()
        return [replica.all_gather(tf.expand_dims(value, 0), axis=0) for value in read()]

    return lambda: [strategy.experimental_local_results(value)[0].numpy() for value in strategy.run(gather)]


def _for_replicas(values: np.ndarray, replicas: int) -> np.ndarray:
    """The sums of as many replicas as saved them; if there are more or less of them now, the first has all."""
    if len(values) == replicas:
        return values
    first, others = values.sum(0, keepdims=True), np.zeros((replicas - 1, *values.shape[1:]), values.dtype)
    return np.concatenate([first, others])


def _metric_variables(model: keras.Model) -> list[Any]:
    return [variable for metric in model.metrics for variable in metric.variables]


def _build(model: keras.Model, batch: tuple[tf.Tensor, tf.Tensor]) -> None:
    """Makes the variables of metrics and optimizer, which Keras would make in the first step."""
    inputs, labels = batch
    outputs = tf.zeros((tf.shape(inputs)[0], *model.output_shape[1:]))
    # stateless: the variables are made, not updated, which is forbidden outside a replica
    with model.distribute_strategy.scope(), keras.StatelessScope():
        model.compute_metrics(inputs, labels, outputs)
    with model.distribute_strategy.scope():
        if model.distribute_strategy.num_replicas_in_sync > 1:
            _let_replicas_add_for_themselves(_metric_variables(model))
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)


def _let_replicas_add_for_themselves(variables: list[Any]) -> None:
    """Keras before 3.10 keeps the sums of metrics equal in all replicas, and counts what was there once for each."""
    on_read = tf.VariableSynchronization.ON_READ
    for variable in variables:
        if variable.value.synchronization != on_read:
            zeros = tf.zeros(variable.shape, variable.dtype)
            aggregation = tf.VariableAggregation.SUM
            variable._value = tf.Variable(zeros, trainable=False, synchronization=on_read, aggregation=aggregation)
