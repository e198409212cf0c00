"""Muon, for the kernels of convolutions, too."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

#: Coefficients of the Newton-Schulz iteration x, x^3, x^5 of Muon's authors.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class Muon(keras.optimizers.Adam):
    """Kernels by Muon, as matrices (inputs of an output, outputs); all other weights by Adam.

        velocity <- momentum * velocity + gradient
        direction = orthogonal(gradient + momentum * velocity)
        kernel <- (1 - learning_rate * weight_decay) * kernel
                  - learning_rate * 0.2 * sqrt(max(inputs, outputs)) * direction

    `orthogonal` moves the singular values of a matrix towards 1, by `ns_steps` Newton-Schulz iterations.
    `keras.optimizers.Muon` takes matrices only. The last kernel of a network, that of the readout, is trained by Adam.

    For networks with batch normalisation, in batches of several hundred; let the learning rate fall to 0.

    Source: Jordan, github.com/KellerJordan/Muon; the factor: Liu et al., arXiv 2502.16982.

    Args:
        learning_rate: a number, or a `keras.optimizers.schedules.LearningRateSchedule`.
        weight_decay: of kernels that Muon trains. The default suits those before batch normalisation: their scale has
            no effect but on the relative size of an update.
        momentum: of kernels.
        ns_steps: iterations.
        ns_dtype: their dtype; None for the compute dtype of Keras' global policy.
        adam_lr_ratio: the learning rate of Adam, as a fraction of `learning_rate`.
        **kwargs: of `keras.optimizers.Adam`.

    Example:
        >>> model = models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [])
        >>> rate = keras.optimizers.schedules.PolynomialDecay(0.02, decay_steps=1000, end_learning_rate=0.0)
        >>> model.compile(optimizers.Muon(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    """

    def __init__(
        self,
        learning_rate: Any = 0.02,
        weight_decay: float = 0.25,
        momentum: float = 0.6,
        ns_steps: int = 3,
        ns_dtype: str | None = None,
        adam_lr_ratio: float = 0.5,
        name: str = "muon",
        **kwargs: Any,
    ):
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, name=name, **kwargs)
        self.momentum, self.ns_steps, self.adam_lr_ratio = momentum, ns_steps, adam_lr_ratio
        self.ns_dtype = ns_dtype or keras.config.dtype_policy().compute_dtype

    def build(self, var_list: list[keras.Variable]) -> None:
        self._kernels = [i for i, variable in enumerate(var_list) if len(variable.shape) > 1][:-1]
        super().build(var_list)

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        if not self._is_kernel(variable):
            super().update_step(gradient, variable, learning_rate * self.adam_lr_ratio)
            return
        velocity = self._momentums[self._get_variable_index(variable)]
        self.assign(velocity, self.momentum * velocity + gradient)
        direction = self._orthogonal(gradient + self.momentum * velocity)
        size = 0.2 * math.sqrt(max(math.prod(variable.shape[:-1]), variable.shape[-1]))
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * size * direction)

    def _is_kernel(self, variable: keras.Variable) -> bool:
        return self._get_variable_index(variable) in self._kernels

    def _use_weight_decay(self, variable: keras.Variable) -> bool:
        return self._is_kernel(variable) and super()._use_weight_decay(variable)

    def _orthogonal(self, values: Any) -> Any:
        matrix = ops.reshape(values, (-1, values.shape[-1]))
        matrix = ops.cast(matrix / (ops.norm(matrix) + 1e-7), self.ns_dtype)
        wide = matrix.shape[0] <= matrix.shape[1]
        matrix = matrix if wide else ops.transpose(matrix)
        a, b, c = _COEFFICIENTS
        for _ in range(self.ns_steps):
            square = ops.matmul(matrix, ops.transpose(matrix))
            matrix = a * matrix + ops.matmul(b * square + c * ops.matmul(square, square), matrix)
        return ops.reshape(ops.cast(matrix if wide else ops.transpose(matrix), values.dtype), values.shape)

    def get_config(self) -> dict[str, Any]:
        names = ("momentum", "ns_steps", "ns_dtype", "adam_lr_ratio")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
