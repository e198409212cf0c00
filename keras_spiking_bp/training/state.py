"""What the state of a training consists of, beside the weights that Keras saves."""

import collections
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.batch_norm import moving_statistics, normalizations
from keras_spiking_bp.utils.randomness import seeds_of

Callbacks = Sequence[keras.callbacks.Callback]

# The state by which Keras' own callbacks decide; other attributes are tied to the process (files, a profiler), or to
# others that cannot be saved (EarlyStopping flips the sign of `min_delta`).
_ATTRIBUTES = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_weights", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: ("best", "_batches_seen_since_last_saving", "_last_batch_seen"),
}


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


def described(model: keras.Model) -> dict[str, Any]:
    """What two models must share for one to continue from the state of the other."""

    def shapes(variables):
        return [list(variable.shape) for variable in variables]

    return {
        "weights": shapes(model.weights),
        "optimizer": [type(_inner_optimizer(model)).__name__, *shapes(model.optimizer.variables)],
        # Keras numbers the names of a process: `auc`, then `auc_1`
        "metrics": [[re.sub(r"_\d+(?=/|$)", "", v.path), *v.shape] for v in metric_variables(model)],
        "random streams": shapes(saved_apart(model)),
        "number of devices": model.distribute_strategy.num_replicas_in_sync,
    }


def build_metrics_and_optimizer(model: keras.Model, batch: tuple[tf.Tensor, tf.Tensor]) -> None:
    """Creates metric and optimizer variables, which Keras would create in the first step."""
    with model.distribute_strategy.scope():
        inner = _inner_optimizer(model)
        if not inner.built:  # built by a LossScaleOptimizer, Nadam would not track one of its variables
            inner.build(model.trainable_variables)
        model._symbolic_build(data_batch=batch)


def learning_rate(model: keras.Model) -> tuple[float | None, bool]:
    """That of the optimizer, of its last step if there is a schedule; and whether there is one."""
    optimizer = _inner_optimizer(model)
    rate = getattr(optimizer, "_learning_rate", None)
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return float(rate(optimizer.iterations - 1)), True
    return (float(rate.numpy()) if isinstance(rate, keras.Variable) else None), False


def _inner_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """Also the one within a `LossScaleOptimizer`."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def as_saved(value: Any) -> np.ndarray:
    """As an array that NumPy can write to a file; bfloat16, which it cannot, exactly as float32."""
    array = keras.ops.convert_to_numpy(value)
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


def gatherer(strategy: tf.distribute.Strategy, read: Callable[[], list[tf.Tensor]]) -> Callable[[], list[np.ndarray]]:
    """A function that stacks `read()` of each replica: (replicas, ...)."""

    @tf.function(autograph=False)
    def gather():
        replica = tf.distribute.get_replica_context()
        return [replica.all_gather(tf.expand_dims(value, 0), axis=0) for value in read()]

    return lambda: [strategy.experimental_local_results(value)[0].numpy() for value in strategy.run(gather)]


def assign_to_replicas(model: keras.Model, pairs: Sequence[tuple[Any, np.ndarray]]) -> None:
    """Gives these variables, on each replica, their values (replicas, ...)."""

    @tf.function(autograph=False)
    def assign():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for variable, values in pairs:
            variable.assign(tf.gather(values, replica))

    model.distribute_strategy.run(assign)


def state_of(callbacks: Callbacks) -> dict[str, Any]:
    """The state of those callbacks that have one: a number for each attribute, or an array for each item of a list."""
    state = {}
    for callback, name, key in _attributes(callbacks):
        value = getattr(callback, name, None)
        if isinstance(value, list):
            state.update({f"{key}/{i}": as_saved(item) for i, item in enumerate(value)})
        elif value is not None:  # None is the initial value
            state[key] = np.asarray(value)
    return state


def restore_state(callbacks: Callbacks, state: dict[str, np.ndarray]) -> None:
    """Restores the state that `state_of` read from callbacks of the same classes and quantities, in order."""
    for callback, name, key in _attributes(callbacks):
        if key in state:
            setattr(callback, name, state[key].item())
        elif f"{key}/0" in state:
            count = sum(other.startswith(f"{key}/") for other in state)
            setattr(callback, name, [state[f"{key}/{i}"] for i in range(count)])


def stopped_early(callbacks: Callbacks, epoch: int) -> bool:
    """Whether an `EarlyStopping`, with the patience it has now, ended the training after `epoch` epochs."""
    return any(
        isinstance(callback, keras.callbacks.EarlyStopping)
        and 0 < callback.stopped_epoch == epoch - 1
        and callback.wait >= callback.patience
        for callback in callbacks
    )


def _attributes(callbacks: Callbacks) -> Iterator[tuple[keras.callbacks.Callback, str, str]]:
    """(callback, attribute, key): the first callback of a kind that monitors a quantity, the second, ..."""
    numbers: collections.Counter[tuple] = collections.Counter()
    for kind, names in _ATTRIBUTES.items():
        for callback in callbacks:
            if isinstance(callback, kind):
                quantity = getattr(callback, "monitor", "")
                for name in names:
                    yield callback, name, f"{kind.__name__}-{quantity}-{numbers[kind, quantity]}/{name}"
                numbers[kind, quantity] += 1
