"""The optimizers of a model: its own, and those that a custom `train_step` uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras


def further_optimizers(model: keras.Model) -> dict[str, keras.optimizers.Optimizer]:
    """Optimizers that are attributes of the model, or in lists or dicts that are, by their place in it.

    Not the one that it was compiled with.
    """
    found: dict[str, keras.optimizers.Optimizer] = {}
    own = {name: value for name, value in vars(model).items() if not name.startswith("_self_")}
    for name, value in sorted(own.items()):
        for place, optimizer in _optimizers_in(name, value):
            if optimizer is not model.optimizer and not any(optimizer is other for other in found.values()):
                found[place] = optimizer
    return found


def _optimizers_in(place: str, value: Any) -> Iterator[tuple[str, keras.optimizers.Optimizer]]:
    if isinstance(value, keras.optimizers.Optimizer):
        yield place, value
    elif isinstance(value, (list, tuple, dict)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _optimizers_in(f"{place}[{key!r}]", inner)


def constant_learning_rate(model: keras.Model) -> float | None:
    """That of the optimizer; None if it has a schedule, or no learning rate."""
    rate = getattr(model.optimizer, "learning_rate", None)
    return float(rate.numpy()) if isinstance(rate, keras.Variable) else None


def scheduled_learning_rate(model: keras.Model) -> float | None:
    """The one of the last step, by the schedule of the optimizer; None if it has none."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of a LossScaleOptimizer
    schedule = getattr(optimizer, "_learning_rate", None)
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return None
    return float(schedule(optimizer.iterations - 1))


def build_optimizers(model: keras.Model) -> None:
    """Creates the variables of the optimizer, which Keras would create in the first step.

    Raises:
        ValueError: if another optimizer is not built: which weights it trains is known to its `train_step` only.
    """
    for name, optimizer in further_optimizers(model).items():
        if not optimizer.built:
            raise ValueError(
                f"`model` must have built optimizers, or a resumed training would lose their state. Received: a model "
                f"whose {name!r} is not built: call model.{name}.build(variables) with the weights that it trains"
            )
    with model.distribute_strategy.scope():
        # built by a LossScaleOptimizer, Nadam would not track the variable that it does not make by `add_variable`
        inner = getattr(model.optimizer, "inner_optimizer", None)
        for optimizer in (inner if isinstance(inner, keras.optimizers.Nadam) else None, model.optimizer):
            if optimizer is not None and not optimizer.built:
                optimizer.build(model.trainable_variables)


def optimizer_variables(model: keras.Model) -> list[keras.Variable]:
    """Those of all optimizers."""
    optimizers = (model.optimizer, *further_optimizers(model).values())
    return [variable for optimizer in optimizers for variable in optimizer.variables]
