"""The maximum of a window of spike trains."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.block import Block, State
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.gradients.totals import spike_total
from keras_spiking_bp.utils.layer_kinds import GLOBAL_MAX_POOLING, MAX_POOLING
from keras_spiking_bp.utils.validation import check_choice


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class MaxPoolingCell(NeuronCell):
    """Max pooling of spike trains: of the spikes, or of their counts.

    With `of="spikes"`, as in networks of snnTorch and SpikingJelly,

        spikes[t] = max_pool(inputs[t])

    so that two neurons that fire in turn give an output that always fires. With `of="counts"`, which converted networks
    need, the count of each output is the maximum of its inputs' counts, at every step:

        seen[t] = seen[t-1] + inputs[t]
        spikes[t] = max_pool(seen[t]) - max_pool(seen[t-1])

    For inputs of 0 or 1 this is 0 or 1. On totals the gradient goes to the input
    with the largest count (exact for counts). Step by step it is that of the difference of the two maxima: with equal
    gradients at all steps again to the input with the largest count at the end, and at a step where the lead changes
    negative for the former leader; or, for spikes, to the one that was the maximum of the step.

    Args:
        synapse: a max pooling layer, such as `keras.layers.MaxPooling2D(2)`.
        of: `"spikes"` or `"counts"`.

    Shapes: inputs and outputs of a step as for the pooling layer; the state `membrane` holds `seen`, shaped like the
    inputs, float32 (for spikes it holds nothing: one zero per sample, (B, 1)).

    Raises:
        TypeError: if `synapse` is not a max pooling layer.
        ValueError: if `of` is neither of the two.

    Example:
        >>> layer = SpikingRNN(MaxPoolingCell(keras.layers.MaxPooling2D(2)), return_sequences=True)
        >>> layer(np.ones((1, 5, 4, 4, 2), "float32")).shape
        TensorShape([1, 5, 2, 2, 2])
    """

    has_threshold = False

    def __init__(self, synapse: keras.layers.Layer, of: str = "spikes", **kwargs: Any):
        super().__init__(synapse, **kwargs)
        if not isinstance(synapse, (*MAX_POOLING, *GLOBAL_MAX_POOLING)):
            raise TypeError(
                "`synapse` must be a max pooling layer, such as keras.layers.MaxPooling2D(2). "
                f"Received: synapse={synapse!r} (type {type(synapse).__name__})"
            )
        self.of = check_choice("of", of, ("spikes", "counts"))

    @property
    def description(self) -> str:
        return f"maximum of {self.of}"

    @property
    def carries_state(self) -> bool:
        """Whether `membrane` holds the counts."""
        return self.of == "counts"

    @property
    def carried_shapes(self) -> dict[str, Any]:
        if self.of == "spikes":
            return {"membrane": (1,)}
        return {"membrane": self.input_shape_of_step if self.built else None}

    def affine_parts(self) -> list[keras.layers.Layer]:
        return []  # a maximum, but `accumulate` handles it

    def blank_record(self, carried: State, gradient: str | None, recorded: bool) -> State:
        membrane = carried["membrane"]
        of_neurons = {"pooled": self._pooled(membrane)} if self.of == "counts" else {}
        if recorded or gradient is not None:
            of_neurons["spike_count"] = tf.zeros((tf.shape(membrane)[0], *self.output_shape_of_step))
        if recorded:  # the count is that of positive spikes less that of negative ones
            of_neurons["fired"] = tf.zeros_like(of_neurons["spike_count"])
        return of_neurons

    def current(self, inputs: tf.Tensor, block: Block) -> tf.Tensor:
        """The maximum of spikes; for that of counts, the inputs as they are."""
        inputs = tf.cast(inputs, tf.float32)
        return self._pooled(inputs) if self.of == "spikes" else inputs

    def fire(self, current: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """One time step."""
        new = dict(state)
        if self.of == "spikes":
            spikes = current
        else:
            new["membrane"] = state["membrane"] + current
            new["pooled"] = self._pooled(new["membrane"])
            # carried along, so that each step pools only once; a single step has only the counts
            before = state["pooled"] if "pooled" in state else self._pooled(state["membrane"])
            spikes = new["pooled"] - before
        if "spike_count" in new:
            new["spike_count"] = tf.stop_gradient(new["spike_count"] + spikes)
        if "fired" in new:
            new["fired"] += tf.cast(spikes != 0, tf.float32)
        return spikes, new

    def accumulate(
        self, total_inputs: tf.Tensor, states: list[State], num_steps: tf.Tensor, training: bool = False, *_: Any
    ) -> tf.Tensor:
        """The spikes of the window, with the derivative of the maximum of the inputs' counts."""
        if self.of == "spikes":
            return spike_total(self._pooled(total_inputs), states[0]["spike_count"], 1.0)
        before = tf.stop_gradient(states[0]["membrane"] - total_inputs)  # the total may be of other statistics
        return spike_total(self._pooled(before + total_inputs), states[0]["spike_count"], 1.0)

    def _pooled(self, seen: tf.Tensor) -> tf.Tensor:
        return self.synapse.call(seen)  # not cast to its policy: bfloat16 cannot count beyond 256

    def activity(self, state: State, num_steps: tf.Tensor) -> dict[str, tf.Tensor]:
        return super().activity(state, num_steps) | {"spike_count": state["fired"]}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "of": self.of}
