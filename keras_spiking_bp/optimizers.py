"""Muon for convolutions, too."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class Muon(keras.optimizers.Muon):
    """`keras.optimizers.Muon`, with the kernels of convolutions as matrices (inputs of an output, outputs).

        velocity <- momentum * velocity + gradient
        direction = orthogonal(gradient + momentum * velocity)
        kernel <- (1 - learning_rate * weight_decay) * kernel
                  - learning_rate * rms_rate * sqrt(max(inputs, outputs)) * direction

    `orthogonal` brings the singular values of a matrix near 1, by `ns_steps` Newton-Schulz iterations. Keras' own takes
    matrices only. The last kernel of a network, that of the readout, and weights that are no kernels are trained by
    Adam.

    For networks with batch normalisation, in large batches, and with augmentation: they learn in fewer epochs than by
    AdamW. Let the learning rate fall to 0.

    Source: Jordan, github.com/KellerJordan/Muon; the scale: Liu et al., arXiv 2502.16982.

    Args:
        learning_rate: a number, or a `keras.optimizers.schedules.LearningRateSchedule`.
        weight_decay: of kernels; by default as strong as suits kernels before batch normalisation, whose scale has no
            effect but on the size of an update.
        momentum: of kernels.
        ns_steps: iterations.
        ns_dtype: their dtype; None for the compute dtype of Keras' global policy. bfloat16 is as good.
        adam_lr_ratio: the learning rate of Adam, as a fraction of `learning_rate`.
        adam_weight_decay: of weights that Adam trains.
        **kwargs: of `keras.optimizers.Muon`.

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
        adam_weight_decay: float = 0.0,
        name: str = "muon",
        **kwargs: Any,
    ):
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            momentum=momentum,
            ns_steps=ns_steps,
            adam_lr_ratio=adam_lr_ratio,
            adam_weight_decay=adam_weight_decay,
            name=name,
            **kwargs,
        )
        self.ns_dtype = ns_dtype or keras.config.dtype_policy().compute_dtype

    def build(self, var_list: list[keras.Variable]) -> None:
        self._last = next((v for v in reversed(var_list) if len(v.shape) > 1), None)
        super().build(var_list)

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        return len(variable.shape) < 2 or variable is self._last

    def lr_adjust(self, x: Any) -> Any:
        return x * (self.rms_rate * math.sqrt(max(math.prod(x.shape[:-1]), x.shape[-1])))

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        matrix = ops.reshape(x, (-1, x.shape[-1]))
        matrix = ops.cast(matrix / (ops.norm(matrix) + 1e-7), self.ns_dtype)
        wide = matrix.shape[0] <= matrix.shape[1]
        matrix = matrix if wide else ops.transpose(matrix)
        for _ in range(steps):
            square = ops.matmul(matrix, ops.transpose(matrix))
            factor = self.muon_b * square + self.muon_c * ops.matmul(square, square)
            matrix = self.muon_a * matrix + ops.matmul(factor, matrix)
        return ops.reshape(ops.cast(matrix if wide else ops.transpose(matrix), x.dtype), x.shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ns_dtype": self.ns_dtype}
