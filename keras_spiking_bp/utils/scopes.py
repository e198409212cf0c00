"""Scopes in which variables have other values, or in which the `training` flag is known."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf


class VariableScope(keras.StatelessScope):
    """A stateless scope that is one for some variables only: all others are read and assigned as outside of it.

    A subclass overrides these methods for its own. Losses are collected, so that `validation.check_no_added_loss`
    finds them.
    """

    def __init__(self, state_mapping: list[tuple[keras.Variable, tf.Tensor]] | None = None):
        super().__init__(state_mapping, collect_losses=True, initialize_variables=False)

    def get_current_value(self, variable: keras.Variable) -> tf.Tensor | None:
        return None if self.original_scope is None else self.original_scope.get_current_value(variable)

    def add_update(self, update: tuple[keras.Variable, tf.Tensor]) -> None:
        if self.original_scope is not None:
            self.original_scope.add_update(update)
        else:
            variable, value = update
            variable._direct_assign(value)


class Held(VariableScope):
    """Within it, these variables have these values and keep their updates for `get_current_value`."""

    def __init__(self, variables: list[keras.Variable], values: list[tf.Tensor]):
        super().__init__(list(zip(variables, values, strict=True)))
        self._held = {id(variable) for variable in variables}

    def get_current_value(self, variable: keras.Variable) -> tf.Tensor | None:
        if id(variable) in self._held:
            return keras.StatelessScope.get_current_value(self, variable)
        return super().get_current_value(variable)

    def add_update(self, update: tuple[keras.Variable, tf.Tensor]) -> None:
        if id(update[0]) in self._held:
            keras.StatelessScope.add_update(self, update)
        else:
            super().add_update(update)


@contextlib.contextmanager
def training_flag_restored() -> Iterator[bool]:
    """The current flag, False outside of a call. Afterwards layers that are called without `training` get it again."""
    # Keras passes a flag that one layer is called with on to all that are called after it, in the same outer call
    flag = _Flag(name="training_flag")  # a name that a graph may begin with
    flag(tf.zeros(()))
    try:
        yield bool(flag.passed_on)
    finally:
        flag(tf.zeros(()), training=flag.passed_on)


class _Flag(keras.layers.Layer):
    passed_on: bool | None = None

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        self.passed_on = training
        return inputs


def called(function: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor, training: bool) -> tf.Tensor:
    """`function(inputs)`, whose layers get this flag, as within the call of a layer."""
    return _Called(function, dtype="float32", autocast=False, name="called")(inputs, training=training)


class _Called(keras.layers.Layer):
    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor], **kwargs: Any):
        super().__init__(**kwargs)
        self.function = function

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.function(inputs)
