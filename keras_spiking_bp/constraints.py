"""A constraint on weights that slows the drift of a layer of neurons into silence or saturation."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class ZeroMean(keras.constraints.Constraint):
    """Subtracts from the weights of each output their mean: `w <- w - mean(w)` over all axes but the last.

    The spikes of hidden neurons are never negative, so a small change that all weights of a neuron share adds up over
    its whole fan-in: with a few steps of an optimizer a layer is silent or fires at every step, for every image.
    Without biases or batch normalisation nothing else holds the mean. With it, a neuron sees differences between its
    inputs only. A layer can still drift, by weights that favour inputs which are always active, but slowly.

    Keras applies a constraint after each step of the optimizer; `calibrate` applies it before it scales.

    Shapes: weights (..., outputs), as those of `Dense` and `Conv2D`; same shape and dtype back. Not for the kernels of
    depthwise and transposed convolutions, whose last axis is another one.

    Raises:
        ValueError: if an output has one weight only, which would be 0 (a bias, or a single input).

    Source: ours; the paper has none. The mean part of weight standardisation (Qiao et al., arXiv 1903.10520).

    Example:
        >>> ZeroMean()(np.array([[1.0, 5.0], [3.0, 5.0]])).numpy().tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """

    def __call__(self, w: Any) -> Any:
        w = ops.convert_to_tensor(w)
        if math.prod(w.shape[:-1]) < 2:
            raise ValueError(
                "`w` must have two weights or more for each output: the mean of a single one is itself. Received: "
                f"weights of shape {tuple(w.shape)}"
            )
        return w - ops.mean(w, axis=tuple(range(len(w.shape) - 1)), keepdims=True)
