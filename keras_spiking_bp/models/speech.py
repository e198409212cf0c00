"""A recurrent spiking network for series, such as the log-mel frames of a spoken word."""

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
    """A network for a series: recurrent LIF neurons, whose spikes a readout adds up; trained through time.

    Args:
        input_shape: shape of a series, (steps, channels); None for any number of steps.
        classes: number of classes, at least 1.
        units: recurrent neurons.
        seed: integer that fixes the weights, or None.
        name: of the model.
        **settings: `kappa`, `readout_beta`, `dtype` and those of the neurons, as in `spiking_vgg`. Where they are not
            given, each neuron learns its `beta`, from 0.97 on, `readout_beta` is 0.9, and the surrogate a fast sigmoid
            of slope 10.

    Returns:
        A `keras.Model` from series (B, steps, channels), of `datasets.log_mel` for example, to `V[T] / T`, (B, classes)
        float32; logits for a cross-entropy. Padded series need a mask:
        `keras.Model(series, model.get_layer("time")(keras.layers.Masking()(series)))`.

    Example:
        >>> model = spiking_speech(units=16)
        >>> model.predict(np.zeros((2, 30, 40), "float32"), verbose=0).shape
        (2, 10)
    """
    neurons = {"beta": np.full(units, 0.97, "float32"), "learn_beta": True, "surrogate": FastSigmoid(10.0)}
    parts = Parts("paper", 2.0, seed, {**neurons, "readout_beta": 0.9, "gradient": "bptt", **settings})
    recurrent = RecurrentCell(parts.lif(parts.dense(units), "hidden"), parts.dense(units), name="recurrent")
    cell = SequentialCell([recurrent, *parts.head([], classes)[1:]], name="network")
    series = keras.Input(input_shape, name="series")
    return keras.Model(series, SpikingRNN(cell, gradient=parts.gradient, name="time")(series), name=name)
