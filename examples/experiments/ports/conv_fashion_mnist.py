"""SpikingJelly's `activation_based.examples.conv_fashion_mnist`: convolutions with batch normalisation, T = 4.

Two ways to write it: cells, with batch normalisation in the synapse; or, with `layers=True`, Keras layers on
sequences, one after the other, as in its multi-step mode. Then batch normalisation is that of Keras, over batch,
steps and positions, with its ordinary gradient.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops
from keras.layers import BatchNormalization, Conv2D, Dense, Flatten, Identity, MaxPooling2D

import keras_spiking_bp as ksbp
from examples.experiments.ports.common import initial

NAME, TITLE = "conv_fashion_mnist", "SpikingJelly, conv_fashion_mnist"
DATA, EPOCHS, BATCH_SIZE = "fashion_mnist", 64, 128
NUM_STEPS, LEARNING_RATE, MOMENTUM = 4, 0.1, 0.9


def network(
    channels: int = 128,
    num_steps: int = NUM_STEPS,
    beta: float = 1.0,
    threshold: float = 1.0,
    layers: bool = False,
    gradient: str = "bptt",
) -> keras.Model:
    """Images (B, 28, 28, 1) to the firing rates of the output neurons, (B, 10)."""
    units = channels * 4 * 4

    def neurons(synapse: keras.layers.Layer) -> ksbp.LIFCell:  # IFNode(surrogate_function=surrogate.ATan())
        return ksbp.LIFCell(synapse, beta, threshold, "zero", surrogate="atan")

    def convolution(fan_in: int) -> list[keras.layers.Layer]:
        return [
            Conv2D(channels, 3, padding="same", use_bias=False, **initial(fan_in)),
            BatchNormalization(momentum=0.9, epsilon=1e-5),  # torch's defaults
        ]

    def dense(units: int, fan_in: int) -> keras.layers.Layer:
        return Dense(units, use_bias=False, **initial(fan_in))

    images = keras.Input((28, 28, 1))
    x = ksbp.ConstantEncoder(num_steps)(images)
    if not layers:
        cells = [
            neurons(keras.Sequential(convolution(9))),
            ksbp.MaxPoolingCell(MaxPooling2D(2), of="spikes"),
            neurons(keras.Sequential(convolution(9 * channels))),
            ksbp.MaxPoolingCell(MaxPooling2D(2), of="spikes"),
            Flatten(),
            neurons(dense(units, channels * 7 * 7)),
            neurons(dense(10, units)),
        ]
        return keras.Model(images, ksbp.SpikingRNN(ksbp.SequentialCell(cells), gradient=gradient)(x))
    for fan_in in (9, 9 * channels):
        x = on_all_steps(convolution(fan_in), x)
        x = ksbp.SpikingRNN(neurons(Identity()), gradient=gradient, return_sequences=True)(x)
        x = on_all_steps([MaxPooling2D(2)], x)
    x = on_all_steps([Flatten()], x)
    x = ksbp.SpikingRNN(neurons(dense(units, channels * 7 * 7)), gradient=gradient, return_sequences=True)(x)
    return keras.Model(images, ksbp.SpikingRNN(neurons(dense(10, units)), gradient=gradient)(x))


def on_all_steps(layers: list[keras.layers.Layer], x: keras.KerasTensor) -> keras.KerasTensor:
    """Layers on (B, T, ...) with the steps folded into the batch, as in `SeqToANNContainer`."""
    num_steps = x.shape[1]
    x = ops.reshape(x, (-1, *x.shape[2:]))
    for layer in layers:
        x = layer(x)
    return ops.reshape(x, (-1, num_steps, *x.shape[1:]))


def loss(y_true: Any, rates: Any) -> Any:
    """Mean squared error of the firing rates against one-hot labels."""
    return keras.losses.mean_squared_error(ops.one_hot(ops.reshape(y_true, (-1,)), 10), rates)


def compile_model(model: keras.Model, epochs: int) -> list[keras.callbacks.Callback]:
    """Optimizer, loss and metric of the example, with its cosine decay of the learning rate by epoch."""
    model.compile(keras.optimizers.SGD(LEARNING_RATE, MOMENTUM), loss, metrics=["sparse_categorical_accuracy"])

    def rate(epoch: int, _: float) -> float:
        return LEARNING_RATE * (1 + math.cos(math.pi * epoch / epochs)) / 2

    return [keras.callbacks.LearningRateScheduler(rate)]
