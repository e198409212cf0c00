"""`fit` that resumes exactly where an interrupted one stopped, even in the middle of an epoch."""

import contextlib
import os
import warnings
from typing import Any

import keras

from keras_spiking_bp.datasets.batches import Batches
from keras_spiking_bp.rnn.encoded_inputs import encode_repeatably
from keras_spiking_bp.rnn.window import without_masked
from keras_spiking_bp.training.checkpoint import Checkpoint
from keras_spiking_bp.training.saver import CallbacksFromBatch, Saver
from keras_spiking_bp.training.state import Callbacks, stopped_early


def fit(
    model: keras.Model,
    data: Batches,
    epochs: int,
    backup_dir: str | os.PathLike,
    save_freq: int | str = "epoch",
    callbacks: keras.callbacks.Callback | Callbacks | None = None,
    **kwargs: Any,
) -> keras.callbacks.History:
    """`model.fit` with exact resume: the same call, repeated after a kill, continues as if uninterrupted.

    Restored are the weights, the optimizer with its learning rate (a `LearningRateSchedule` is that of the new call),
    the random streams of encoders and dropout, the position in the data, the metric sums, and the internal state of
    `EarlyStopping`, `ReduceLROnPlateau` and `ModelCheckpoint` (not their arguments); not that of other callbacks, nor
    what a layer with `stateful=True` carries from batch to batch. A run ended by `EarlyStopping` is finished, unless it
    is given more patience. A run interrupted before its first save starts from the beginning: in the same process,
    build a new model first. Weights and optimizer that are not finite are not saved (a warning says so). More is in
    docs/howto/resume.md.

    Several devices: build and compile the model in the `scope()` of a `tf.distribute.MirroredStrategy`. Each device
    takes its share of a batch, with its own dropout and Poisson spikes; without these the result is that of one device,
    up to rounding, except with batch normalisation and `FiringRate`, which use the statistics and rates of the share.
    Of the moving statistics, files hold those of the first device. A custom `train_step` must scale the loss as Keras
    does.

    Args:
        model: built and compiled. Give its layers a `seed` for a repeatable run.
        data: the training data; its batch size must be a multiple of the number of devices.
        epochs: total number of epochs.
        backup_dir: folder of the checkpoint.
        save_freq: batches between two saves; `"epoch"`: at the end of each epoch, and where a callback stops.
        callbacks: as for `model.fit`. Each call begins with `on_train_begin`, and in the middle of an epoch also
            `on_epoch_begin`; after all callbacks, model, optimizer and the callbacks above are then reset to the saved
            state.
        **kwargs: for `model.fit`: `validation_data` (arrays in batches as large as those of `data`), `class_weight`
            (of all classes), `verbose`, ...

    Returns:
        A `History` of all epochs from the first one, also of those before the interruption.

    Raises:
        ValueError: if there is a `BackupAndRestore`, the model is not built and compiled, or compiled with
            `steps_per_execution`, the number of devices does not divide the batch size, `epochs` is below an epoch that
            was begun, or `backup_dir` has another run: of other data, another model or optimizer, in the middle of an
            epoch other metrics; or of another version of this library.
        RuntimeError: if another process has saved a later state in `backup_dir`.

    Example:
        >>> import tempfile
        >>> model = models.spiking_vgg((4, 4, 1), 2, stages=[(2, 3)], dense_units=[], num_steps=5, seed=0)
        >>> model.compile(keras.optimizers.SGD(0.01), loss=losses.SparseSumSquaredError())
        >>> data = datasets.Batches(np.ones((8, 4, 4, 1), "float32"), np.zeros(8, "int32"), batch_size=4)
        >>> history = training.fit(model, data, epochs=2, backup_dir=tempfile.mkdtemp(), verbose=0)
        >>> len(history.history["loss"])
        2
    """
    callbacks = [] if callbacks is None else keras.tree.flatten(callbacks)
    _check(model, data, callbacks)
    model._initial_epoch = None  # where a BackupAndRestore of an earlier `model.fit` would begin
    checkpoint = Checkpoint(backup_dir, data)
    batch = next(iter(data.epoch(0)))
    if model.jit_compile and model.distribute_strategy.num_replicas_in_sync == 1:
        _check_inputs(model, batch[0])
    position = checkpoint.restore(model, batch, callbacks)
    first = position.epoch
    if position.batch and first >= epochs:  # weights and history would be of different places in the training
        raise ValueError(
            f"`epochs` must be at least {first + 1}: {str(checkpoint.folder)!r} holds a training that was interrupted "
            f"after batch {position.batch} of this epoch. Received: epochs={epochs}"
        )
    end = first if stopped_early(callbacks, first) else epochs
    if first >= end:
        message = (
            f"{str(checkpoint.folder)!r} holds a finished training of {first} epochs: nothing is trained. Give more "
            "`epochs` (or EarlyStopping, if it ended the run, more patience), or another `backup_dir`"
        )
        warnings.warn(message, stacklevel=2)
    saver = Saver(checkpoint, position, data.steps_per_epoch, save_freq, callbacks)
    verbose = kwargs.get("verbose", "auto")
    shown = {"verbose": verbose, "epochs": epochs, "add_progbar": verbose != 0}
    calls = CallbacksFromBatch([*callbacks, saver], position.batch, data.steps_per_epoch, model=model, **shown)
    if isinstance(kwargs.get("validation_data"), (tuple, list)):  # a loss may be a sum over the batch
        kwargs.setdefault("validation_batch_size", data.batch_size)
    part = {"epochs": end, "initial_epoch": first, "steps_per_epoch": data.steps_per_epoch, "shuffle": False}
    model.fit(data.epochs(first, max(end, first + 1), position.batch), callbacks=calls, **part, **kwargs)
    history = keras.callbacks.History()
    history.set_model(model)
    history.on_train_begin()
    for epoch, logs in enumerate(position.curve):
        history.on_epoch_end(epoch, logs)
    return history


def _check(model: keras.Model, data: Batches, callbacks: Callbacks) -> None:
    if not isinstance(data, Batches):
        raise TypeError(
            "`data` must be keras_spiking_bp.datasets.Batches: of arrays, or of the names of files, read by its "
            f"`transform`. Received: data={data!r}"
        )
    if any(isinstance(callback, keras.callbacks.BackupAndRestore) for callback in callbacks):
        raise ValueError("`callbacks` must have no BackupAndRestore, since this function resumes by itself")
    if not (model.built and model.compiled):
        raise ValueError("`model` must be built (give it a keras.Input, or call it once) and compiled")
    if model.steps_per_execution != 1:
        raise ValueError(
            "`model` must be compiled with steps_per_execution=1: else Keras does not tell callbacks at which batch it "
            f"is. Received: {model.steps_per_execution}"
        )
    replicas = model.distribute_strategy.num_replicas_in_sync
    if data.batch_size % replicas:
        raise ValueError(
            f"`data` must have a batch size that is a multiple of the number of devices, {replicas}. "
            f"Received: a batch size of {data.batch_size}"
        )


def _check_inputs(model: keras.Model, inputs: Any) -> None:
    """Raises the errors for NaN and, of an encoder, for images that are not scaled, which XLA leaves out."""
    with contextlib.suppress(TypeError, ValueError):  # a model of another kind
        without_masked(*encode_repeatably(model, inputs), model.name)
