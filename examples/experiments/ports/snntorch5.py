"""snnTorch's tutorial 5: a fully connected network on MNIST, the image at each step, a loss on the potentials.

The loss is on the membrane potential of output neurons that fire, before their reset, at each step; the prediction is
the neuron with the most spikes. A `SpikingRNN` outputs spikes, or the potentials of a `ReadoutCell`, which never
fires: hence the custom `PotentialCell`. `readout=True` is the usual way in this library.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

import keras_spiking_bp as ksbp
from examples.experiments.ports.common import TorchAdam, cross_entropies, initial, most_spikes
from examples.experiments.ports.leaky import LeakyCell, PotentialCell

NAME, TITLE = "snntorch5", "snnTorch, tutorial 5"
DATA, EPOCHS, BATCH_SIZE = "mnist", 1, 128
NUM_STEPS, BETA, LEARNING_RATE = 25, 0.95, 5e-4


def network(
    num_steps: int = NUM_STEPS,
    reset_mechanism: str = "subtract",
    threshold: float = 1.0,
    reset_delay: bool = True,
    readout: bool = False,
    gradient: str = "bptt",
) -> keras.Model:
    """Images (B, 28, 28, 1) to the potentials of the output neurons at each step, (B, T, 10)."""
    neurons = {"beta": BETA, "threshold": threshold, "reset_mechanism": reset_mechanism, "surrogate": "atan"}
    neurons["reset_delay"] = reset_delay
    hidden = LeakyCell(keras.layers.Dense(1000, **initial(784)), **neurons)
    last = keras.layers.Dense(10, **initial(1000))
    output = ksbp.ReadoutCell(last, BETA, differentiate_leak=True) if readout else PotentialCell(last, **neurons)
    images = keras.Input((28, 28, 1))
    currents = ksbp.ConstantEncoder(num_steps)(keras.layers.Flatten()(images))
    layer = ksbp.SpikingRNN(ksbp.SequentialCell([hidden, output]), gradient=gradient, return_sequences=True)
    steps = np.arange(1, num_steps + 1, dtype="float32")[:, None]
    return keras.Model(images, layer(currents) * steps)  # a SpikingRNN gives V[t] / t


def loss(y_true: Any, potentials: Any) -> Any:
    """The sum over steps of the cross-entropy."""
    return ops.sum(cross_entropies(y_true, potentials), axis=1)


def compile_model(model: keras.Model, epochs: int, readout: bool = False) -> list[keras.callbacks.Callback]:
    """Optimizer, loss and metric of the tutorial; the callbacks for `fit`."""

    def accuracy(y_true: Any, potentials: Any) -> Any:
        return most_spikes(y_true, potentials[:, -1:] if readout else potentials > 1.0)

    model.compile(TorchAdam(LEARNING_RATE), loss, metrics=[accuracy])
    return []
