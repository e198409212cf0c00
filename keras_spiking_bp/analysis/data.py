"""Data of any kind as batches of inputs and class indices."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.datasets.batches import Batches


def batches_of(
    data: Any, labels: Any, batch_size: int, labelled: bool = True
) -> tuple[Iterator[tuple[Any, np.ndarray | None]], int | None]:
    """Batches `(inputs, class indices or None)`, and their number, if it is known; `labelled`: with those of `data`."""
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
            ((x, class_indices(y if labelled else None, len(keras.tree.flatten(x)[0]))) for x, y in pairs),
            number if number >= 0 else None,
        )
    labels = class_indices(labels, len(data))
    parts = [slice(i, i + batch_size) for i in range(0, len(data), batch_size)]
    return ((data[part], None if labels is None else labels[part]) for part in parts), len(parts)


def class_indices(labels: Any, samples: int) -> np.ndarray | None:
    """Class indices (N,), from indices or one-hot (N, classes) of any dtype, one for each sample; None for None."""
    if labels is None:
        return None
    labels = np.asarray(labels).astype("float64")
    if labels.ndim == 2 and labels.shape[1] > 1:  # the largest entry is that of the class
        fits = ((labels == labels.max(-1, keepdims=True)).sum(-1) == 1).all()
        indices = labels.argmax(-1)
    else:
        indices = labels.reshape(-1)
        fits = (indices % 1 == 0).all()  # False of NaN and infinity
    if not fits:
        raise ValueError(
            "`labels` must be class indices (N,) or one-hot (N, classes), each row with one largest entry. Received: "
            f"labels of shape {labels.shape}, which begin with {labels[:1]}"
        )
    if len(indices) != samples:
        raise ValueError(f"`labels` must be one for each sample. Received: {len(indices)} for {samples} samples")
    return indices.astype("int64")


def checked_labels(labels: np.ndarray | None, output_shape: Sequence[int]) -> np.ndarray:
    """Class indices for an accuracy of outputs, whose shape is that of one sample.

    What one output says about two classes depends on the loss, which is unknown here.
    """
    if labels is None:
        raise ValueError("`labels` must be given: there is no accuracy without. Received: labels=None")
    if len(output_shape) != 1 or output_shape[0] < 2:
        raise ValueError(f"`model` must have one output for each class. Received: the shape {tuple(output_shape)}")
    wrong = labels[(labels < 0) | (labels >= output_shape[0])]
    if wrong.size:
        raise ValueError(f"`labels` must be class indices from 0 to {output_shape[0] - 1}. Received: {wrong[0]}")
    return labels
