"""The networks of the measurements as plain data, with one batch of input for each.

Every implementation builds itself from this file, so all of them do the same work: the same
layers, the same statistics of weights and images, no biases, reset to zero, a readout that
never fires.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BETA = 0.99
THRESHOLD = 1.0
POOL_THRESHOLD = 0.75
CLASSES = 10
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Conv:
    """Convolution with "same" padding and stride 1, followed by leaky neurons."""

    filters: int
    kernel: int


@dataclass(frozen=True)
class Pool:
    """2x2 average pooling, followed by neurons without leak."""


@dataclass(frozen=True)
class Dense:
    """Fully connected layer, followed by leaky neurons; the last of a network is the readout."""

    units: int


Layer = Conv | Pool | Dense


@dataclass(frozen=True)
class Network:
    """Layers from input to readout, and the shape (height, width, channels) of one image."""

    title: str
    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...]

    def kernel_shapes(self) -> list[tuple[int, ...] | None]:
        """Kernel of each layer, channels last: (k, k, in, out), (in, out), None for pooling."""
        height, width, channels = self.input_shape
        features, shapes = 0, []
        for layer in self.layers:
            if isinstance(layer, Conv):
                shapes.append((layer.kernel, layer.kernel, channels, layer.filters))
                channels = layer.filters
            elif isinstance(layer, Pool):
                shapes.append(None)
                height, width = height // 2, width // 2
            else:
                shapes.append((features or height * width * channels, layer.units))
                features = layer.units
        return shapes


NETWORKS = {
    "lenet": Network(
        "LeNet (28x28x1)", (28, 28, 1), (Conv(20, 5), Pool(), Conv(50, 5), Pool(), Dense(200), Dense(CLASSES))
    ),
    "vgg9": Network(
        "VGG9 (32x32x3)",
        (32, 32, 3),
        (
            *(Conv(64, 3), Conv(64, 3), Pool()),
            *(Conv(128, 3), Conv(128, 3), Pool()),
            *(Conv(256, 3), Conv(256, 3), Conv(256, 3), Pool()),
            *(Dense(1024), Dense(CLASSES)),
        ),
    ),
}


def weights(network: Network, seed: int = 0) -> list[np.ndarray | None]:
    """Normal weights with standard deviation sqrt(2 / fan_in), None for pooling."""
    rng = np.random.default_rng(seed)
    return [
        None if shape is None else rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape).astype("float32")
        for shape in network.kernel_shapes()
    ]


def images(network: Network, batch: int, seed: int = 1) -> np.ndarray:
    """One batch: sparse in [0, 1] as MNIST for one channel, else uniform in [-1, 1]."""
    rng = np.random.default_rng(seed)
    shape = (batch, *network.input_shape)
    if network.input_shape[-1] == 1:
        pixels = rng.uniform(0, 1, shape) * (rng.uniform(0, 1, shape) < 0.2)
    else:
        pixels = rng.uniform(-1, 1, shape)
    return pixels.astype("float32")


def one_hot(batch: int, seed: int = 2) -> np.ndarray:
    """Random labels as one-hot vectors."""
    labels = np.random.default_rng(seed).integers(0, CLASSES, batch)
    return np.eye(CLASSES, dtype="float32")[labels]
