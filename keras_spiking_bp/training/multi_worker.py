"""`fit` for several machines. Keras' own fails there (keras issue 20585), so the loop over the batches is ours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.datasets.batches import Batches
from keras_spiking_bp.training.callback_state import stopped_early
from keras_spiking_bp.training.checkpoint import Checkpoint
from keras_spiking_bp.training.fit import check_position, check_training, listed
from keras_spiking_bp.training.replicas import gatherer
from keras_spiking_bp.training.saver import Saver


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the worker that writes files. True if there is only one process.

    It is the task `chief` of `TF_CONFIG`, or its worker 0 if it names no chief.

    Args:
        strategy: any strategy.

    Example:
        >>> is_chief(tf.distribute.get_strategy())
        True
    """
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None or not resolver.cluster_spec().as_dict():
        return True
    if "chief" in resolver.cluster_spec().jobs:
        return resolver.task_type == "chief"
    return resolver.task_id == 0


def fit_multi_worker(
    model: keras.Model,
    batches: Batches,
    epochs: int,
    folder: str | os.PathLike,
    strategy: tf.distribute.MultiWorkerMirroredStrategy,
    save_every: int | None = None,
    callbacks: keras.callbacks.Callback | Sequence[keras.callbacks.Callback] | None = (),
    verbose: int = 1,
) -> list[dict[str, Any]]:
    """`fit` on several machines: each takes its share of every batch; gradients are summed.

    Start the same program on each machine, with its `TF_CONFIG` in the environment; create the strategy before anything
    else of TensorFlow. If one of them dies, the others end with `tf.errors.UnavailableError` after some seconds;
    restart all of them, and they continue as if uninterrupted.

    The result is that of one process with the whole batch, up to rounding and randomness: each device has its own
    dropout and Poisson spikes. Batch normalisation and `FiringRate` use the statistics and rates of the share (see
    `fit`). The gradients of losses that sum over the batch add up to that of the batch. This also holds for losses that
    take the mean: Keras divides the mean of each share by the number of devices (and penalties on weights likewise). A
    custom `train_step` must do the same.

    Args:
        model: built and compiled in `strategy.scope()`.
        batches: the whole training data, the same on each machine; its batch size a multiple of the number of devices.
        epochs: total number of epochs.
        folder: folder of the checkpoint, on a file system that all machines share. The chief writes, all read.
        strategy: a `tf.distribute.MultiWorkerMirroredStrategy`.
        save_every: batches between two saves; None: at the end of each epoch, and where a callback stops.
        callbacks: called on the machine that passes them; `on_train_batch_end` without logs. One that sets
            `model.stop_training`, or changes the model or its optimizer, such as a schedule of the learning rate, must
            be passed on all, and act the same there: `on_epoch_end` has the logs of all.
        verbose: as for `model.fit`, on the chief. There is no `validation_data`: evaluate in another program.

    Returns:
        The curve: the logs of each epoch from the first one, over all machines.

    Raises:
        TypeError: if `batches` is not a `Batches`, or `model` not a `keras.Model`.
        ValueError: as `fit`; or if `strategy` is another one, or not that of the model; or if the machines find
            different checkpoints.
        RuntimeError: as `fit`.

    Example:
        >>> strategy = tf.distribute.MultiWorkerMirroredStrategy()  # doctest: +SKIP
        >>> with strategy.scope():  # doctest: +SKIP
        ...     model = models.spiking_vgg((4, 4, 1), 2, stages=[(2, 3)], dense_units=[], num_steps=5, seed=0)
        ...     model.compile(keras.optimizers.SGD(0.01), loss=losses.SparseSumSquaredError())
        >>> data = datasets.Batches(np.ones((8, 4, 4, 1), "float32"), np.zeros(8, "int32"), batch_size=4)
        >>> curve = fit_multi_worker(model, data, 2, "/shared/checkpoint", strategy)  # doctest: +SKIP
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        raise ValueError(
            "`strategy` must be a tf.distribute.MultiWorkerMirroredStrategy; `fit` takes models of other strategies. "
            f"Received: strategy={strategy!r}"
        )
    callbacks = listed(callbacks)
    check_training(model, batches, epochs, save_every, callbacks)
    if model.distribute_strategy is not strategy:
        raise ValueError("`model` must be built and compiled in the scope of `strategy`: with strategy.scope(): ...")

    chief = is_chief(strategy)
    checkpoint = Checkpoint(folder, batches, writes=chief)
    gatherer(strategy, lambda: [tf.constant(0)])()  # waits: the chief may still be saving an earlier run
    position = checkpoint.restore(model, next(iter(batches.epoch(0))), callbacks)
    (positions,) = gatherer(strategy, lambda: [tf.constant([position.epoch, position.batch])])()
    if (positions != positions[0]).any():
        raise ValueError(
            f"`folder` must be on a file system that all machines share. They found checkpoints at (epoch, batch): "
            f"{sorted(set(map(tuple, positions.tolist())))}"
        )
    check_position(position, epochs, checkpoint.folder)
    end = position.epoch if stopped_early(callbacks, position.epoch) else epochs
    saver = Saver(checkpoint, position, batches.steps_per_epoch, save_every, callbacks)
    calls = keras.callbacks.CallbackList(
        [*callbacks, saver],
        add_progbar=chief and verbose != 0,
        model=model,
        verbose=verbose,
        epochs=epochs,
        steps=batches.steps_per_epoch,
    )

    def step(batch):
        strategy.run(model.train_step, args=(batch,))

    step = tf.function(step, autograph=False)
    model.stop_training = False
    calls.on_train_begin()
    for epoch in range(position.epoch, end):
        model.reset_metrics()
        calls.on_epoch_begin(epoch)
        rest = range(position.batch, batches.steps_per_epoch)
        for batch, data in zip(rest, _shares(batches, epoch, position.batch, strategy), strict=False):
            calls.on_train_batch_begin(batch)
            step(data)
            calls.on_train_batch_end(batch)
            if model.stop_training:
                break
        results = {name: np.asarray(value) for name, value in model.get_metrics_result().items()}
        calls.on_epoch_end(epoch, {name: v.item() if v.size == 1 else v for name, v in results.items()})
        if model.stop_training:
            break
    model.optimizer.finalize_variable_values(model.trainable_weights)  # the averages of `use_ema`
    calls.on_train_end()
    return position.curve


def _shares(batches: Batches, epoch: int, first_batch: int, strategy: tf.distribute.Strategy) -> Any:
    """The batches of one epoch from `first_batch` on, split over all devices of all machines."""

    def of_machine(context):
        share = batches.shard(epoch, first_batch, context.input_pipeline_id, context.num_input_pipelines)
        # endless, so that the machines need not agree before each batch whether there is one
        return share.rebatch(batches.batch_size // strategy.num_replicas_in_sync, drop_remainder=True).repeat()

    return strategy.distribute_datasets_from_function(of_machine)
