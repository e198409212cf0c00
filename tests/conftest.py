import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest

import keras_spiking_bp as ksbp
from tests.networks import made_up_images


@pytest.fixture(autouse=True)
def fresh_keras():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()


@pytest.fixture
def few_images(monkeypatch):
    """A few made-up images in place of every data set."""
    images = made_up_images()
    monkeypatch.setattr(ksbp.datasets, "load_images", lambda name, data_dir=None: images)
