"""The whole state of a training in a folder: weights, optimizer, random streams, metrics, place in the data, curve."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
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
        """Writes everything, then removes the checkpoint before."""
        if not self.writes:
            return
        name = f"epoch-{position.epoch:04d}-batch-{position.batch:06d}"
        unfinished = self.folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        model.save_weights(unfinished / "model.weights.h5")
        np.savez(unfinished / "metrics.npz", *[v.numpy() for v in _metric_variables(model)])
        state = {"data": self._data, **dataclasses.asdict(position)}
        (unfinished / "position.json").write_text(json.dumps(state, indent=1))
        finished = self.folder / name
        shutil.rmtree(finished, ignore_errors=True)
        unfinished.rename(finished)
        for old in self._finished():
            if old != finished:
                shutil.rmtree(old)

    def restore(self, model: keras.Model, batch: tuple[tf.Tensor, tf.Tensor]) -> Position:
        """Brings the model to the last save, if there is one.

        Args:
            model: built and compiled as the one that was saved.
            batch: any (inputs, labels), for the shapes of the metrics.

        Raises:
            ValueError: if the checkpoint is of a training on other data, or of another order of it.
        """
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
        _build_metrics(model, batch)
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        model.load_weights(folder / "model.weights.h5")
        self._metrics = list(np.load(folder / "metrics.npz").values())
        return Position(**state)

    def restore_metrics(self, model: keras.Model) -> None:
        """Brings the sums of the metrics in the middle of an epoch back; `fit` starts each epoch at zero."""
        for variable, value in zip(_metric_variables(model), self._metrics, strict=True):
            variable.assign(value)

    def _finished(self) -> list[Path]:
        return sorted(path.parent for path in self.folder.glob("epoch-*/position.json"))


def _metric_variables(model: keras.Model) -> list[Any]:
    return [variable for metric in model.metrics for variable in metric.variables]


def _build_metrics(model: keras.Model, batch: tuple[tf.Tensor, tf.Tensor]) -> None:
    inputs, labels = batch
    outputs = tf.zeros((tf.shape(inputs)[0], *model.output_shape[1:]))
    model.compute_metrics(inputs, labels, outputs)
    model.reset_metrics()
