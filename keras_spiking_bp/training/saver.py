"""Callbacks that save and restore a training, and begin it in the middle of an epoch."""

import contextlib
import warnings
from typing import Any

import keras

from keras_spiking_bp.training.checkpoint import Checkpoint, Position
from keras_spiking_bp.training.state import Callbacks, as_saved
from keras_spiking_bp.utils.validation import is_finite


class Saver(keras.callbacks.Callback):
    """Tracks the position, saves, and restores; the last callback: what others change is saved, or undone on resume."""

    def __init__(
        self, checkpoint: Checkpoint, position: Position, steps_per_epoch: int, save_freq: Any, callbacks: Callbacks
    ):
        super().__init__()
        self._checkpoint = checkpoint
        self._position = position
        self._steps_per_epoch = steps_per_epoch
        self._save_freq = steps_per_epoch if save_freq == "epoch" else save_freq
        self._callbacks = callbacks
        self._diverged = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._checkpoint.load(self.model, self._callbacks)
        for callback in self._callbacks:  # Keras chooses only as an epoch ends whether less is better
            compares = isinstance(callback, keras.callbacks.ModelCheckpoint) and callback.best is not None
            if compares and callback.monitor_op is None:
                callback._set_monitor_op()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._last_save = self._position.batch
        if self._position.batch:
            self._checkpoint.load(self.model, self._callbacks)
            self._checkpoint.restore_metrics(self.model)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._position.batch = batch + 1
        due = self._position.batch - self._last_save >= self._save_freq
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
            message = (
                "The weights, or the variables of the optimizer, are no longer finite, and are not saved. The last "
                f"checkpoint stays in {str(self._checkpoint.folder)!r}"
            )
            warnings.warn(message, RuntimeWarning, stacklevel=2)


class CallbacksFromBatch(keras.callbacks.CallbackList):
    """Starts the first epoch of `model.fit` at its batch `first_batch`: counts from there, and ends it in time.

    A second call of `model.fit` for the later epochs would not work: each call ends training, which overwrites the
    weights with their averages (`use_ema`), and restarts it.
    """

    def __init__(self, callbacks: Callbacks, first_batch: int, steps: int, **kwargs: Any):
        super().__init__(callbacks, steps=steps, add_history=True, **kwargs)
        self._skipped = first_batch
        self._steps = steps
        self._epoch_ends = False

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_train_batch_begin(self._skipped + batch, logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        batch += self._skipped
        super().on_train_batch_end(batch, logs)
        if self._skipped and batch + 1 == self._steps and not self.model.stop_training:
            self._epoch_ends = self.model.stop_training = True  # Keras ends the epoch; the next hook undoes this

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._go_on()
        super().on_test_begin(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._go_on()
        self._skipped = 0
        super().on_epoch_end(epoch, logs)

    def _go_on(self) -> None:
        if self._epoch_ends:
            self._epoch_ends = self.model.stop_training = False


def _numbers(logs: dict[str, Any]) -> dict[str, Any]:
    """The logs that are numbers, or arrays of them, as a JSON file takes them; a callback may add others."""
    numbers = {}
    for name, value in logs.items():
        with contextlib.suppress(TypeError, ValueError):  # text, or lists of different lengths
            numbers[name] = as_saved(value).astype(float).tolist()
    return numbers


def has_finite_state(model: keras.Model) -> bool:
    """Whether weights and optimizer are finite; not the loss, which a batch whose step was skipped makes NaN."""
    return all(is_finite(variable) for variable in [*model.variables, *model.optimizer.variables])
