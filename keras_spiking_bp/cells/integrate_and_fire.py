"""The neuron without leak, and the paper's pooling neuron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.cells.lif import LIFCell


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class IFCell(LIFCell):
    """A synapse and a layer of integrate-and-fire neurons: `LIFCell` with `beta = 1`.

    Args:
        synapse: any Keras layer.
        threshold, **kwargs: as in `LIFCell`, without `beta` and `learn_beta`.

    Shapes, dtypes and errors: as `LIFCell`.

    Example:
        >>> layer = SpikingRNN(IFCell(keras.layers.Dense(3)))
        >>> layer(np.ones((1, 10, 4), "float32")).shape
        TensorShape([1, 3])
    """

    def __init__(self, synapse: keras.layers.Layer, threshold: float | Sequence | np.ndarray = 1.0, **kwargs: Any):
        super().__init__(synapse, beta=1.0, threshold=threshold, learn_beta=False, **kwargs)

    kind = "IF"

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["beta"], config["learn_beta"]
        return config


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class PoolingCell(IFCell):
    """The paper's pooling neuron: an average drives an integrate-and-fire neuron.

    As `IFCell`, but the paper's derivative has 1 in place of the factor 1 / threshold (arXiv 1903.06379).

    Args:
        synapse: an average pooling layer, such as `keras.layers.AveragePooling2D(2)`.
        threshold, **kwargs: as in `IFCell`.

    Shapes, dtypes and errors: as `LIFCell`.

    Example:
        >>> layer = SpikingRNN(PoolingCell(keras.layers.AveragePooling2D(2)))
        >>> layer(np.ones((1, 10, 4, 4, 2), "float32")).shape
        TensorShape([1, 2, 2, 2])
    """

    def __init__(self, synapse: keras.layers.Layer, threshold: float | Sequence | np.ndarray = 0.75, **kwargs: Any):
        super().__init__(synapse, threshold=threshold, **kwargs)

    @property
    def slope_scale(self) -> float:
        """1: the derivative of a pooling neuron is 1 where it fired."""
        return 1.0
