"""What a report says of the machine that it was made on."""

from __future__ import annotations

import os
import platform

import keras
import tensorflow as tf


def machine() -> dict[str, int | str]:
    """Cores and versions."""
    return {
        "cores": os.cpu_count(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
    }
