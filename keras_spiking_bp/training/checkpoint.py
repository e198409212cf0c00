"""State of a training run in a folder: weights, optimizer, random streams, callbacks, metrics, position, curve."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.datasets.batches import Batches
from keras_spiking_bp.training.callback_state import as_saved, restore_state, state_of
from keras_spiking_bp.training.model_state import (
    build_metrics_and_optimizer,
    constant_learning_rate,
    described,
    metric_variables,
    saved_apart,
    scheduled_learning_rate,
    statistics_of_replicas,
)
from keras_spiking_bp.training.replicas import assign_to_replicas, gatherer, sums_for_replicas
from keras_spiking_bp.utils.validation import check_path

_NAME = re.compile(r"epoch-\d{4,}-batch-\d{6,}(-before|-unfinished)?")
#: The format of the checkpoint files. A checkpoint of another format is rejected.
FORMAT = 4


@dataclasses.dataclass
class Position:
    """Position in a training.

    Attributes:
        epoch: the current epoch, from 0.
        batch: batches of that epoch already seen.
        curve: the logs of each finished epoch, numbers or lists of numbers.
    """

    epoch: int = 0
    batch: int = 0
    curve: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class Checkpoint:
    """Saves a training run to a folder, and restores it.

    A checkpoint is written beside the last one and then replaces it: a process killed at any moment, or a machine that
    stops, leaves a complete checkpoint. With `writes=False` (all workers but the first) it is read-only.

    Args:
        folder: where; created if missing.
        batches: the training data. A checkpoint of other data is rejected.
        writes: whether this process saves.
    """

    def __init__(self, folder: str | os.PathLike, batches: Batches, writes: bool = True):
        if "://" in check_path("folder", folder):
            raise ValueError(f"`folder` must be in a file system of this machine. Received: folder={folder!r}")
        self.folder = Path(folder).expanduser().absolute()
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"`folder` must be a folder. Received: folder={str(folder)!r}, which is a file")
        self.writes = writes
        self._data = batches.description()
        if writes:
            self.folder.mkdir(parents=True, exist_ok=True)

    def save(self, model: keras.Model, position: Position, callbacks: Sequence[keras.callbacks.Callback] = ()) -> None:
        """Writes everything, then removes the old checkpoint. All workers must call it, each after `restore`.

        Raises:
            RuntimeError: if there is a later checkpoint: of another process that trains in this folder.
        """
        metrics, statistics = self._gather_metrics(), self._gather_statistics()
        if not self.writes:
            return
        name = f"epoch-{position.epoch:04d}-batch-{position.batch:06d}"
        finished = self.folder / name
        if later := [other for other in self._finished() if _place(other) > _place(finished)]:
            raise RuntimeError(
                f"Another process trains in `folder`, {str(self.folder)!r}: it has saved "
                f"{max(later, key=_place).name}, which {name} would replace. Give each training a folder of its own"
            )
        unfinished = self.folder / f"{name}-unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        model.save_weights(unfinished / "model.weights.h5")
        np.savez(unfinished / "metrics.npz", *(as_saved(values) for values in metrics))
        np.savez(unfinished / "statistics.npz", *(as_saved(values) for values in statistics))
        np.savez(unfinished / "variables.npz", *(as_saved(variable) for variable in saved_apart(model)))
        of_callbacks: dict[str, Any] = {**state_of(callbacks)}
        np.savez(unfinished / "callbacks.npz", **of_callbacks)
        rate = scheduled_learning_rate(model)
        state = {"format": FORMAT, "data": self._data, "learning_rate": self._learning_rate if rate is None else rate}
        state |= {**described(model), **dataclasses.asdict(position)}
        (unfinished / "position.json").write_text(json.dumps(state, indent=1))
        for path in (*unfinished.iterdir(), unfinished):
            _to_disk(path)
        if finished.exists():  # the same position saved again, as when a callback stops right after a save
            aside = finished.with_name(f"{name}-before")
            _remove(aside)
            finished.rename(aside)
        unfinished.rename(finished)
        _to_disk(self.folder)
        for old in self.folder.iterdir():  # one that a killed process has half removed, too
            if old.is_dir() and _NAME.fullmatch(old.name) and _place(old) < _place(finished):
                _remove(old)

    def restore(
        self,
        model: keras.Model,
        batch: tuple[tf.Tensor, tf.Tensor],
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> Position:
        """Restores model and callbacks from the last save, if any. Builds metrics and optimizer in any case.

        Args:
            model: built and compiled as the saved one; with any number of replicas.
            batch: any (inputs, labels), for the shapes of the metrics.
            callbacks: those of the training.

        Raises:
            ValueError: if the checkpoint has other data or another order of it, a model with other weights or another
                number of random streams, another optimizer, in the middle of an epoch other metrics, or another
                `FORMAT`; or if the model does not have one output.
        """
        build_metrics_and_optimizer(model, batch)
        self._learning_rate = given = constant_learning_rate(model)
        trained = int(model.optimizer.iterations.numpy()) > 0
        variables, statistics = metric_variables(model), statistics_of_replicas(model)
        self._gather_metrics = gatherer(model.distribute_strategy, lambda: [v.value for v in variables])
        self._gather_statistics = gatherer(model.distribute_strategy, lambda: [v.value for v in statistics])
        self._restored = max(self._finished(), key=_place, default=None)
        if self._restored is None:
            return Position()
        state = json.loads((self._restored / "position.json").read_text())
        if state.pop("format", 1) != FORMAT:
            raise ValueError(
                f"`folder` must have a checkpoint of this version of the library, or none. Received: "
                f"folder={str(self.folder)!r}, whose checkpoint another version wrote. Go on with that version, or "
                "give another folder"
            )
        data = state.pop("data")
        if data != self._data:
            raise ValueError(
                f"`batches` must have the data of the checkpoint in {str(self.folder)!r}. That one belongs to another "
                f"training: its data is {data}. Received: {self._data}. Give another folder, or remove that one"
            )
        for part, now in described(model).items():
            saved = state.pop(part)
            if part == "metrics" and not state["batch"]:
                continue  # each epoch starts with metrics at zero
            if saved != now:
                raise ValueError(
                    f"`model` must have the {part} of the checkpoint in {str(self.folder)!r}: {saved}. Received: "
                    f"{part} {now}. Give another folder, or remove that one"
                )
        with np.load(self._restored / "variables.npz") as values:
            streams, own = len(values.files), len(saved_apart(model))
        if streams != own:
            raise ValueError(
                f"`model` must have as many random streams (of encoders, and of layers with dropout) as the one of the "
                f"checkpoint in {str(self.folder)!r}, {streams}. Received: {own}. Give another folder, or remove that "
                "one"
            )
        self._learning_rate = saved_rate = state.pop("learning_rate", None)
        self.load(model, callbacks)
        restored, scheduled = constant_learning_rate(model), scheduled_learning_rate(model)
        if scheduled is not None and saved_rate is not None and not np.isclose(scheduled, saved_rate, atol=0.0):
            warnings.warn(
                f"The learning rate schedule is the one that the model was compiled with: {scheduled:g} at the last "
                f"step of the checkpoint in {str(self.folder)!r}, which was trained with {saved_rate:g} there. The "
                "result is that of neither schedule alone",
                UserWarning,
                stacklevel=3,
            )
        known = None not in (given, self._learning_rate, restored)
        if known and not trained and given not in (self._learning_rate, restored):
            warnings.warn(
                f"The learning rate is that of the checkpoint in {str(self.folder)!r}, {restored:g}, not the one that "
                f"the model was compiled with, {given:g}. To train with this one, load the model.weights.h5 of the "
                "checkpoint into a network that is not compiled yet, compile that, and train into another folder",
                UserWarning,
                stacklevel=3,
            )
        return Position(**state)

    def load(self, model: keras.Model, callbacks: Sequence[keras.callbacks.Callback] = ()) -> None:
        """Restores again, since callbacks change model and themselves as training or an epoch begins."""
        if self._restored is not None:
            model.load_weights(self._restored / "model.weights.h5")
            with np.load(self._restored / "statistics.npz") as values:
                stored = list(values.values())
            # if the number of replicas has changed, all have those of the first, which are in the weights file
            if stored and len(stored[0]) == model.distribute_strategy.num_replicas_in_sync:
                assign_to_replicas(model, list(zip(statistics_of_replicas(model), stored, strict=True)))
            with np.load(self._restored / "variables.npz") as values:
                for variable, value in zip(saved_apart(model), values.values(), strict=True):
                    variable.assign(value)
            with np.load(self._restored / "callbacks.npz") as state:
                restore_state(callbacks, dict(state))

    def restore_metrics(self, model: keras.Model) -> None:
        """Restores the metric sums in the middle of an epoch; `fit` starts each epoch at zero.

        Those of a metric that a batch has made NaN stay at zero, so that the rest of the epoch has a mean.
        """
        replicas = model.distribute_strategy.num_replicas_in_sync
        assert self._restored is not None, "restore() found no checkpoint"
        with np.load(self._restored / "metrics.npz") as file:
            stored = iter(file.values())
            of_metrics = [[(v, next(stored)) for v in metric.variables] for metric in model.metrics]
        pairs = [
            (v, sums_for_replicas(value.reshape((-1, *v.shape)), replicas))
            for own in of_metrics
            if all(np.isfinite(value).all() for _, value in own)
            for v, value in own
        ]
        assign_to_replicas(model, pairs)

    def _finished(self) -> list[Path]:
        found = (path.parent for path in self.folder.glob("epoch-*/position.json"))
        return [path for path in found if _NAME.fullmatch(path.name) and not path.name.endswith("-unfinished")]


def _place(checkpoint: Path) -> tuple[int, int, bool]:
    """The epoch and the batch of a checkpoint; one that is about to replace `-before` comes after it."""
    _, epoch, _, batch, *before = checkpoint.name.split("-")
    return int(epoch), int(batch), not before


def _to_disk(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk: a machine may stop without warning."""
    folder = path.is_dir()
    # Windows opens no folders, and some file systems cannot wait for one
    with contextlib.suppress(OSError) if folder else contextlib.nullcontext():
        file = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _remove(checkpoint: Path) -> None:
    """The file that marks it complete goes first: it is never found partial."""
    (checkpoint / "position.json").unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)
