"""SpikingJelly's `ParametricLIFNode`, as a cell: a learned time constant, which scales the input too."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

import keras_spiking_bp as ksbp


@keras.saving.register_keras_serializable(package="examples")
class ParametricLIFCell(ksbp.LIFCell):
    """`LIFCell` with a learned `beta` and the input times `1 - beta`: `membrane <- membrane + (1 - beta) * I[t]`.

    `ParametricLIFNode(init_tau)` with `decay_input=True`, its default, starts at `beta = 1 - 1 / init_tau`. It learns
    w, with `beta = 1 - sigmoid(w)`: `d/dw = -sigmoid'(w) * d/dbeta`. Under `gradient="bptt"`, with a surrogate.
    """

    def __init__(self, synapse: keras.layers.Layer, beta: float = 0.5, **kwargs: Any):
        super().__init__(synapse, beta=beta, learn_beta=True, **kwargs)

    def fire(self, current: tf.Tensor, state: dict[str, tf.Tensor]):
        return super().fire((1.0 - tf.convert_to_tensor(self.beta)) * tf.cast(current, tf.float32), state)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["learn_beta"]
        return config
