"""The files around the package: what is shipped, cited and run by GitHub belongs together."""

import configparser
import importlib
import re
from pathlib import Path

import keras
import pytest

import keras_spiking_bp as ksbp
from tests.pages import ROOT


def text(path):
    return (ROOT / path).read_text()


def test_the_citation_is_of_this_version():
    assert re.findall(r"^version: (.*)$", text("CITATION.cff"), re.MULTILINE) == [ksbp.__version__]


def test_the_wheel_says_that_it_has_types(monkeypatch):
    setuptools = pytest.importorskip("setuptools", reason="needs pip install setuptools")
    monkeypatch.chdir(ROOT)
    distribution = setuptools.Distribution()
    distribution.parse_config_files(["setup.cfg"])
    build = distribution.get_command_obj("build_py")
    build.ensure_finalized()
    shipped = {str(Path(folder, name)) for _, folder, _, names in build.data_files for name in names}
    shipped = {name.removeprefix("keras_spiking_bp/") for name in shipped}
    assert {"py.typed", "kernels/lif_step.cc", "kernels/neurons.h"} <= shipped
    weights = (f"models/weights/{name}" for name in ("mnist", "cifar10"))
    assert {f"{name}.{kind}" for name in weights for kind in ("npz", "json")} <= shipped


def test_workflows_test_every_python_that_is_supported():
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    supported = re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"])
    matrix = re.search(r"python: \[(.*)\]", text(".github/workflows/tests.yml"))[1]
    assert re.findall(r"3\.\d+", matrix) == supported


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ImportError, match="needs the TensorFlow backend of Keras. Received: the backend 'jax'"):
        importlib.reload(ksbp)
