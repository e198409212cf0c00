"""What the data sets share: examples held out for validation, labels as one-hot rows."""

from __future__ import annotations

import numbers

import numpy as np

from keras_spiking_bp.utils.validation import check_seed

#: Examples (N, ...) and their labels (N,).
Split = tuple[np.ndarray, np.ndarray]


def hold_out(split: Split, size: int, seed: int) -> tuple[Split, Split]:
    """Splits in two: the rest, and `size` examples drawn with `seed`."""
    examples, labels = split
    if not isinstance(size, numbers.Integral) or isinstance(size, bool) or not 0 < size < len(examples):
        raise ValueError(f"`size` must be an integer between 1 and {len(examples) - 1}. Received: size={size!r}")
    order = shuffled(len(examples), seed)
    chosen, rest = order[:size], order[size:]
    return (examples[rest], labels[rest]), (examples[chosen], labels[chosen])


def shuffled(number: int, seed: int) -> np.ndarray:
    """The integers below `number`, in an order that follows from `seed`: the same split in every program."""
    check_seed(seed, optional=False)
    return np.random.default_rng(int(seed) % 2**64).permutation(number)  # NumPy takes none below 0


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Rows (N, classes) float32, 1 at the label; of labels (N,) or (N, 1).

    Raises:
        ValueError: if the labels have another shape, or one is below 0, or not below `classes`.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(f"Labels must be one integer for each example, (N,). Received: labels of shape {labels.shape}")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise ValueError(f"Labels must be between 0 and {classes - 1}. Received: {np.unique(wrong)[:10].tolist()}")
    return np.eye(classes, dtype="float32")[labels]
