"""What the state of a training consists of, beside the weights that Keras saves."""

from __future__ import annotations

import re
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.moving_statistics import moving_statistics
from keras_spiking_bp.cells.normalization import normalizations
from keras_spiking_bp.training.optimizers import build_optimizers, further_optimizers, optimizer_variables
from keras_spiking_bp.training.output_spec import output_spec
from keras_spiking_bp.utils.randomness import seeds_of


def saved_apart(model: keras.Model) -> list[keras.Variable]:
    """The random streams, which Keras does not save, weights with LoRA, which it saves as one, and optimizers beside
    the one that the model was compiled with, which old versions of Keras do not find in every container.
    """
    layers = model._flatten_layers()
    merged = [weight for layer in layers if getattr(layer, "lora_enabled", False) for weight in layer.weights]
    of_optimizers = [v for optimizer in further_optimizers(model).values() for v in optimizer.variables]
    return [*(seed for layer in layers for seed in seeds_of(layer)), *merged, *of_optimizers]


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

    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of a LossScaleOptimizer
    return {
        "weights": shapes(model.weights),
        "optimizer": [type(optimizer).__name__, *shapes(optimizer_variables(model))],
        "metrics": [[variable.path, *variable.shape] for variable in metric_variables(model)],
    }


def same_but_for_counters(saved: list[list], now: list[list]) -> bool:
    """Whether the names of metrics differ in numbers only, as Keras numbers those of a process: `auc`, then `auc_1`.

    Not where numbers tell two metrics of one model apart.
    """

    def plain(metrics: list[list]) -> list[list]:
        return [[re.sub(r"_\d+(?=/|$)", "", path), *shape] for path, *shape in metrics]

    names = [path for path, *_ in plain(now)]
    return plain(saved) == plain(now) and len(set(names)) == len(names)


def build_metrics_and_optimizers(model: keras.Model, batch: tuple[tf.Tensor, tf.Tensor]) -> None:
    """Creates metric and optimizer variables, which Keras would create in the first step."""
    inputs, labels = batch
    outputs = output_spec(model, inputs)
    outputs = keras.tree.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), outputs)
    # stateless: the variables are created, not updated, which is forbidden outside a replica
    with model.distribute_strategy.scope(), keras.StatelessScope():
        model.compute_metrics(inputs, labels, outputs, sample_weight=None)
    build_optimizers(model)
