"""A recurrent spiking network for series, such as the log-mel frames of a spoken word."""

from typing import Any

import keras

from keras_spiking_bp.cells import ReadoutCell, RecurrentCell, SequentialCell
from keras_spiking_bp.models.parts import Parts
from keras_spiking_bp.rnn.layer import SpikingRNN


def spiking_speech(
    input_shape: tuple[int | None, int] = (None, 40),
    classes: int = 10,
    units: int = 128,
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
        **settings: `kappa`, `readout_beta`, `dtype` and those of the neurons, as in `spiking_vgg`; `beta` and
            `readout_beta` are 0.9 and `surrogate` is `"fast_sigmoid"` where they are not given.

    Returns:
        A `keras.Model` from series (B, steps, channels), of `datasets.log_mel` for example, to `V[T] / T`, (B, classes)
        float32; logits for a cross-entropy. Padded series need a mask: put `keras.layers.Masking()` before it.

    Example:
        >>> model = spiking_speech(units=16)
        >>> model.predict(np.zeros((2, 30, 40), "float32"), verbose=0).shape
        (2, 10)
    """
    neurons = {"beta": 0.9, "readout_beta": 0.9, "surrogate": "fast_sigmoid", "gradient": "bptt", **settings}
    parts = Parts("paper", 2.0, seed, neurons)
    hidden = RecurrentCell(parts.lif(parts.dense(units), "hidden"), parts.dense(units), name="recurrent")
    cell = SequentialCell([hidden, *parts.head([], classes)[1:]], name="network")
    series = keras.Input(input_shape, name="series")
    return keras.Model(series, SpikingRNN(cell, gradient=parts.gradient, name="time")(series), name=name)
