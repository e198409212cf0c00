"""The mean over time steps with the kernels: in one pass over memory, without a float32 copy of each step."""

import tensorflow as tf

from keras_spiking_bp.kernels.switch import usable


def mean_of_steps(values: list[tf.Tensor]) -> tf.Tensor | None:
    """The mean of bfloat16 tensors of one shape, computed in float32; it has no derivative.

    None if they have another dtype, or the kernels are off.
    """
    library = usable() if values[0].dtype == tf.bfloat16 else None
    return None if library is None else library.keras_spiking_bp_mean(values=values)
