"""The order of axes: NIR has channels first, (C, H, W) or (C, L); we have channels last, (H, W, C) or (L, C)."""

from __future__ import annotations

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class Scale(keras.layers.Rescaling):
    """One factor for each neuron: under image_data_format="channels_first", Keras' own takes a vector for a column."""

    is_affine = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs * keras.ops.cast(self.scale, inputs.dtype)


@dataclasses.dataclass(frozen=True)
class Signal:
    """What one step sends from a node to the next, in our order of axes: (H, W, C), (L, C) or (N,).

    `flattened_from` is the (H, W, C) or (L, C) it was flattened from, until a dense layer mixes it: until then its
    entries are in another order in NIR, (C, H, W) or (C, L). None if that is the same order.
    """

    shape: tuple[int, ...]
    flattened_from: tuple[int, ...] | None = None

    def flat(self) -> Signal:
        if len(self.shape) == 1:
            return self
        same_order = self.shape[-1] == 1 or math.prod(self.shape[:-1]) == 1
        return Signal((math.prod(self.shape),), flattened_from=None if same_order else self.shape)

    def check_order(self, where: str) -> None:
        """Raises a ValueError where both orders of a flattened image would meet."""
        if self.flattened_from is not None:
            raise ValueError(
                f"{where} takes a flattened picture {self.flattened_from} without a dense layer in between, and NIR "
                "flattens (C, H, W): its entries would be in another order"
            )


def swapped(shape: tuple[int, ...], channels: str) -> tuple[int, ...]:
    """The shape with its channels `"first"` (H, W, C -> C, H, W) or `"last"` (C, H, W -> H, W, C)."""
    if len(shape) == 1:
        return shape
    return (shape[-1], *shape[:-1]) if channels == "first" else (*shape[1:], shape[0])


def neurons_to_nir(values: np.ndarray, signal: Signal) -> np.ndarray:
    """One value for each neuron (or what broadcasts to it), in NIR's order, for neurons that emit `signal`."""
    values = np.broadcast_to(values, signal.shape)
    return values[_order(signal)] if values.ndim == 1 else np.moveaxis(values, -1, 0)


def neurons_from_nir(values: np.ndarray, signal: Signal) -> np.ndarray:
    """One value for each neuron (or what broadcasts to it) in our order, for neurons that emit `signal`."""
    values = np.broadcast_to(values, swapped(signal.shape, "first"))
    if values.ndim > 1:
        return np.moveaxis(values, 0, -1)
    ours = np.empty(values.shape, values.dtype)
    ours[_order(signal)] = values
    return ours


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
    return np.moveaxis(entries.reshape(signal.flattened_from), -1, 0).ravel()
