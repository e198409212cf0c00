"""snnTorch's tutorial 6: a convolutional network on MNIST, max pooling of currents, cross-entropy on spikes.

Convolution and pooling form one synapse: the maximum is of currents, before the neurons. Such a synapse is not affine:
only `gradient="bptt"` supports it.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

import keras_spiking_bp as ksbp
from examples.experiments.ports.common import TorchAdam, cross_entropies, initial, most_spikes
from examples.experiments.ports.leaky import LeakyCell

NAME, TITLE = "snntorch6", "snnTorch, tutorial 6"
DATA, EPOCHS, BATCH_SIZE = "mnist", 1, 128
NUM_STEPS, BETA, SLOPE, LEARNING_RATE = 50, 0.5, 25.0, 1e-2


def network(
    num_steps: int = NUM_STEPS,
    reset_mechanism: str = "subtract",
    threshold: float = 1.0,
    reset_delay: bool = True,
) -> keras.Model:
    """Images (B, 28, 28, 1) to the spikes of the output neurons at each step, (B, T, 10)."""

    def neurons(synapse: keras.layers.Layer) -> LeakyCell:
        neurons = {"beta": BETA, "threshold": threshold, "reset_mechanism": reset_mechanism, "reset_delay": reset_delay}
        return LeakyCell(synapse, **neurons, surrogate=ksbp.surrogates.FastSigmoid(SLOPE))

    def convolution(filters: int, fan_in: int) -> LeakyCell:
        layers = [keras.layers.Conv2D(filters, 5, **initial(fan_in)), keras.layers.MaxPooling2D(2)]
        return neurons(keras.Sequential(layers))

    cells = [
        convolution(12, 25),
        convolution(64, 12 * 25),
        keras.layers.Flatten(),
        neurons(keras.layers.Dense(10, **initial(1024))),
    ]
    images = keras.Input((28, 28, 1))
    layer = ksbp.SpikingRNN(ksbp.SequentialCell(cells), gradient="bptt", return_sequences=True)
    return keras.Model(images, layer(ksbp.ConstantEncoder(num_steps)(images)))


def loss(y_true: Any, spikes: Any) -> Any:
    """The `ce_rate_loss` of snnTorch: the mean over steps of the cross-entropy of each step's spikes."""
    return ops.mean(cross_entropies(y_true, spikes), axis=1)


def compile_model(model: keras.Model, epochs: int) -> list[keras.callbacks.Callback]:
    """Optimizer, loss and metric of the tutorial; the callbacks for `fit`."""
    model.compile(TorchAdam(LEARNING_RATE), loss, metrics=[most_spikes])
    return []
