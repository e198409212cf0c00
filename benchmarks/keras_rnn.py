"""Our cells in a plain `keras.layers.RNN`: ordinary autodiff through all time steps."""

from __future__ import annotations

from collections.abc import Callable

import keras

import keras_spiking_bp as ksbp
from benchmarks import networks, ours, tf_step
from benchmarks.networks import Network


def build(network: Network, num_steps: int, batch: int, mode: str) -> Callable[[], float]:
    """The step to be timed. The readout cell gives V[T]; it is divided by T here."""
    x = keras.Input(network.input_shape)
    spikes = ksbp.PoissonEncoder(num_steps=num_steps)(x)
    potential = keras.layers.RNN(ours.cell_of(network))(spikes)
    model = keras.Model(x, keras.layers.Rescaling(1 / num_steps)(potential))
    ours.load(model, network)
    optimizer = keras.optimizers.SGD(networks.LEARNING_RATE)
    model.compile(optimizer, loss=ksbp.losses.SumSquaredError())
    return tf_step.step_of(model, network, num_steps, batch, mode)
