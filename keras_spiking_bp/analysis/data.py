"""Data of any kind as batches of inputs and class indices."""

from __future__ import annotations

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
    if isinstance(data, Batches):
        data = data.epoch(0)
    if isinstance(data, (tf.data.Dataset, keras.utils.PyDataset)):
        if labels is not None:
            raise ValueError("`labels` must be None where `data` gives batches: let it give (inputs, labels)")
        of_keras = isinstance(data, keras.utils.PyDataset)
        number = data.num_batches if of_keras else int(data.cardinality())
        if number in (None, tf.data.INFINITE_CARDINALITY):
            raise ValueError("`data` must end. Received: batches without end; of a Dataset, `take` some")
        batches = (data[i] for i in range(number)) if of_keras else data
        pairs = (keras.utils.unpack_x_y_sample_weight(batch)[:2] for batch in batches)
        return (
            ((x, checked_labels(y if labelled else None, len(keras.tree.flatten(x)[0]), classes)) for x, y in pairs),
            number if number >= 0 else None,
        )
    if not (hasattr(data, "shape") or isinstance(data, (list, tuple))):
        raise TypeError(
            "`data` must be an array (N, ...), a tf.data.Dataset or keras.utils.PyDataset of batches, or a "
            f"datasets.Batches. Received: data of type {type(data).__name__}"
        )
    labels = checked_labels(labels, len(data), classes)
    parts = [slice(i, i + batch_size) for i in range(0, len(data), batch_size)]
    return ((data[part], None if labels is None else labels[part]) for part in parts), len(parts)


def checked_labels(labels: Any, samples: int, classes: int | None = None) -> np.ndarray | None:
    """Labels as class indices, one for each sample; None for none, unless the number of `classes` is given."""
    if labels is None:
        if classes is not None:
            raise ValueError(NO_LABELS)
        return None
    labels = _class_indices(labels)
    if len(labels) != samples:
        raise ValueError(f"`labels` must be one for each sample. Received: {len(labels)} for {samples} samples")
    if classes is not None:
        _check_range(labels, classes)
    return labels


def _class_indices(labels: Any) -> np.ndarray:
    """Labels as class indices (N,), from indices or one-hot (N, classes), of any dtype."""
    labels = np.asarray(labels).astype("float64")
    if labels.ndim == 2 and labels.shape[1] > 1:  # the largest entry is that of the class
        fits = ((labels == labels.max(-1, keepdims=True)).sum(-1) == 1).all()
        indices = labels.argmax(-1)
    else:
        indices = labels.reshape(-1)
        fits = (indices % 1 == 0).all()  # False of NaN and infinity
    if not fits:
        raise ValueError(
            "`labels` must be class indices (N,), whole numbers, or one-hot (N, classes), each row with one largest "
            f"entry. Received: labels of shape {labels.shape}, which begin with {labels[:1]}"
        )
    return indices.astype("int64")


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
            f"of the shape {tuple(output_shape)}"
        )
