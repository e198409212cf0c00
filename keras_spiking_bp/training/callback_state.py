"""The internal state by which Keras' own callbacks decide: it is part of the state of a training run."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

# Listed by name, since some attributes of callbacks are tied to the process (files, a profiler), some to others that
# cannot be saved (EarlyStopping flips the sign of `min_delta` when it chooses its `monitor_op`).
_ATTRIBUTES = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_weights", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: ("best", "_batches_seen_since_last_saving", "_last_batch_seen"),
}


def state_of(callbacks: Sequence[keras.callbacks.Callback]) -> dict[str, np.ndarray]:
    """The state of those callbacks that have one: a number for each attribute, or an array for each item of a list."""
    state = {}
    for callback, name, key in _attributes(callbacks):
        value = getattr(callback, name, None)
        if isinstance(value, list):
            state.update({f"{key}/{i}": as_saved(item) for i, item in enumerate(value)})
        elif value is not None:  # None is the initial value
            state[key] = np.asarray(value)
    return state


def as_saved(value: Any) -> np.ndarray:
    """As an array that NumPy can write to a file; bfloat16, which it cannot, exactly as float32."""
    array = keras.ops.convert_to_numpy(value)
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


def restore_state(callbacks: Sequence[keras.callbacks.Callback], state: dict[str, np.ndarray]) -> None:
    """Restores the state that `state_of` read from callbacks of the same classes and quantities, in order."""
    for callback, name, key in _attributes(callbacks):
        if key in state:
            setattr(callback, name, state[key].item())
        elif f"{key}/0" in state:
            count = sum(other.startswith(f"{key}/") for other in state)
            setattr(callback, name, [state[f"{key}/{i}"] for i in range(count)])


def choose_directions(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Lets a restored `ModelCheckpoint` know whether less is better, which Keras chooses only as an epoch ends.

    With a number as its `save_freq` it may compare earlier. The callbacks must have their model.
    """
    for callback in callbacks:
        compares = isinstance(callback, keras.callbacks.ModelCheckpoint) and callback.best is not None
        if compares and callback.monitor_op is None:
            callback._set_monitor_op()


def stopped_early(callbacks: Sequence[keras.callbacks.Callback], epoch: int) -> bool:
    """Whether an `EarlyStopping`, with the patience it has now, ended the training after `epoch` epochs."""
    return any(
        isinstance(callback, keras.callbacks.EarlyStopping)
        and 0 < callback.stopped_epoch == epoch - 1
        and callback.wait >= callback.patience
        for callback in callbacks
    )


def _attributes(callbacks: Sequence[keras.callbacks.Callback]) -> Iterator[tuple[keras.callbacks.Callback, str, str]]:
    """(callback, attribute, key): the first callback of a kind that monitors a quantity, the second, ..."""
    for kind, names in _ATTRIBUTES.items():
        found: collections.Counter[str] = collections.Counter()
        for callback in callbacks:
            if isinstance(callback, kind):
                quantity = getattr(callback, "monitor", "")
                for name in names:
                    yield callback, name, f"{kind.__name__}-{quantity}-{found[quantity]}/{name}"
                found[quantity] += 1
