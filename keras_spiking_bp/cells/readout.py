"""The last layer: a leaky integrator that never fires."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.base import NeuronCell, State, current_of, total_of
from keras_spiking_bp.gradients import leak_bptt, per_sample, spike_total
from keras_spiking_bp.validation import check_beta


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class ReadoutCell(NeuronCell):
    """A synapse and neurons that integrate and leak, but never fire and never reset.

        membrane <- beta * (membrane + synapse(inputs[t]))

    The output of a step is the membrane potential V[t]; `SpikingRNN` divides it by the number of steps, so that a
    network gives V[T] / T. The derivative ignores the leak: `d (V[T] / T) / d I[t] = 1 / T` (arXiv 1903.06379, final
    layer); with `differentiate_leak` it is `beta^(T - t + 1) / T`, on totals its mean over t.

    Args:
        synapse: any Keras layer, such as `keras.layers.Dense(10, use_bias=False)`.
        beta: decay of the membrane potential per time step, 0 < beta <= 1.
        differentiate_leak: whether the derivative takes the leak into account, as snnTorch and SpikingJelly do; the
            paper does not.

    Shapes: inputs (B, ...) as the synapse takes them; outputs and `membrane` as it gives them, float32.

    Raises:
        TypeError: if `synapse` is not a layer.
        ValueError: if `beta` is out of its range.

    Example:
        >>> layer = SpikingRNN(ReadoutCell(keras.layers.Dense(10, use_bias=False)))
        >>> layer(np.ones((2, 5, 4), "float32")).shape
        TensorShape([2, 10])
    """

    emits = "potential"

    def __init__(
        self, synapse: keras.layers.Layer, beta: float = 0.99, differentiate_leak: bool = False, **kwargs: Any
    ):
        super().__init__(synapse, **kwargs)
        self.beta = check_beta("beta", beta)
        self.differentiate_leak = differentiate_leak

    def step(self, inputs: tf.Tensor, states: list[State]):
        """One time step: the output is the membrane potential after the leak."""
        potential = states[0]["membrane"] + current_of(self.synapse, inputs)
        ignored = "slot" in states[0] and not self.differentiate_leak
        membrane = leak_bptt(potential, self.beta) if ignored else self.beta * potential
        return membrane, [{**states[0], "membrane": membrane}]

    def accumulate(
        self, total_inputs: tf.Tensor, states: list[State], num_steps: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """The final potential V[T], with derivative 1 to the current summed over time, or the mean of the leaks."""
        net = total_of(self.synapse, total_inputs, num_steps, training)
        slope = 1.0
        if self.differentiate_leak and self.beta < 1:
            steps = per_sample(num_steps, net)
            leaked = -tf.math.expm1(math.log(self.beta) * steps)  # 1 - beta^steps, of a beta near 1 too
            slope = self.beta * leaked / (1.0 - self.beta) / steps
        return spike_total(net, states[0]["membrane"], slope)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta, "differentiate_leak": self.differentiate_leak}
