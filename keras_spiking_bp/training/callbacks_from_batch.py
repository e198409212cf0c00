"""`model.fit` from the middle of an epoch on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


class CallbacksFromBatch(keras.callbacks.CallbackList):
    """Starts the first epoch of `model.fit` at its batch `first_batch`: counts from there, and ends it in time.

    A second call of `model.fit` for the later epochs would not work: each call ends training, which overwrites the
    weights with their averages (`use_ema`), and restarts it.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], first_batch: int, steps: int, **kwargs: Any):
        super().__init__(callbacks, steps=steps, **kwargs)
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
