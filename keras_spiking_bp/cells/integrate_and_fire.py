"""The neuron without leak: the paper's pooling neuron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.cells.lif import LIFCell


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class IFCell(LIFCell):
    """A synapse and a layer of integrate-and-fire neurons: no leak, no dropout.

    With `keras.layers.AveragePooling2D(2)` as the synapse this is the paper's pooling neuron: like `LIFCell` with
    `beta = 1`, but without a surrogate its derivative has 1 in place of the factor 1 / threshold.

    Args:
        synapse: any Keras layer.
        threshold: membrane potential above which a neuron fires, as in `LIFCell`; 0.75 for the paper's pooling neurons.
        reset_mechanism: `"zero"` (the paper) or `"subtract"`.
        surrogate, initial_membrane, synaptic_beta, learn_threshold, activity_regularizer: as in `LIFCell`.

    Shapes, dtypes and errors: as `LIFCell`; TypeError for `dropout`, `beta` and what belongs to them.

    Example:
        >>> layer = SpikingRNN(IFCell(keras.layers.AveragePooling2D(2)))
        >>> layer(np.ones((1, 10, 4, 4, 2), "float32")).shape
        TensorShape([1, 2, 2, 2])
    """

    def __init__(
        self,
        synapse: keras.layers.Layer,
        threshold: float | Sequence | np.ndarray = 0.75,
        reset_mechanism: str = "zero",
        **kwargs: Any,
    ):
        unknown = sorted({"beta", "learn_beta", "dropout", "seed"} & set(kwargs))
        if unknown:
            raise TypeError(f"IFCell has no leak and no dropout, and takes no {unknown}. LIFCell does")
        super().__init__(
            synapse, beta=1.0, threshold=threshold, reset_mechanism=reset_mechanism, learn_beta=False, **kwargs
        )

    @property
    def slope_scale(self) -> float:
        """1: the derivative of a pooling neuron is 1 where it fired."""
        return 1.0

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("beta", "learn_beta", "dropout", "seed"):
            del config[name]
        return config
