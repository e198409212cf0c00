"""The optimizers of a model: its own, and those that a custom `train_step` uses."""

from __future__ import annotations

import keras


def further_optimizers(model: keras.Model) -> dict[str, keras.optimizers.Optimizer]:
    """Optimizers that are attributes of the model, by name, but for the one that it was compiled with."""
    return {
        name: value
        for name, value in sorted(vars(model).items())
        if isinstance(value, keras.optimizers.Optimizer) and value is not model.optimizer
    }


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
