"""What a report records about the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from benchmarks.machine import commit, cpu

CODE = ("examples", "keras_spiking_bp")


def made_with(machines: Iterable[dict[str, Any]]) -> str:
    """The versions and cores with which the runs of a report were made, each once."""
    texts = dict.fromkeys(
        f"TensorFlow {one['tensorflow']}, Keras {one['keras']}, Python {one['python']}, on {one['cores']} CPU cores"
        for one in machines
    )
    return "; ".join(texts)


def machine() -> dict[str, int | str | list[str]]:
    """Processor, GPU names, versions, and the commit of the code."""
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "gpus": [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus],
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
        "commit": commit(code=CODE),
    }
