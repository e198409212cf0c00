"""The images of a port, the same for both sides: values from 0 to 1, in batches without a smaller last one."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

import keras_spiking_bp as ksbp


@dataclasses.dataclass(frozen=True)
class Data:
    """Images (N, 28, 28, 1) float32 and labels (N,) int32, for training and testing."""

    name: str
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def load(name: str, data_dir: str | None, samples: int | None = None, test_samples: int | None = None) -> Data:
    """`"mnist"` or `"fashion_mnist"` from prepared TFDS data, or `"mnist_5k"`; the first `samples` of each split."""
    if name == "mnist_5k":
        (x, y), (x_test, y_test) = ksbp.datasets.mnist_5k()
    else:
        images = ksbp.datasets.load_images(name, data_dir)
        (x, y), (x_test, y_test) = images.train, images.test
        x, x_test = images.normalised(x[:samples]), images.normalised(x_test[:test_samples])
    return Data(name, (x[:samples], y[:samples]), (x_test[:test_samples], y_test[:test_samples]))


def batches(split: tuple[np.ndarray, np.ndarray], batch_size: int, seed: int) -> tf.data.Dataset:
    """Reshuffled each epoch, without a smaller last batch: `DataLoader(shuffle=True, drop_last=True)`."""
    dataset = tf.data.Dataset.from_tensor_slices(split)
    return dataset.shuffle(len(split[0]), seed=seed).batch(batch_size, drop_remainder=True).prefetch(2)
