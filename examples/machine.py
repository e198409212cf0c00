"""What a report records about the machine."""

from __future__ import annotations

import os
import platform

import keras
import tensorflow as tf


def machine() -> dict[str, int | str | list[str]]:
    """Cores, GPU names, and versions."""
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "cores": os.cpu_count(),
        "gpus": [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus],
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
    }
