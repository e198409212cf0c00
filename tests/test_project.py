"""The files around the package: what is shipped, cited and run by GitHub belongs together."""

import importlib
import re

import keras
import pytest

import keras_spiking_bp as ksbp
from tests.pages import ROOT


def text(path):
    return (ROOT / path).read_text()


def test_the_citation_is_of_this_version():
    assert re.findall(r"^version: (.*)$", text("CITATION.cff"), re.MULTILINE) == [ksbp.__version__]


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ImportError, match="needs the TensorFlow backend of Keras. Received: the backend 'jax'"):
        importlib.reload(ksbp)
