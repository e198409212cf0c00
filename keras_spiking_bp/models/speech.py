"""A spiking network for series, such as the log-mel frames of a spoken word."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.cells import SequentialCell
from keras_spiking_bp.gradients.surrogates import FastSigmoid
from keras_spiking_bp.models.parts import Parts
from keras_spiking_bp.rnn.layer import SpikingRNN


def spiking_speech(
    input_shape: tuple[int | None, int] = (None, 40),
    classes: int = 10,
    units: Sequence[int] = (256, 256),
    *,
    seed: int | None = None,
    name: str = "spiking_speech",
    **settings: Any,
) -> keras.Model:
    """A network for a series: LIF neurons that forget at different rates, whose spikes a readout adds up.

    It is trained through time. Without feedback or bias, it does not fire while its input is 0.

    Args:
        input_shape: shape of a series, (steps, channels); None for any number of steps.
        classes: number of classes, at least 1.
        units: neurons of each layer.
        seed: integer that fixes the weights, or None.
        name: of the model.
        **settings: `kappa`, `readout_beta`, `dtype` and those of the neurons, as in `spiking_vgg`. Where they are not
            given, each neuron learns its `beta`, from exp(-1 / tau) on, tau from 1 to 50 steps; `readout_beta` is 0.97,
            and the surrogate a fast sigmoid of slope 10.

    Returns:
        A `keras.Model` from series (B, steps, channels), of `datasets.log_mel` for example, to `V[T] / T`, (B, classes)
        float32; logits for a cross-entropy. Padded series need a mask:
        `keras.Model(series, model.get_layer("time")(keras.layers.Masking(-1)(series)))`.

    Source:
        Time constants of many sizes: Perez-Nieves et al., Nature Communications 12 (2021).

    Example:
        >>> model = spiking_speech(units=[16, 16])
        >>> model.predict(np.zeros((2, 30, 40), "float32"), verbose=0).shape
        (2, 10)
    """
    defaults = {"learn_beta": True, "surrogate": FastSigmoid(10.0), "readout_beta": 0.97, "gradient": "bptt"}
    parts = Parts("paper", 2.0, seed, {**defaults, **settings})
    cells = []
    for i, number in enumerate(units, start=1):
        betas = np.exp(-1 / np.geomspace(1, 50, number)).astype("float32")
        cells.append(parts.lif(parts.dense(number), f"fc{i}", beta=settings.get("beta", betas)))
    cell = SequentialCell([*cells, *parts.head([], classes)[1:]], name="network")
    series = keras.Input(input_shape, name="series")
    return keras.Model(series, SpikingRNN(cell, gradient=parts.gradient, name="time")(series), name=name)
