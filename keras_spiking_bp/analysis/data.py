"""Data of any kind as batches of inputs and class indices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.datasets.batches import Batches


def batches_of(
    data: Any, labels: Any, batch_size: int
) -> tuple[Iterator[tuple[tf.Tensor, np.ndarray | None]], int | None]:
    """Batches `(inputs, class indices or None)`, and how many there are, if that is known."""
    if isinstance(data, Batches):
        data = data.epoch(0)
    if isinstance(data, tf.data.Dataset):
        if labels is not None:
            raise ValueError("`labels` must be None where `data` is a Dataset: let it give (inputs, labels)")
        number = int(data.cardinality())
        if number == tf.data.INFINITE_CARDINALITY:
            raise ValueError("`data` must end: this Dataset repeats for ever. Use `take`")
        pairs = (batch[:2] if isinstance(batch, tuple) and len(batch) > 1 else (batch, None) for batch in data)
        return ((x, checked_labels(y, _size(x))) for x, y in pairs), number if number >= 0 else None
    if not len(data):
        raise ValueError("`data` must hold at least one sample. Received: no sample")
    labels = checked_labels(labels, len(data))
    starts = range(0, len(data), batch_size)
    return (
        (tf.convert_to_tensor(data[i : i + batch_size]), None if labels is None else labels[i : i + batch_size])
        for i in starts
    ), len(starts)


def _size(inputs: Any) -> int:
    return len(keras.tree.flatten(inputs)[0])


def checked_labels(labels: Any, samples: int) -> np.ndarray | None:
    """Labels as class indices, one for each sample; None for none."""
    if labels is None:
        return None
    labels = class_indices(labels)
    if len(labels) != samples:
        raise ValueError(f"`labels` must be one for each sample. Received: {len(labels)} for {samples} samples")
    return labels


def class_indices(labels: Any) -> np.ndarray:
    """Labels as class indices (N,), from indices or one-hot (N, classes)."""
    labels = np.asarray(labels)
    return labels.argmax(-1) if labels.ndim == 2 and labels.shape[1] > 1 else labels.reshape(-1)


def check_rank(inputs: Any, model: keras.Model) -> None:
    """Refuses single samples where batches belong."""
    expected = model.inputs[0].shape
    for tensor in keras.tree.flatten(inputs):
        if len(tensor.shape) != len(expected):
            raise ValueError(
                f"`data` must give batches of inputs of the shape {tuple(expected)}. Received: {tuple(tensor.shape)}. "
                "A Dataset must be batched"
            )
