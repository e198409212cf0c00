import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from keras_spiking_bp.datasets.images import ImageSet


@pytest.fixture(autouse=True)
def fresh_keras():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()


@pytest.fixture
def few_images(monkeypatch):
    """A few made-up images in place of every data set."""
    rng = np.random.default_rng(0)

    def split(size):
        return rng.integers(0, 256, (size, 12, 12, 1), "uint8"), rng.integers(0, 10, size).astype("int32")

    images = ImageSet("mnist", split(24), split(10), mean=(0.0,), scale=(1.0,), classes=10)
    monkeypatch.setattr(ksbp.datasets, "load_images", lambda name, data_dir=None: images)
