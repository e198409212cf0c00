"""The Poisson code of the C files: random numbers that follow from a counter."""

import numpy as np


def poisson_spikes(images: np.ndarray, num_steps: int, seed: int, scale: float = 1.0) -> np.ndarray:
    """The spikes that `network_poisson` in C draws, bit for bit.

    With 32-bit integers, `h` the hash below, i the index of a number of an image:

        key = h(h(seed) + t)
        drawn = floor(h(h(key + i) xor key) / 256) / 2^24
        spikes[t, i] = sign(image[i]) where drawn < scale * |image[i]|, else 0

        h(x):  x <- (x xor x >> 16) * 0x7feb352d;  x <- (x xor x >> 15) * 0x846ca68b;  x xor x >> 16

    Args:
        images: (B, ...) float.
        num_steps: time steps T.
        seed: 0 to 2^32 - 1. All images are drawn with the same: give each its own call for others.
        scale: as of `PoissonEncoder`.

    Returns:
        Spikes (B, T, ...) int8.

    Example:
        >>> poisson_spikes(np.array([[0.0, 1.0, -1.0]]), num_steps=3, seed=0).sum(1).tolist()
        [[0, 3, -3]]
    """
    rates = np.float32(scale) * np.asarray(images, "float32")
    places = np.arange(rates[0].size, dtype="uint32")
    spikes = np.zeros((len(rates), num_steps, places.size), "int8")
    for step in range(num_steps):
        key = _mixed(_mixed(np.array([seed], "uint32")) + np.uint32(step))
        drawn = (_mixed(_mixed(key + places) ^ key) >> 8).astype("float32") / np.float32(2**24)
        flat = rates.reshape(len(rates), -1)
        spikes[:, step] = np.where(drawn < np.abs(flat), np.sign(flat), 0)
    return spikes.reshape(len(rates), num_steps, *rates.shape[1:])


def _mixed(x: np.ndarray) -> np.ndarray:
    """A hash of 32 bits (Wellons' lowbias32)."""
    x = (x ^ x >> np.uint32(16)) * np.uint32(0x7FEB352D)
    x = (x ^ x >> np.uint32(15)) * np.uint32(0x846CA68B)
    return x ^ x >> np.uint32(16)
