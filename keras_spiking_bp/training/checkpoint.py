"""State of a training run in a folder: weights, optimizer, random streams, callbacks, metrics, position, curve."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.datasets.batches import Batches
from keras_spiking_bp.training.state import (
    Callbacks,
    as_saved,
    assign_to_replicas,
    build_metrics_and_optimizer,
    described,
    gatherer,
    learning_rate,
    metric_variables,
    restore_state,
    saved_apart,
    state_of,
    statistics_of_replicas,
)

_NAME = re.compile(r"epoch-\d{4,}-batch-\d{6,}(-unfinished)?")
#: The format of the checkpoint files. A checkpoint of another format is rejected.
FORMAT = 6


@dataclasses.dataclass
class Position:
    """Position in a training: the epoch, from 0, the batches of it already seen, and the logs of the epochs before."""

    epoch: int = 0
    batch: int = 0
    curve: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class Checkpoint:
    """Saves a training run to a folder, and restores it.

    A checkpoint is written beside the last one and then replaces it: a process killed at any moment, or a machine that
    stops, leaves a complete one.
    """

    def __init__(self, backup_dir: str | os.PathLike, data: Batches):
        if "://" in os.fspath(backup_dir):
            raise ValueError(f"`backup_dir` must be in a file system of this machine. Received: {backup_dir!r}")
        self.folder = Path(backup_dir).expanduser().absolute()
        self._data = data.description()
        self.folder.mkdir(parents=True, exist_ok=True)

    def save(self, model: keras.Model, position: Position, callbacks: Callbacks = ()) -> None:
        """Writes everything, then removes the old checkpoint; after `restore`."""
        arrays = {"metrics": self._gather_metrics(), "statistics": self._gather_statistics()}
        arrays["variables"] = saved_apart(model)
        name = f"epoch-{position.epoch:04d}-batch-{position.batch:06d}"
        finished = self.folder / name
        if later := [other for other in self._finished() if _place(other) > _place(finished)]:
            raise RuntimeError(
                f"Another process trains in `backup_dir`, {str(self.folder)!r}: it has saved "
                f"{max(later, key=_place).name}, which {name} would replace. Give each training a folder of its own"
            )
        if finished.exists():
            return
        unfinished = self.folder / f"{name}-unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        model.save_weights(unfinished / "model.weights.h5")
        for name, values in arrays.items():
            np.savez(unfinished / f"{name}.npz", *(as_saved(value) for value in values))
        np.savez(unfinished / "callbacks.npz", **state_of(callbacks))
        rate, scheduled = learning_rate(model)
        state = {"format": FORMAT, "data": self._data, "learning_rate": rate if scheduled else self._learning_rate}
        state |= {"model": described(model), **dataclasses.asdict(position)}
        (unfinished / "position.json").write_text(json.dumps(state, indent=1))
        for path in (*unfinished.iterdir(), unfinished):
            _to_disk(path)
        unfinished.rename(finished)
        _to_disk(self.folder)
        for old in self.folder.iterdir():  # one that a killed process has half removed, too
            if old.is_dir() and _NAME.fullmatch(old.name) and _place(old) < _place(finished):
                _remove(old)

    def restore(self, model: keras.Model, batch: tuple[tf.Tensor, tf.Tensor], callbacks: Callbacks = ()) -> Position:
        """Restores model and callbacks from the last save, if any; builds metrics and optimizer, for any `batch`."""
        build_metrics_and_optimizer(model, batch)
        self._learning_rate, scheduled = learning_rate(model)  # a constant one is saved as it was compiled
        variables, statistics = metric_variables(model), statistics_of_replicas(model)
        self._gather_metrics = gatherer(model.distribute_strategy, lambda: [v.value for v in variables])
        self._gather_statistics = gatherer(model.distribute_strategy, lambda: [v.value for v in statistics])
        self._restored = max(self._finished(), key=_place, default=None)
        if self._restored is None:
            return Position()
        state = json.loads((self._restored / "position.json").read_text())
        if state.pop("format", 1) != FORMAT:
            raise ValueError(
                "`backup_dir` must have a checkpoint of this version of the library, or none. Received: "
                f"{str(self.folder)!r}, which another version wrote"
            )
        saved, here = {"data": state.pop("data"), **state.pop("model")}, {"data": self._data, **described(model)}
        if not state["batch"]:
            saved["metrics"] = here["metrics"]  # each epoch starts with metrics at zero
        if differs := [part for part in here if saved[part] != here[part]]:
            raise ValueError(
                f"`backup_dir`, {str(self.folder)!r}, belongs to another training: its {differs[0]} is "
                f"{saved[differs[0]]}. Received: {here[differs[0]]}. Give another folder, or remove that one"
            )
        compiled, self._learning_rate = self._learning_rate, state.pop("learning_rate")
        self.load(model, callbacks)
        restored, _ = learning_rate(model)
        compiled = restored if scheduled else compiled
        expected = [self._learning_rate] if scheduled else [self._learning_rate, restored]
        known = [rate for rate in expected if rate is not None]
        if compiled is not None and known and not np.isclose(compiled, known, atol=0.0).any():
            message = (
                f"The model was compiled with another learning rate, {compiled:g} at this step, than the checkpoint in "
                f"{str(self.folder)!r}, {known[-1]:g}. A constant rate goes on as in the checkpoint, a schedule as "
                "compiled: the result is then that of neither. docs/howto/resume.md tells how to train with another one"
            )
            warnings.warn(message, stacklevel=3)
        return Position(**state)

    def load(self, model: keras.Model, callbacks: Callbacks = ()) -> None:
        """Restores again, since callbacks change model and themselves as training or an epoch begins."""
        if self._restored is not None:
            model.load_weights(self._restored / "model.weights.h5")
            with np.load(self._restored / "statistics.npz") as values:
                stored = list(values.values())
            if stored:
                assign_to_replicas(model, list(zip(statistics_of_replicas(model), stored, strict=True)))
            with np.load(self._restored / "variables.npz") as values:
                for variable, value in zip(saved_apart(model), values.values(), strict=True):
                    variable.assign(value)
            with np.load(self._restored / "callbacks.npz") as state:
                restore_state(callbacks, dict(state))

    def restore_metrics(self, model: keras.Model) -> None:
        """Restores the metric sums in the middle of an epoch; those that a batch has made NaN stay at zero."""
        assert self._restored is not None, "restore() found no checkpoint"
        with np.load(self._restored / "metrics.npz") as file:
            stored = iter(file.values())
            of_metrics = [[(v, next(stored)) for v in metric.variables] for metric in model.metrics]
        finite = [
            (v, value)
            for pairs in of_metrics
            if all(np.isfinite(value).all() for _, value in pairs)
            for v, value in pairs
        ]
        assign_to_replicas(model, finite)

    def _finished(self) -> list[Path]:
        folders = (path.parent for path in self.folder.glob("epoch-*/position.json"))
        return [path for path in folders if _NAME.fullmatch(path.name) and not path.name.endswith("-unfinished")]


def _place(checkpoint: Path) -> tuple[int, int]:
    """The epoch and the batch of a checkpoint."""
    _, epoch, _, batch, *_ = checkpoint.name.split("-")
    return int(epoch), int(batch)


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
