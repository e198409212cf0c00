"""The maximum of a window of spike trains."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.base import NeuronCell, State

_POOLING = (
    keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.MaxPooling3D, keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D, keras.layers.GlobalMaxPooling3D,
)  # fmt: skip


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class MaxPoolingCell(NeuronCell):
    """Max pooling of spike trains: its spike counts are the maximum of its inputs' spike counts, at every step.

        seen[t] = seen[t-1] + inputs[t]
        spikes[t] = max_pool(seen[t]) - max_pool(seen[t-1])

    For inputs of 0 or 1 this is 0 or 1. (The maximum of the spikes themselves would count too many: two neurons that
    fire in turn make a third that fires always.) Summed over the window it is the maximum of the sums, which is also
    its derivative in both gradients.

    Args:
        synapse: a max pooling layer, such as `keras.layers.MaxPooling2D(2)`.

    Shapes: inputs and outputs of a step as the pooling layer has them; the state `membrane` holds `seen`, shaped like
    the inputs, float32.

    Raises:
        TypeError: if `synapse` is not a max pooling layer.

    Example:
        >>> layer = SpikingRNN(MaxPoolingCell(keras.layers.MaxPooling2D(2)), return_sequences=True)
        >>> layer(np.ones((1, 5, 4, 4, 2), "float32")).shape
        TensorShape([1, 5, 2, 2, 2])
    """

    def __init__(self, synapse: keras.layers.Layer, **kwargs: Any):
        super().__init__(synapse, **kwargs)
        if not isinstance(synapse, _POOLING):
            raise TypeError(
                "`synapse` must be a max pooling layer, such as keras.layers.MaxPooling2D(2). "
                f"Received: synapse={synapse!r} (type {type(synapse).__name__})"
            )

    @property
    def state_shape_of_step(self) -> tuple[int, ...] | None:
        return self.input_shape_of_step if self.built else None

    def affine_parts(self) -> list[tuple[keras.layers.Layer, tuple[int, ...]]]:
        return []  # a maximum, but of sums over time: `accumulate` is exact

    def initial_state(self, batch_size: Any, recorded: bool = False, **kwargs: Any) -> State:
        state = super().initial_state(batch_size, **kwargs)
        state["pooled"] = self._pooled(state["membrane"])
        if recorded:
            state["spike_count"] = tf.zeros((batch_size, *self.output_shape_of_step))
        return state

    def step(self, inputs: tf.Tensor, states: list[State]):
        """One time step."""
        new = dict(states[0])
        new["membrane"] = states[0]["membrane"] + tf.cast(inputs, tf.float32)
        new["pooled"] = self._pooled(new["membrane"])
        # carried along, for pooling once a step is enough; a step that stands alone has the counts only
        before = states[0]["pooled"] if "pooled" in states[0] else self._pooled(states[0]["membrane"])
        spikes = new["pooled"] - before
        if "spike_count" in new:
            new["spike_count"] = tf.stop_gradient(new["spike_count"] + spikes)
        return spikes, [new]

    def accumulate(
        self, total_inputs: tf.Tensor, states: list[State], num_steps: tf.Tensor, bounded: bool = False
    ) -> tf.Tensor:
        """The maximum of the sums, with its own derivative."""
        before = tf.stop_gradient(states[0]["membrane"] - total_inputs)
        return self._pooled(before + total_inputs) - self._pooled(before)

    def _pooled(self, seen: tf.Tensor) -> tf.Tensor:
        return self.synapse.call(seen)  # not cast to its policy: bfloat16 cannot count beyond 256

    def activity(self, state: State, num_steps: tf.Tensor) -> dict[str, tf.Tensor]:
        return super().activity(state, num_steps) | {"spike_count": state["spike_count"]}
