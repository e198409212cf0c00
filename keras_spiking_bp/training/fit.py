"""`fit` that goes on exactly where an interrupted one stopped, from the middle of an epoch too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.datasets.batches import Batches
from keras_spiking_bp.training.checkpoint import Checkpoint, Position
from keras_spiking_bp.validation import check_positive_int


def fit(
    model: keras.Model,
    batches: Batches,
    epochs: int,
    folder: str | os.PathLike,
    save_every: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    **kwargs: Any,
) -> list[dict[str, float]]:
    """`model.fit` with exact resume: the same call, made again after a kill, goes on as if nothing had happened.

    Restored are the weights, the optimizer with its step (and so the learning rate), the random streams of encoders and
    dropout, the place in the data and the sums of the metrics. Not restored: what callbacks and layers of other
    libraries keep for themselves.

    Several devices of one machine: build and compile the model in the `scope()` of a `tf.distribute.MirroredStrategy`.
    Each device takes its share of a batch, with dropout and Poisson spikes of its own; without these the result is that
    of one device, but for rounding (and for `FiringRate`, which takes the rates of the share). Several machines:
    `fit_multi_worker`.

    Args:
        model: built and compiled. Give its layers a `seed` for a repeatable run.
        batches: the training data; its batch size a multiple of the number of devices.
        epochs: number of epochs in all.
        folder: where the checkpoint lies.
        save_every: batches between two saves; None: at the end of each epoch only.
        callbacks: as for `model.fit`. A resumed epoch calls `on_train_begin` and `on_train_end` once more.
        **kwargs: to `model.fit`: `validation_data`, `verbose`, ...

    Returns:
        The curve: the logs of each epoch from the first one, before the interruption too.

    Raises:
        TypeError: if `batches` are no `Batches`.
        ValueError: if a number is not at least 1, the model is not compiled, is compiled with `steps_per_execution`, or
            is one of several machines, the devices do not divide the batch, or `folder` has another training.

    Example:
        >>> import tempfile
        >>> model = models.spiking_vgg((4, 4, 1), 2, stages=[(2, 3)], dense_units=[], num_steps=5, seed=0)
        >>> model.compile(keras.optimizers.SGD(0.01), loss=losses.SparseSumSquaredError())
        >>> data = datasets.Batches(np.ones((8, 4, 4, 1), "float32"), np.zeros(8, "int32"), batch_size=4)
        >>> curve = training.fit(model, data, epochs=2, folder=tempfile.mkdtemp(), verbose=0)
        >>> len(curve)
        2
    """
    check_training(model, batches, epochs, save_every)
    if model.steps_per_execution != 1:
        raise ValueError(
            "`model` must be compiled with steps_per_execution=1: Keras does not tell callbacks which batch of a "
            f"longer execution it is at, so the place in the data would be lost. Received: {model.steps_per_execution}"
        )
    if isinstance(model.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
        raise ValueError("`model` is one of MultiWorkerMirroredStrategy: train it by fit_multi_worker")
    checkpoint = Checkpoint(folder, batches)
    position = checkpoint.restore(model, next(iter(batches.epoch(0))))
    saver = Saver(checkpoint, position, batches.steps_per_epoch, save_every)
    callbacks = [saver, *callbacks]  # first: a callback that stops or changes the model sees it saved
    model.stop_training = False  # by a callback of an earlier call

    if position.batch and position.epoch < epochs:
        rest = batches.epoch(position.epoch, position.batch)
        model.fit(
            rest, epochs=position.epoch + 1, initial_epoch=position.epoch, callbacks=callbacks, shuffle=False, **kwargs
        )
    if position.epoch < epochs and not model.stop_training:
        model.fit(
            batches.epochs(position.epoch, epochs),
            epochs=epochs,
            initial_epoch=position.epoch,
            steps_per_epoch=batches.steps_per_epoch,
            callbacks=callbacks,
            shuffle=False,
            **kwargs,
        )
    return position.curve


def check_training(model: keras.Model, batches: Batches, epochs: int, save_every: int | None) -> None:
    """The arguments of `fit` and `fit_multi_worker`."""
    if not isinstance(batches, Batches):
        raise TypeError(
            "`batches` must be keras_spiking_bp.datasets.Batches, whose order can be had again from the middle of an "
            f"epoch on. Received: batches={batches!r}"
        )
    check_positive_int("epochs", epochs)
    if save_every is not None:
        check_positive_int("save_every", save_every)
    if not model.compiled:
        raise ValueError("`model` must be compiled: call model.compile(optimizer, loss) first")
    replicas = model.distribute_strategy.num_replicas_in_sync
    if batches.batch_size % replicas:
        raise ValueError(
            f"`batches` must have a batch size that is a multiple of the number of devices, {replicas}. "
            f"Received: a batch size of {batches.batch_size}"
        )


class Saver(keras.callbacks.Callback):
    """Keeps the position, and saves."""

    def __init__(self, checkpoint: Checkpoint, position: Position, steps_per_epoch: int, save_every: int | None):
        super().__init__()
        self._checkpoint = checkpoint
        self._position = position
        self._steps_per_epoch = steps_per_epoch
        self._save_every = save_every

    def on_epoch_begin(self, epoch, logs=None):
        self._first_batch = self._last_save = self._position.batch
        if self._first_batch:
            self._checkpoint.restore_metrics(self.model)

    def on_train_batch_end(self, batch, logs=None):
        self._position.batch = self._first_batch + batch + 1
        due = self._save_every and self._position.batch - self._last_save >= self._save_every
        if due and self._position.batch < self._steps_per_epoch:
            self._last_save = self._position.batch
            self._save(logs)

    def on_epoch_end(self, epoch, logs=None):
        if self._position.batch == self._steps_per_epoch:  # else a callback stopped it in the middle
            self._position.epoch, self._position.batch = epoch + 1, 0
            self._position.curve.append({name: float(value) for name, value in logs.items()})
        self._save(logs)

    def _save(self, logs: dict | None) -> None:
        """Saves, but not a training that broke down: it does not replace a good checkpoint."""
        if is_finite(self.model, logs):
            self._checkpoint.save(self.model, self._position)


def is_finite(model: keras.Model, logs: dict | None) -> bool:
    """Whether loss and weights are still numbers.

    The loss alone does not tell: it is of the weights before the last step, and `fit_multi_worker` has none in a batch.
    """
    loss = (logs or {}).get("loss", 0.0)
    return bool(np.isfinite(loss)) and all(np.isfinite(weights).all() for weights in model.get_weights())
