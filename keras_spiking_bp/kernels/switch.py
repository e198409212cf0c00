"""Whether the kernels are used, and where they cannot be."""

import contextlib
import contextvars
import os
import warnings
from collections.abc import Iterator
from types import ModuleType

import tensorflow as tf
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext as in_xla  # has no public name

from keras_spiking_bp.kernels.compiler import build, library_path

VARIABLE = "KERAS_SPIKING_BP_KERNELS"
_loaded: ModuleType | None = None
_on: bool | None = None  # None: not set yet, the environment may decide
_said: set[str] = set()
_in_training = contextvars.ContextVar("in_training", default=False)


def enable(on: bool = True) -> None:
    """Uses the kernels in training from now on; compiles them if needed. `enable(False)` ends this.

    Functions traced before, as by an earlier `fit`, are unchanged: `compile` the model again. With a GPU or XLA,
    TensorFlow's operations are used all the same, with a warning.

    Raises:
        RuntimeError: if they cannot be compiled or loaded.

    Example:
        >>> kernels.enable()  # doctest: +SKIP
    """
    global _on
    if on:
        _load()
    _on = on


@contextlib.contextmanager
def in_training(training: bool) -> Iterator[None]:
    """Within it a step is part of training (`training`), or of what may be exported to run without this library."""
    token = _in_training.set(training)
    try:
        yield
    finally:
        _in_training.reset(token)


def usable() -> ModuleType | None:
    """The operations, if the current computation can use them; else None, with a warning why, once."""
    if not (_in_training.get() and is_on()):
        return None
    if not tf.executing_eagerly() and in_xla(tf.compat.v1.get_default_graph()):
        _without("XLA does not know them (jit_compile=True)")
        return None
    if tf.config.list_logical_devices("GPU"):
        _without("they are for the CPU, and TensorFlow sees a GPU here")
        return None
    return _loaded


def is_on() -> bool:
    """Whether they are switched on, by `enable` or by the environment."""
    global _on
    if _on is None:
        on = os.environ.get(VARIABLE) == "1"
        if on:
            try:
                _load()
            except RuntimeError as error:
                on = False
                _without(f"{VARIABLE} asks for them, but: {error}")
        _on = on  # last: an interrupted compilation is begun again
    return _on


def _load() -> None:
    global _loaded
    if _loaded is not None:
        return
    path = library_path()
    if os.path.exists(path):  # False also without permission, which `build` reports
        with contextlib.suppress(tf.errors.OpError):  # truncated, or of another compiler
            _loaded = tf.load_op_library(str(path))
            return
    build()
    try:
        _loaded = tf.load_op_library(str(path))
    except tf.errors.OpError as error:
        raise RuntimeError(
            f"The kernels in {path} were compiled, but TensorFlow {tf.__version__} cannot load them: {error}. A "
            "frequent cause is a compiler newer than the C++ library of this Python: name another one in the "
            "environment variable CXX. If the folder does not permit execution, name another one in "
            "KERAS_SPIKING_BP_CACHE"
        ) from error


def _without(why: str) -> None:
    if why not in _said:
        _said.add(why)
        warnings.warn(f"The kernels of keras_spiking_bp are not used: {why}", stacklevel=2)
