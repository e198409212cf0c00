"""What the state of a training consists of, beside the weights that Keras saves."""

from __future__ import annotations

import re
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.moving_statistics import moving_statistics
from keras_spiking_bp.cells.normalization import normalizations
from keras_spiking_bp.utils.randomness import seeds_of


def saved_apart(model: keras.Model) -> list[keras.Variable]:
    """The random streams, which Keras does not save, and weights with LoRA, which it saves as one."""
    layers = model._flatten_layers()
    merged = [weight for layer in layers if getattr(layer, "lora_enabled", False) for weight in layer.weights]
    return [*(seed for layer in layers for seed in seeds_of(layer)), *merged]


def statistics_of_replicas(model: keras.Model) -> list[keras.Variable]:
    """Of batch normalisation, where each replica has those of its share; none on one device: they are weights."""
    if model.distribute_strategy.num_replicas_in_sync == 1:
        return []
    return moving_statistics([norm for norm in normalizations(model) if norm.built])


def metric_variables(model: keras.Model) -> list[Any]:
    """The sums of all metrics of a compiled model."""
    return [variable for metric in model.metrics for variable in metric.variables]


def described(model: keras.Model) -> dict[str, list]:
    """What two models must share for one to continue from the state of the other."""

    def shapes(variables):
        return [list(variable.shape) for variable in variables]

    return {
        "weights": shapes(model.weights),
        "optimizer": [type(inner_optimizer(model)).__name__, *shapes(model.optimizer.variables)],
        # Keras numbers the names of a process: `auc`, then `auc_1`
        "metrics": [[re.sub(r"_\d+(?=/|$)", "", v.path), *v.shape] for v in metric_variables(model)],
    }


def inner_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """The optimizer of a model, or the one within its `LossScaleOptimizer`."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def constant_learning_rate(model: keras.Model) -> float | None:
    """That of the optimizer; None if it has a schedule, or no learning rate."""
    rate = getattr(model.optimizer, "learning_rate", None)
    return float(rate.numpy()) if isinstance(rate, keras.Variable) else None


def scheduled_learning_rate(model: keras.Model) -> float | None:
    """The one of the last step, by the schedule of the optimizer; None if it has none."""
    optimizer = inner_optimizer(model)
    schedule = getattr(optimizer, "_learning_rate", None)
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return None
    return float(schedule(optimizer.iterations - 1))


def build_metrics_and_optimizer(model: keras.Model, batch: tuple[tf.Tensor, tf.Tensor]) -> None:
    """Creates metric and optimizer variables, which Keras would create in the first step."""
    inputs, labels = batch
    outputs = model.compute_output_spec(_specs(model, inputs))
    if len(keras.tree.flatten(outputs)) != 1:
        raise ValueError(
            "`model` must have one output, since `batches` has one array of labels. Received: a model with "
            f"{len(keras.tree.flatten(outputs))} outputs"
        )
    outputs = keras.tree.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), outputs)
    # stateless: the variables are created, not updated, which is forbidden outside a replica
    with model.distribute_strategy.scope(), keras.StatelessScope():
        model.compute_metrics(inputs, labels, outputs, sample_weight=None)
    with model.distribute_strategy.scope():
        # the inner one first: built by a LossScaleOptimizer, Nadam would not track one of its variables
        for optimizer in (inner_optimizer(model), model.optimizer):
            if not optimizer.built:
                optimizer.build(model.trainable_variables)


def _specs(model: keras.Model, inputs: Any) -> Any:
    """The shapes and dtypes of inputs; of a model with one input as it takes it: cast, with or without a last axis.

    Those given by name are in the order of the model's, where this is a list: Keras sorts them by name here.
    """
    specs = keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), inputs)
    expected, flat = getattr(model, "inputs", None), keras.tree.flatten(specs)
    if isinstance(specs, dict) and expected and isinstance(model.input, (list, tuple)):
        names = [tensor.name for tensor in expected]
        specs = [specs[name] for name in names] if set(names) <= set(specs) else specs
    if not (isinstance(expected, list) and len(expected) == len(flat) == 1):
        return specs
    shape = flat[0].shape
    missing_axes = len(expected[0].shape) - len(shape)
    if missing_axes == 1 and expected[0].shape[-1] == 1:
        shape = (*shape, 1)
    elif missing_axes == -1 and shape[-1] == 1:
        shape = shape[:-1]
    return keras.tree.pack_sequence_as(specs, [keras.KerasTensor(shape, expected[0].dtype)])
