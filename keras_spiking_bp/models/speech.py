"""A spiking network for series, such as the log-mel frames of a spoken word."""

from typing import Any

import keras
import numpy as np

from keras_spiking_bp.cells import RecurrentCell, SequentialCell
from keras_spiking_bp.gradients.surrogates import FastSigmoid
from keras_spiking_bp.models.parts import Parts
from keras_spiking_bp.rnn.layer import SpikingRNN


def spiking_speech(
    input_shape: tuple[int | None, int] = (None, 40),
    classes: int = 10,
    units: int = 256,
    *,
    seed: int | None = None,
    name: str = "spiking_speech",
    **settings: Any,
) -> keras.Model:
    """A network for a series: recurrent LIF neurons that forget at different rates; a readout adds up their spikes.

    It is trained through time.

    Args:
        input_shape: shape of a series, (steps, channels); None for any number of steps.
        classes: number of classes, at least 1.
        units: recurrent neurons.
        seed: integer that fixes the weights, or None.
        name: of the model.
        **settings: `kappa`, `readout_beta`, `dtype` and those of the neurons, as in `spiking_vgg`. Where they are not
            given, each neuron learns its `beta`, from exp(-1 / tau) on, tau from 1 to 50 steps; `readout_beta` is 0.97,
            `kappa` 1, and the surrogate a fast sigmoid of slope 4.

    Returns:
        A `keras.Model` from series (B, steps, channels), of `datasets.log_mel` for example, to `V[T] / T`, (B, classes)
        float32; logits for a cross-entropy. Padded series need a mask:
        `keras.Model(series, model.get_layer("time")(keras.layers.Masking(-1)(series)))`.

    Source:
        Time constants of many sizes: Perez-Nieves et al., Nature Communications 12 (2021).

    Example:
        >>> model = spiking_speech(units=16)
        >>> model.predict(np.zeros((2, 30, 40), "float32"), verbose=0).shape
        (2, 10)
    """
    betas = np.exp(-1 / np.geomspace(1, 50, units)).astype("float32")
    neurons = {"beta": betas, "learn_beta": True, "surrogate": FastSigmoid(4.0)}
    parts = Parts("paper", 1.0, seed, {**neurons, "readout_beta": 0.97, "gradient": "bptt", **settings})
    recurrent = RecurrentCell(parts.lif(parts.dense(units), "hidden"), parts.dense(units), name="recurrent")
    cell = SequentialCell([recurrent, *parts.head([], classes)[1:]], name="network")
    series = keras.Input(input_shape, name="series")
    return keras.Model(series, SpikingRNN(cell, gradient=parts.gradient, name="time")(series), name=name)
