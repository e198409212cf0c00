"""`fit` that resumes exactly where an interrupted one stopped, even in the middle of an epoch."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.datasets.batches import Batches
from keras_spiking_bp.rnn.encoded_inputs import encode_repeatably
from keras_spiking_bp.rnn.window_input import without_masked
from keras_spiking_bp.training.callback_state import stopped_early
from keras_spiking_bp.training.callbacks_from_batch import CallbacksFromBatch
from keras_spiking_bp.training.checkpoint import Checkpoint, Position
from keras_spiking_bp.training.saver import Saver
from keras_spiking_bp.utils.validation import check_positive_int


def fit(
    model: keras.Model,
    batches: Batches,
    epochs: int,
    folder: str | os.PathLike,
    save_every: int | None = None,
    callbacks: keras.callbacks.Callback | Sequence[keras.callbacks.Callback] | None = (),
    **kwargs: Any,
) -> list[dict[str, Any]]:
    """`model.fit` with exact resume: the same call, repeated after a kill, continues as if uninterrupted.

    Restored are

    * the weights, the optimizer with its steps, averages (`use_ema`) and learning rate. A `LearningRateSchedule` is
      that of the new call, at the saved step; a warning says so if its rate is another one there;
    * the random streams of encoders and dropout;
    * the position in the data, and the metric sums;
    * the internal state of `EarlyStopping`, `ReduceLROnPlateau` and `ModelCheckpoint` (`wait`, `best`, ...; not their
      arguments: those of the new call apply). Callbacks are matched by class, by what they monitor, and by order.

    Not restored: the internal state of other callbacks, of layers of other libraries and of a second optimizer, and
    what a layer with `stateful=True` carries from batch to batch. A run ended by
    `EarlyStopping` is finished, unless it is given more patience. A run interrupted before its first save starts from
    the beginning: in the same process, build a new model first. Weights and optimizer that are not finite are not saved
    (a warning says so).

    Several devices of one machine: build and compile the model in the `scope()` of a `tf.distribute.MirroredStrategy`.
    Each device takes its share of a batch, with its own dropout and Poisson spikes; without these the result is that of
    one device, up to rounding, except with batch normalisation and `FiringRate`, which use the statistics and rates of
    the share. Of the moving statistics, files hold those of the first device. Several machines: `fit_multi_worker`.

    Args:
        model: built and compiled. Give its layers a `seed` for a repeatable run.
        batches: the training data; its batch size must be a multiple of the number of devices.
        epochs: total number of epochs.
        folder: folder of the checkpoint.
        save_every: batches between two saves; None: at the end of each epoch, and where a callback stops.
        callbacks: as for `model.fit`. Each call begins with `on_train_begin`, and in the middle of an epoch also
            `on_epoch_begin`; after all callbacks, model, optimizer and the callbacks above are then reset to the saved
            state. The batches of such an epoch are counted from its first one. A finished run calls `on_train_begin`
            and `on_train_end`, and a warning says that nothing is trained.
        **kwargs: for `model.fit`: `validation_data` (arrays in batches as large as those of `batches`), `class_weight`
            (of all classes), `verbose`, ...

    Returns:
        The curve: the logs of each epoch from the first one, also before the interruption. Values are numbers, or for
        a metric of each class lists of numbers.

    Raises:
        TypeError: if `batches` is not a `Batches`, `model` not a `keras.Model`, or `validation_data` a `Batches`.
        ValueError: if a number is below 1, `epochs` below that of an interrupted epoch in `folder`, there is a
            `BackupAndRestore` or a `SwapEMAWeights(swap_on_epoch=True)`, the model is not built or not compiled, is
            compiled with `steps_per_execution`, uses several machines or has more than one output, the number of
            devices does not divide the batch size, or `folder` has another run: other data (by value, see
            `Batches.description`), weights of other shapes, another kind of optimizer, another number of random
            streams, in the middle of an epoch other metrics; or a checkpoint in the format of another version of this
            library.
        RuntimeError: if another process has saved a later state in `folder`.

    Example:
        >>> import tempfile
        >>> model = models.spiking_vgg((4, 4, 1), 2, stages=[(2, 3)], dense_units=[], num_steps=5, seed=0)
        >>> model.compile(keras.optimizers.SGD(0.01), loss=losses.SparseSumSquaredError())
        >>> data = datasets.Batches(np.ones((8, 4, 4, 1), "float32"), np.zeros(8, "int32"), batch_size=4)
        >>> curve = training.fit(model, data, epochs=2, folder=tempfile.mkdtemp(), verbose=0)
        >>> len(curve)
        2
    """
    callbacks = listed(callbacks)
    check_training(model, batches, epochs, save_every, callbacks, kwargs.get("validation_data"))
    if model.steps_per_execution != 1:
        raise ValueError(
            "`model` must be compiled with steps_per_execution=1: Keras does not tell callbacks which batch of a "
            f"longer execution it is at, so the place in the data would be lost. Received: {model.steps_per_execution}"
        )
    if isinstance(model.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
        raise ValueError("`model` is one of MultiWorkerMirroredStrategy: train it by fit_multi_worker")
    model._initial_epoch = None  # where a BackupAndRestore of an earlier `model.fit` would begin
    checkpoint = Checkpoint(folder, batches)
    batch = next(iter(batches.epoch(0)))
    if model.jit_compile and model.distribute_strategy.num_replicas_in_sync == 1:
        _check_inputs(model, batch[0])
    position = checkpoint.restore(model, batch, callbacks)
    first = position.epoch
    check_position(position, epochs, checkpoint.folder)
    end = first if stopped_early(callbacks, first) else epochs
    if first >= end:
        warnings.warn(
            f"{str(checkpoint.folder)!r} holds a finished training of {first} epochs: nothing is trained. Give more "
            "`epochs` (or EarlyStopping, if it ended the run, more patience), or another `folder`",
            UserWarning,
            stacklevel=2,
        )
    saver = Saver(checkpoint, position, batches.steps_per_epoch, save_every, callbacks)
    if isinstance(kwargs.get("validation_data"), (tuple, list)):  # a loss may be a sum over the batch
        kwargs.setdefault("validation_batch_size", batches.batch_size)
    verbose = kwargs.get("verbose", "auto")
    model.fit(
        batches.epochs(first, max(end, first + 1), position.batch),
        epochs=end,
        initial_epoch=first,
        steps_per_epoch=batches.steps_per_epoch,
        callbacks=CallbacksFromBatch(
            [*callbacks, saver],
            first_batch=position.batch,
            add_history=True,
            add_progbar=verbose != 0,
            model=model,
            verbose=verbose,
            epochs=epochs,
            steps=batches.steps_per_epoch,
        ),
        shuffle=False,
        **kwargs,
    )
    return position.curve


def _check_inputs(model: keras.Model, inputs: Any) -> None:
    """Raises the errors for NaN and, of an encoder, for images that are not scaled, which XLA leaves out."""
    with contextlib.suppress(TypeError, ValueError):  # a model of another kind
        without_masked(*encode_repeatably(model, inputs), model.name)


def listed(callbacks: Any) -> list[keras.callbacks.Callback]:
    """The callbacks of `model.fit`: several, also nested, one, or None."""
    if callbacks is None:
        return []
    return keras.tree.flatten(list(callbacks) if isinstance(callbacks, Iterable) else callbacks)


def check_position(position: Position, epochs: int, folder: Path) -> None:
    """Rejects fewer epochs than were begun: weights and curve would be of different places in the training."""
    if position.batch and position.epoch >= epochs:
        raise ValueError(
            f"`epochs` must be at least {position.epoch + 1}: {str(folder)!r} holds a training that was interrupted "
            f"after batch {position.batch} of this epoch. Received: epochs={epochs}. Give more, or another `folder`"
        )


def check_training(
    model: keras.Model,
    batches: Batches,
    epochs: int,
    save_every: int | None,
    callbacks: Sequence[keras.callbacks.Callback],
    validation_data: Any = None,
) -> None:
    """The arguments of `fit` and `fit_multi_worker`."""
    if not isinstance(batches, Batches):
        raise TypeError(
            "`batches` must be keras_spiking_bp.datasets.Batches, whose order can be had again from the middle of an "
            "epoch on: of arrays, or of the names of files, read by its `prepare`. model.fit takes other data. "
            f"Received: batches={batches!r}"
        )
    check_positive_int("epochs", epochs)
    if save_every is not None:
        check_positive_int("save_every", save_every)
    for callback in callbacks:
        swaps = isinstance(callback, keras.callbacks.SwapEMAWeights) and callback.swap_on_epoch
        if swaps or isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "`callbacks` must have no BackupAndRestore, since this function resumes by itself, and no "
                "SwapEMAWeights(swap_on_epoch=True), whose averages would be saved as the weights. Received: "
                f"{type(callback).__name__}"
            )
    if isinstance(validation_data, Batches):
        raise TypeError(
            "`validation_data` must be arrays or a tf.data.Dataset, such as that of `test_batches` of a data set. "
            f"Received: validation_data={validation_data!r}"
        )
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: model={model!r} (type {type(model).__name__})")
    if not model.built:
        raise ValueError("`model` must be built: give it a keras.Input, or call it once")
    if not model.compiled:
        raise ValueError("`model` must be compiled: call model.compile(optimizer, loss) first")
    replicas = model.distribute_strategy.num_replicas_in_sync
    if batches.batch_size % replicas:
        raise ValueError(
            f"`batches` must have a batch size that is a multiple of the number of devices, {replicas}. "
            f"Received: a batch size of {batches.batch_size}"
        )
