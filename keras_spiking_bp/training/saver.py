"""The callback that saves and restores a training."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.training.callback_state import choose_directions
from keras_spiking_bp.training.checkpoint import Checkpoint, Position
from keras_spiking_bp.utils.validation import is_finite


class Saver(keras.callbacks.Callback):
    """Tracks the position, saves, and restores.

    The last of the callbacks: what others change after a batch or an epoch is saved, and what they change as a resumed
    run begins (they did so before the save) is undone.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        position: Position,
        steps_per_epoch: int,
        save_every: int | None,
        callbacks: Sequence[keras.callbacks.Callback],
    ):
        super().__init__()
        self._checkpoint = checkpoint
        self._position = position
        self._steps_per_epoch = steps_per_epoch
        self._save_every = save_every
        self._callbacks = callbacks
        self._diverged = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._checkpoint.load(self.model, self._callbacks)
        choose_directions(self._callbacks)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._last_save = self._position.batch
        if self._position.batch:
            self._checkpoint.load(self.model, self._callbacks)
            self._checkpoint.restore_metrics(self.model)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._position.batch = batch + 1
        due = self._save_every and self._position.batch - self._last_save >= self._save_every
        if (due or self.model.stop_training) and self._position.batch < self._steps_per_epoch:
            self._last_save = self._position.batch
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._position.batch == self._steps_per_epoch:  # else a callback stopped it in the middle: saved there
            self._position.epoch, self._position.batch = epoch + 1, 0
            self._position.curve.append(_numbers(logs or {}))
            self._save()

    def _save(self) -> None:
        """Saves, unless training has diverged: that must not replace a good checkpoint."""
        if has_finite_state(self.model):
            self._checkpoint.save(self.model, self._position, self._callbacks)
        elif not self._diverged:
            self._diverged = True
            warnings.warn(
                "The weights, or the variables of the optimizer, are no longer finite, and are not saved. The last "
                f"checkpoint stays in {str(self._checkpoint.folder)!r}. It holds the learning rate too: to go on with "
                "a smaller one, load its model.weights.h5 into a network that is not compiled yet, compile that, and "
                "train into another folder",
                RuntimeWarning,
                stacklevel=2,
            )


def _numbers(logs: dict[str, Any]) -> dict[str, Any]:
    """The logs that are numbers, or arrays of them, as a JSON file takes them; a callback may add others."""
    found = {}
    for name, value in logs.items():
        with contextlib.suppress(TypeError, ValueError):  # such as lists of different lengths
            array = np.asarray(value.numpy() if isinstance(value, tf.Tensor) else value)  # alone a bfloat16 fails
            if array.dtype.kind in "biuf" or array.dtype.name == "bfloat16":
                found[name] = array.astype(float).tolist()
    return found


def has_finite_state(model: keras.Model) -> bool:
    """Whether the weights and the variables of the optimizer are finite.

    Not the loss: it is a mean over the epoch, and one bad batch, whose step a `LossScaleOptimizer` skips, makes it NaN.
    """
    return all(is_finite(variable) for variable in [*model.variables, *model.optimizer.variables])
