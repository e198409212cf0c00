"""A penalty on firing rates, against dead and saturated channels of deep networks."""

from typing import Any

import keras
from keras import ops

from keras_spiking_bp.utils.validation import check_fraction, check_positive


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class FiringRate(keras.regularizers.Regularizer):
    """Regularises the mean firing rate of each channel: `strength * mean_c (rate_c - firing_rate)^2`.

    `rate_c` is the mean of the rates `spike_count / T` of channel c, over the batch and all axes but the last: over a
    whole feature map of a convolution, over the batch alone for each neuron of a `Dense` layer.

    Like that of the loss, its gradient goes through the spike counts by the rule of the layer: without a
    surrogate none reaches one that never fired, with `"bounded"` none that fired at every step or has no charge: any
    surrogate can revive a dead channel.

    Use it as `activity_regularizer` of a `LIFCell`, or of a whole network through its factory. Calibrate to the same
    rate. The loss shown by `fit` includes the penalties. Like all activity regularizers of Keras it returns a sum over
    the batch, which the layer divides by the number of samples. On several devices each uses the rates of its share of
    the batch, and a fully masked sample counts as one without spikes.

    Args:
        firing_rate: spikes per neuron and time step, above 0 and below 1.
        strength: factor, > 0; for a loss that is a mean over the batch, as Keras' are, not a sum.

    Shapes: rates (B, ..., channels); returns a scalar of the same dtype.

    Source: ours; the paper has none. That of Zenke and Vogels (Neural Computation 33, 2021) has bounds, no target.

    Example:
        >>> penalty = FiringRate(firing_rate=0.25, strength=10.0)
        >>> rates = np.array([[0.25, 0.0], [0.25, 0.1]], "float32")  # the second channel fires at 0.05
        >>> round(float(penalty(rates)) / len(rates), 3)
        0.2
    """

    def __init__(self, firing_rate: float = 0.25, strength: float = 30.0):
        self.firing_rate = check_fraction("firing_rate", firing_rate)
        self.strength = check_positive("strength", strength)

    def __call__(self, x: Any) -> Any:
        x = ops.convert_to_tensor(x)
        of_channels = ops.mean(x, axis=tuple(range(len(x.shape) - 1)))
        penalty = self.strength * ops.mean(ops.square(of_channels - self.firing_rate))
        return penalty * ops.cast(ops.shape(x)[0], x.dtype)

    def get_config(self) -> dict[str, float]:
        return {"firing_rate": self.firing_rate, "strength": self.strength}
