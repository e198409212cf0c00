"""A leaky integrator that never fires: usually the last layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.block import State
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.gradients.bptt import leak_bptt
from keras_spiking_bp.gradients.slopes import mean_decay, mean_gain
from keras_spiking_bp.gradients.totals import spike_total
from keras_spiking_bp.utils import neuron_parameters as parameters
from keras_spiking_bp.utils.broadcasting import per_sample
from keras_spiking_bp.utils.validation import check_beta


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class ReadoutCell(NeuronCell):
    """A synapse and neurons that integrate and leak, but never fire and never reset.

        membrane <- beta * (membrane + synapse(inputs[t]))

    The output of a step is the membrane potential V[t]; `SpikingRNN` divides it by the number of steps, so a network
    returns V[T] / T. The derivative ignores the leak: `d (V[T] / T) / d I[t] = 1 / T` (arXiv 1903.06379, final layer);
    with `differentiate_leak` it is `beta^(T - t + 1) / T`, on totals the mean over t, also for the earlier outputs of
    `return_sequences=True`: for a loss on these, only `"bptt"` is exact.

    Before other cells it passes its potential on at each step (`LI` in NIR, a low-pass filter): on totals, V summed
    over the steps, with the derivative with respect to a current averaged over t.

    Args:
        synapse: any Keras layer, such as `keras.layers.Dense(10, use_bias=False)`.
        beta: decay of the membrane potential per time step, 0 < beta <= 1; a number, or an array of one per neuron.
        differentiate_leak: whether the derivative includes the leak, as in snnTorch and SpikingJelly; the paper's does
            not.
        learn_beta: as in `LIFCell`; needs `differentiate_leak=True` and `gradient="bptt"`.

    Shapes: inputs (B, ...) as the synapse accepts them; outputs and `membrane` as it returns them, float32.

    Raises:
        TypeError: if `synapse` is not a layer, or has neurons.
        ValueError: if `beta` is out of range or does not broadcast, or is learned without its derivative.

    Example:
        >>> layer = SpikingRNN(ReadoutCell(keras.layers.Dense(10, use_bias=False)))
        >>> layer(np.ones((2, 5, 4), "float32")).shape
        TensorShape([2, 10])
    """

    emits = "potential"

    def __init__(
        self,
        synapse: keras.layers.Layer,
        beta: float | Sequence | np.ndarray = 0.99,
        differentiate_leak: bool = False,
        learn_beta: bool = False,
        **kwargs: Any,
    ):
        super().__init__(synapse, **kwargs)
        self.beta = parameters.checked(check_beta, "beta", beta)
        self.differentiate_leak = differentiate_leak
        self.learn_beta = learn_beta
        if learn_beta and not differentiate_leak:
            raise ValueError("`differentiate_leak` must be True with learn_beta=True. Received: False")
        for name in self.learned:
            parameters.check_learnable(name, self.beta)
        self._initial_beta = parameters.plain(self.beta)

    @property
    def description(self) -> str:
        return f"readout {parameters.shown(self.beta)}"

    @property
    def learned(self) -> list[str]:
        """The names of the parameters that are weights."""
        return ["beta"] if self.learn_beta else []

    def build(self, input_shape: tuple) -> None:
        super().build(input_shape)
        parameters.check_fits(self.name, "beta", self.beta, self.output_shape_of_step)
        if self.learn_beta:
            self.beta = parameters.learned_beta(self, self.beta)

    def blank_record(self, carried: State, gradient: str | None, recorded: bool) -> State:
        """The sum over V[t], for cells after it; `SpikingRNN` removes it where there are none."""
        return {"potential_sum": tf.zeros_like(carried["membrane"])} if gradient is not None or recorded else {}

    def fire(self, current: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """One time step: the output is the membrane potential after the leak."""
        potential = state["membrane"] + tf.cast(current, tf.float32)
        ignored = "slot" in state and not self.differentiate_leak
        membrane = leak_bptt(potential, self.beta) if ignored else parameters.now(self.beta) * potential
        new = {**state, "membrane": membrane}
        if "potential_sum" in new:
            new["potential_sum"] += tf.stop_gradient(membrane)
        return membrane, new

    def total(self, net: tf.Tensor, state: State, num_steps: tf.Tensor) -> tf.Tensor:
        """The final potential V[T], or the sum over V[t] for later cells, with its derivative."""
        beta, steps = parameters.now(self.beta) if self.differentiate_leak else 1.0, per_sample(num_steps, net)
        if "potential_sum" in state:
            return spike_total(net, state["potential_sum"], beta * mean_gain(beta, steps))
        return spike_total(net, state["membrane"], mean_decay(beta, steps))

    def get_config(self) -> dict[str, Any]:
        own = {"differentiate_leak": self.differentiate_leak, "learn_beta": self.learn_beta}
        return {**super().get_config(), "beta": parameters.configured(self.beta, self._initial_beta), **own}
