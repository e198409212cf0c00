"""`keras.callbacks.SwapEMAWeights` in a training that may be prolonged later."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from keras_spiking_bp.training.callback_state import restore_state


def postpone_final_averages(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Lets no epoch be the last for these callbacks, which then overwrite the weights with their averages."""
    for callback in _swapping(callbacks):
        callback.set_params({**callback.params, "epochs": 0})


def apply_final_averages(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Does what they do after the last epoch, once the weights are saved: Keras ends `fit` with the averages.

    The averages are in the model then, and the weights in their place.
    """
    for callback in _swapping(callbacks):
        if callback._ema_weights_in_model:
            callback._finalize_ema_values()


def restore_weights(
    model: keras.Model, callbacks: Sequence[keras.callbacks.Callback], state: dict[str, np.ndarray]
) -> None:
    """Undoes the swap that `state`, of the callbacks of a checkpoint, is of, if none of `callbacks` will."""
    swap = keras.callbacks.SwapEMAWeights()
    restore_state([swap], state)
    if not swap._ema_weights_in_model or _swapping(callbacks):
        return
    swap.set_model(model)
    swap._swap_variables()
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.SwapEMAWeights):
            callback._ema_weights_in_model = False


def _swapping(callbacks: Sequence[keras.callbacks.Callback]) -> list[keras.callbacks.SwapEMAWeights]:
    return [c for c in callbacks if isinstance(c, keras.callbacks.SwapEMAWeights) and c.swap_on_epoch]
