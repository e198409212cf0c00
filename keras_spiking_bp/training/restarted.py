"""A learning rate schedule that starts again."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class Restarted(keras.optimizers.schedules.LearningRateSchedule):
    """The schedule `first` up to step `step`, then the schedule `second`, from its step 0.

    `keras.optimizers.schedules.CosineDecayRestarts` has no warm-up.
    """

    def __init__(
        self,
        first: keras.optimizers.schedules.LearningRateSchedule,
        second: keras.optimizers.schedules.LearningRateSchedule,
        step: int,
    ):
        self.first, self.second, self.step = first, second, step

    def __call__(self, step: Any) -> Any:
        before = step < self.step
        return keras.ops.where(before, self.first(step), self.second(keras.ops.maximum(step - self.step, 0)))

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {"first": serialize(self.first), "second": serialize(self.second), "step": self.step}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Restarted:
        first, second = (keras.saving.deserialize_keras_object(config[name]) for name in ("first", "second"))
        return cls(first, second, config["step"])
