"""Neurons of snnTorch and SpikingJelly as cells of `gradient="bptt"`: a file to copy."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

import keras_spiking_bp as ksbp


@keras.saving.register_keras_serializable(package="examples")
class LeakyCell(ksbp.LIFCell):
    """`LIFCell` whose `reset_mechanism="subtract"` is that of snnTorch's `Leaky`.

    It subtracts at the next step, after the leak: `beta * membrane - threshold`, where `LIFCell` has
    `beta * (membrane - threshold)`. In float32.
    """

    def __init__(self, synapse: keras.layers.Layer, **kwargs: Any):
        super().__init__(synapse, **kwargs)
        if self.dropout:  # the reset is by the spikes that leave the cell
            raise ValueError(f"`dropout` must be 0. Received: dropout={self.dropout}")

    def fire(self, current: tf.Tensor, state: dict[str, tf.Tensor]):
        spikes, state = super().fire(current, state)
        if self.reset_mechanism == "subtract":
            beta, threshold = tf.convert_to_tensor(self.beta), tf.convert_to_tensor(self.threshold)
            rest = (1.0 - beta) * threshold * tf.stop_gradient(spikes)
            state = {**state, "membrane": state["membrane"] - rest}
        return spikes, state


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
