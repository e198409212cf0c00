"""Batches whose order depends only on the seed and the epoch: a resumed run sees what it would have seen."""

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_spiking_bp.utils.validation import check_positive_int

#: `(example, seed) -> input of the network`; `seed` is an int32 pair for the stateless random functions of TensorFlow.
#: Where examples are dictionaries, so is `example`.
Transform = Callable[[Any, tf.Tensor], Any]
#: Examples (N, ...) and their labels (N,).
Split = tuple[np.ndarray, np.ndarray]


class Batches:
    """Shuffled batches, epoch by epoch, from data that fits in memory (or file names).

    Epoch e visits the examples in an order drawn from `(seed, e)`, and prepares example i of it with random numbers
    from `(seed, e, i)`: any batch of any epoch is available without the ones before. Examples left over after the last
    full batch are skipped in that epoch.

    They are for `training.fit(model, batches, epochs, backup_dir)`; `model.fit` takes
    `batches.epochs(0, epochs), epochs=epochs, steps_per_epoch=batches.steps_per_epoch`.

    Args:
        x: (N, ...) array: images, or paths of files; for a model with several inputs a dictionary of such arrays by the
            names of the inputs.
        y: (N, ...) array of labels.
        batch_size: examples in a batch, 1 to N.
        transform: makes the input of the network from one example, with a seed for random augmentation; None for the
            example itself. Runs inside tf.data.
        seed: integer.

    Example:
        >>> batches = Batches(np.arange(10), np.arange(10), batch_size=4, seed=3)
        >>> [x.shape[0] for x, y in batches.epoch(0)]
        [4, 4]
        >>> whole = [x.numpy().tolist() for x, _ in batches.epoch(5)]
        >>> rest = [x.numpy().tolist() for x, _ in batches.epoch(5, first_batch=1)]
        >>> rest == whole[1:]
        True
    """

    def __init__(
        self,
        x: np.ndarray | Mapping[str, np.ndarray],
        y: np.ndarray,
        batch_size: int,
        transform: Transform | None = None,
        seed: int = 0,
    ):
        with tf.device("CPU:0"):  # a GPU would hold all of it
            self._x = {name: _tensor(values) for name, values in x.items()} if isinstance(x, Mapping) else _tensor(x)
            self._y = tf.convert_to_tensor(y)
        self.num_examples = len(self._y)
        for values in tf.nest.flatten(self._x):
            if len(values) != self.num_examples:
                raise ValueError(
                    f"`y` must have as many labels as `x` has examples. Received: {self.num_examples} labels, "
                    f"{len(values)} examples. Several inputs of a model are a dictionary of arrays by their names"
                )
        self.batch_size = check_positive_int("batch_size", batch_size)
        if self.batch_size > self.num_examples:
            raise ValueError(
                f"`batch_size` must be at most the number of examples, {self.num_examples}. Received: {batch_size}"
            )
        self.seed = int(seed)
        self._transform = transform

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return self.num_examples // self.batch_size

    def epoch(self, epoch: int, first_batch: int = 0) -> tf.data.Dataset:
        """The batches of one epoch from `first_batch` on: pairs (inputs, labels); the same in each iteration."""
        return self.epochs(epoch, epoch + 1, first_batch)

    def epochs(self, first: int, end: int, first_batch: int = 0) -> tf.data.Dataset:
        """The batches of the epochs `first` to `end - 1`, one after the other; of the first, from `first_batch` on."""

        def one(epoch):
            return self._epoch(epoch, tf.where(epoch == first, first_batch, 0))

        dataset = tf.data.Dataset.range(first, end).flat_map(one)
        cardinality = tf.data.experimental.assert_cardinality((end - first) * self.steps_per_epoch - first_batch)
        return dataset.apply(cardinality).prefetch(tf.data.AUTOTUNE)

    def description(self) -> dict[str, Any]:
        """What identifies the data of a training run; not `transform`, the contents of files, and their folder."""
        numbers = {"num_examples": self.num_examples, "batch_size": self.batch_size, "seed": self.seed}
        examples = tf.nest.map_structure(_fingerprint, self._x)
        return {**numbers, "examples": examples, "labels": _fingerprint(self._y)}

    def _epoch(self, epoch: tf.Tensor, first_batch: tf.Tensor) -> tf.data.Dataset:
        epoch = tf.cast(epoch, tf.int32)
        seed = tf.random.experimental.stateless_fold_in(tf.constant([self.seed, 0]), epoch)
        order = tf.random.experimental.stateless_shuffle(tf.range(self.num_examples), seed)
        order = order[first_batch * self.batch_size : self.steps_per_epoch * self.batch_size]

        def example(i):
            x = tf.nest.map_structure(lambda values: tf.gather(values, i), self._x)
            if self._transform is not None:
                x = self._transform(x, tf.random.experimental.stateless_fold_in(seed, i))
            return x, tf.gather(self._y, i)

        dataset = tf.data.Dataset.from_tensor_slices(order)
        return dataset.map(example, num_parallel_calls=tf.data.AUTOTUNE).batch(self.batch_size, drop_remainder=True)


def _tensor(values: Any) -> tf.Tensor:
    """An array, or paths as of `pathlib`, which TensorFlow does not take."""
    if isinstance(values, (list, tuple)) or (isinstance(values, np.ndarray) and values.dtype.hasobject):
        values = [os.fspath(value) if isinstance(value, os.PathLike) else value for value in values]
    return tf.convert_to_tensor(values)


def _fingerprint(tensor: tf.Tensor) -> str:
    values = np.asarray(tensor)
    content: Any
    if values.dtype == object:  # strings: of files, the names below their common folder, which may be moved
        names = [bytes(name) for name in values.ravel()]
        same: Any = os.path.commonprefix(names)  # noqa: RUF071 - of characters: cut at a separator below
        below = max(same.rfind(separator) for separator in (b"/", b"\\")) + 1
        content = repr([name[below:] for name in names]).encode()
    else:
        content = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return f"{values.dtype} {values.shape} {hashlib.sha256(content).hexdigest()[:16]}"


def hold_out(split: Split, size: int, seed: int) -> tuple[Split, Split]:
    """Splits in two: the rest, and `size` examples drawn with `seed`."""
    examples, labels = split
    order = shuffled(len(examples), seed)
    chosen, rest = order[:size], order[size:]
    return (examples[rest], labels[rest]), (examples[chosen], labels[chosen])


def shuffled(number: int, seed: int) -> np.ndarray:
    """The integers below `number`, in an order that follows from `seed`: the same split in every program."""
    return np.random.default_rng(int(seed) % 2**64).permutation(number)  # NumPy takes none below 0


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Rows (N, classes) float32, 1 at the label; of labels (N,) or (N, 1)."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"Labels must be integers from 0 to {classes - 1}, one for each example. Received: labels of shape "
            f"{labels.shape}, from {labels.min()} to {labels.max()}"
        )
    return np.eye(classes, dtype="float32")[labels]
