"""snnTorch's `Leaky`, as a cell: its reset, and its membrane potential as an output."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

import keras_spiking_bp as ksbp


@keras.saving.register_keras_serializable(package="examples")
class LeakyCell(ksbp.LIFCell):
    """`LIFCell` whose `reset_mechanism="subtract"` is snnTorch's default reset; `reset_delay=False`: as in `LIFCell`.

    It subtracts at the next step, after the leak: `beta * membrane - threshold`, where `LIFCell` has
    `beta * (membrane - threshold)`.
    """

    def __init__(self, synapse: keras.layers.Layer, reset_delay: bool = True, **kwargs: Any):
        super().__init__(synapse, **kwargs)
        self.reset_delay = reset_delay
        if self.dropout or synapse.compute_dtype != "float32":  # the reset uses the emitted spikes
            raise ValueError(
                "`dropout` must be 0 and `synapse` compute in float32. Received: "
                f"dropout={self.dropout}, {synapse.compute_dtype}"
            )

    def fire(self, current: tf.Tensor, state: dict[str, tf.Tensor]):
        spikes, state = super().fire(current, state)
        if self.reset_delay and self.reset_mechanism == "subtract":
            beta, threshold = tf.convert_to_tensor(self.beta), tf.convert_to_tensor(self.threshold)
            rest = (1.0 - beta) * threshold * tf.stop_gradient(spikes)
            state = {**state, "membrane": state["membrane"] - rest}
        return spikes, state

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "reset_delay": self.reset_delay}


@keras.saving.register_keras_serializable(package="examples")
class PotentialCell(LeakyCell):
    """Neurons that fire and are reset, and output their potential before the reset, snnTorch's `mem`.

    For `return_sequences=True`: a single output would be the potential after the last reset.
    """

    emits = "potential"

    def __init__(self, synapse: keras.layers.Layer, **kwargs: Any):
        super().__init__(synapse, **kwargs)
        if self.synaptic_beta is not None:
            raise ValueError(f"`synaptic_beta` must be None. Received: synaptic_beta={self.synaptic_beta!r}")

    def fire(self, current: tf.Tensor, state: dict[str, tf.Tensor]):
        _, after = super().fire(current, state)
        return state["membrane"] + current, after
