"""Data of any kind as batches of inputs and class indices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.datasets.batches import Batches


def batches_of(
    data: Any, labels: Any, batch_size: int, labelled: bool = True, classes: int | None = None
) -> tuple[Iterator[tuple[Any, np.ndarray | None]], int | None]:
    """Batches `(inputs, class indices or None)`, and their number, if it is known; `labelled`: with those of `data`.

    `classes`: the number of classes, where labels are needed.
    """
    if data is None:
        raise ValueError("`data` must be given. Received: data=None")
    if isinstance(data, Batches):
        data = data.epoch(0)
    if isinstance(data, (tf.data.Dataset, keras.utils.PyDataset)):
        if labels is not None:
            raise ValueError("`labels` must be None where `data` gives batches: let it give (inputs, labels)")
        number = _number_of_batches(data)
        batches = data if isinstance(data, tf.data.Dataset) else (data[i] for i in range(data.num_batches))
        pairs = (keras.utils.unpack_x_y_sample_weight(batch)[:2] for batch in batches)
        return ((x, checked_labels(_in_batches(y) if labelled else None, _size(x), classes)) for x, y in pairs), number
    if not (hasattr(data, "shape") or isinstance(data, (list, tuple))):
        raise TypeError(
            "`data` must be an array (N, ...), a tf.data.Dataset or keras.utils.PyDataset of batches, or a "
            f"datasets.Batches. Received: data of type {type(data).__name__}. Batches of several inputs, or from a "
            "generator, can come from a PyDataset"
        )
    if not len(data):
        raise ValueError("`data` must hold at least one sample. Received: no sample")
    labels = checked_labels(labels, len(data), classes)
    starts = range(0, len(data), batch_size)
    return ((data[i : i + batch_size], None if labels is None else labels[i : i + batch_size]) for i in starts), len(
        starts
    )


def _number_of_batches(data: tf.data.Dataset | keras.utils.PyDataset) -> int | None:
    """The number of batches; None if known only at their end."""
    if isinstance(data, keras.utils.PyDataset):
        number = data.num_batches
        endless = number is None
    else:
        number = int(data.cardinality())
        endless = number == tf.data.INFINITE_CARDINALITY
    if endless:
        raise ValueError("`data` must end. Received: batches without end; of a Dataset, `take` some")
    return number if number >= 0 else None


def _in_batches(labels: Any) -> Any:
    if labels is not None and not np.ndim(labels):
        raise ValueError(f"`data` must be in batches (a Dataset must be batched). Received: a single label, {labels}")
    return labels


def _size(inputs: Any) -> int:
    return len(keras.tree.flatten(inputs)[0])


def checked_labels(labels: Any, samples: int, classes: int | None = None) -> np.ndarray | None:
    """Labels as class indices, one for each sample; None for none, unless the number of `classes` is given."""
    if labels is None:
        if classes is not None:
            raise ValueError(NO_LABELS)
        return None
    labels = class_indices(labels)
    if len(labels) != samples:
        raise ValueError(f"`labels` must be one for each sample. Received: {len(labels)} for {samples} samples")
    if classes is not None:
        _check_range(labels, classes)
    return labels


def class_indices(labels: Any) -> np.ndarray:
    """Labels as class indices (N,), from indices or one-hot (N, classes)."""
    labels = given = np.asarray(labels)
    if labels.dtype.kind in "OV":  # Python objects; bfloat16
        with contextlib.suppress(TypeError, ValueError):
            labels = labels.astype("float64")
    one_hot = labels.ndim == 2 and labels.shape[1] > 1  # or other targets, the largest of which is that of the class
    fits = labels.dtype.kind in "biuf" and bool(np.isfinite(labels).all())
    if fits and one_hot:
        fits = bool(((labels == labels.max(-1, keepdims=True)).sum(-1) == 1).all())
    elif fits:
        fits = bool(np.all(labels == np.floor(labels)))
    if not fits:
        raise ValueError(
            "`labels` must be class indices (N,), whole numbers, or one-hot (N, classes), each row with one largest "
            f"entry. Received: labels of shape {given.shape} and dtype {given.dtype}, which begin with {given[:1]!r}"
        )
    return (labels.argmax(-1) if one_hot else labels.reshape(-1)).astype("int64")


NO_LABELS = "`labels` must be given: there is no accuracy without. Received: labels=None"


def is_correct(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the largest of the outputs (..., classes) is that of the class index; these broadcast against (...)."""
    _check_range(labels, outputs.shape[-1])
    return outputs.argmax(-1) == labels


def _check_range(labels: np.ndarray, classes: int) -> None:
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        raise ValueError(f"`labels` must be class indices from 0 to {classes - 1}. Received: {wrong[0]}")


def check_classes(output_shape: Sequence[int]) -> None:
    """Rejects outputs whose argmax is not a class; the shape is of one sample.

    What one output says about two classes depends on the loss (a logit is compared with 0, a probability with 1/2),
    which is unknown here.
    """
    if len(output_shape) != 1 or output_shape[0] < 2:
        raise ValueError(
            "`model` must have one output for each class, of at least two classes, for an accuracy. Received: outputs "
            f"of the shape {tuple(output_shape)}. Of one output, compare `analysis.run(...).outputs[..., 0]`, (N, T), "
            "with the threshold of its loss"
        )
