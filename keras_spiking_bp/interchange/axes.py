"""The order of axes: NIR has channels first, (C, H, W); we have channels last, (H, W, C)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Signal:
    """What one step sends from a node to the next.

    Attributes:
        shape: in our order of axes, (H, W, C) or (N,).
        flattened_from: the (H, W, C) that it was flattened from, until a dense layer mixes it: as long, its entries
            stand in another order in NIR, (C, H, W).
    """

    shape: tuple[int, ...]
    flattened_from: tuple[int, ...] | None = None

    def flat(self) -> Signal:
        """The same signal, flattened."""
        if len(self.shape) == 1:
            return self
        return Signal((math.prod(self.shape),), flattened_from=self.shape)

    def check_order(self, where: str) -> None:
        """Raises a ValueError where both orders of a flattened picture would meet."""
        if self.flattened_from is not None:
            raise ValueError(
                f"{where} takes a flattened picture {self.flattened_from} without a dense layer in between, and NIR "
                "flattens (C, H, W) where Keras flattens (H, W, C): its entries would be in another order. Leave the "
                "flattening out, or put a dense layer behind it"
            )


def swapped(shape: tuple[int, ...], channels: str) -> tuple[int, ...]:
    """The shape with its channels `"first"` (H, W, C -> C, H, W) or `"last"` (C, H, W -> H, W, C)."""
    if len(shape) == 1:
        return shape
    return (shape[-1], *shape[:-1]) if channels == "first" else (*shape[1:], shape[0])


def dense_to_nir(kernel: np.ndarray, signal: Signal) -> np.ndarray:
    """The weight (out, in) of a Linear or Affine node, from the kernel (in, out) of a Dense layer on `signal`."""
    return kernel[_order(signal)].T


def dense_from_nir(weight: np.ndarray, signal: Signal) -> np.ndarray:
    """The kernel (in, out) of a Dense layer on `signal`, from the weight (out, in) of a Linear or Affine node."""
    kernel = np.empty(weight.T.shape, "float32")
    kernel[_order(signal)] = weight.T
    return kernel


def _order(signal: Signal) -> np.ndarray:
    """Which entry of our signal is the first, second, ... in NIR."""
    entries = np.arange(signal.shape[0])
    if signal.flattened_from is None:
        return entries
    return entries.reshape(signal.flattened_from).transpose(2, 0, 1).ravel()
