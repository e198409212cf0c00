"""A penalty on firing rates that keeps the channels of deep networks between silence and saturation."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_spiking_bp.validation import check_fraction, check_positive


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class FiringRate(keras.regularizers.Regularizer):
    """Draws the mean firing rate of each channel towards a chosen one: `strength * mean_c (rate_c - rate)^2`.

    `rate_c` is the mean over the batch and all axes but the last of the rates `spike_count / T` of channel c. What a
    deep network without biases and batch normalisation lacks is something that holds a channel where it tells one image
    from the other: one that is silent, or fires at every step, for all images does not. The neurons of a channel stay
    free to differ, only their mean is held.

    The `activity_regularizer` of a `LIFCell`, or of all of a network by its factory. The loss of `fit` contains the
    penalty of each layer. (As all activity regularizers of Keras it returns the sum over the batch, which Keras divides
    by the number of samples.)

    Args:
        rate: spikes per neuron and time step, above 0 and below 1. Calibrate to the same one.
        strength: factor, > 0, against a loss that is a mean over the batch. 10 served with a cross-entropy.

    Shapes: rates (B, ..., channels); returns a scalar of the same dtype.

    Raises:
        ValueError: if an argument is out of its range.

    Source: ours; the paper has none. Firing-rate regularization as in Zenke and Vogels (Neural Computation 33, 2021),
    there with bounds on the counts.

    Example:
        >>> penalty = FiringRate(rate=0.25, strength=10.0)
        >>> rates = np.array([[0.25, 0.0], [0.25, 0.1]], "float32")  # the second channel fires at 0.05
        >>> round(float(penalty(rates)) / len(rates), 3)
        0.2
    """

    def __init__(self, rate: float = 0.25, strength: float = 10.0):
        self.rate = check_fraction("rate", rate)
        self.strength = check_positive("strength", strength)

    def __call__(self, x: Any) -> Any:
        x = ops.convert_to_tensor(x)
        of_channels = ops.mean(x, axis=tuple(range(len(x.shape) - 1)))
        penalty = self.strength * ops.mean(ops.square(of_channels - self.rate))
        return penalty * ops.cast(ops.shape(x)[0], x.dtype)

    def get_config(self) -> dict[str, float]:
        return {"rate": self.rate, "strength": self.strength}
