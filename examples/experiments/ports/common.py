"""Shared by the ports: a loss on each time step, predictions from spike counts, torch's initial values and Adam."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def cross_entropies(y_true: Any, y_pred: Any) -> Any:
    """Cross-entropy of each time step, (B, T), of labels (B,) and logits (B, T, classes)."""
    labels = ops.repeat(ops.reshape(y_true, (-1, 1)), y_pred.shape[1], axis=1)
    return keras.losses.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)


def most_spikes(y_true: Any, spikes: Any) -> Any:
    """Whether the output with the most spikes is the right one, (B,), of labels (B,) and spikes (B, T, classes)."""
    predicted = ops.argmax(ops.sum(ops.cast(spikes, "float32"), axis=1), axis=-1)
    return ops.cast(predicted == ops.cast(ops.reshape(y_true, (-1,)), predicted.dtype), "float32")


def initial(fan_in: int) -> dict[str, keras.initializers.Initializer]:
    """The initial values of `nn.Linear` and `nn.Conv2d`: uniformly from -1 / sqrt(fan_in) to 1 / sqrt(fan_in)."""
    limit = fan_in**-0.5
    return {
        "kernel_initializer": keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
        "bias_initializer": keras.initializers.RandomUniform(-limit, limit),
    }


@keras.saving.register_keras_serializable(package="examples")
class TorchAdam(keras.optimizers.Adam):
    """Adam with torch's epsilon, which acts on the bias-corrected second moment; Keras' acts on the uncorrected one.

    Torch divides by `sqrt(v) + epsilon * sqrt(1 - beta_2^t)`, Keras by `sqrt(v) + epsilon`: an epsilon 32 times as
    large in the first step, for `beta_2=0.999`. It matters if gradients are about as small, as in a network whose
    output neurons do not fire yet.
    """

    def __init__(self, learning_rate: Any = 0.001, epsilon: float = 1e-8, **kwargs: Any):
        super().__init__(learning_rate, epsilon=epsilon, **kwargs)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        given, step = self.epsilon, ops.cast(self.iterations + 1, variable.dtype)
        self.epsilon = given * ops.sqrt(1.0 - ops.power(ops.cast(self.beta_2, variable.dtype), step))
        super().update_step(gradient, variable, learning_rate)
        self.epsilon = given
