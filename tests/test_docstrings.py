"""The examples in the docstrings run."""

import doctest
import importlib
import pkgutil

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from tests.slow import slow_except

SLOW = {  # networks for CIFAR-10, trainings
    f"keras_spiking_bp.{name}"
    for name in (
        "models.resnet",
        "models.vgg",
        "training.calibration",
        "training.fit",
    )
}
MODULES = [m.name for m in pkgutil.walk_packages(ksbp.__path__, "keras_spiking_bp.")]
NAMES = {name: getattr(ksbp, name) for name in ksbp.__all__} | {"keras": keras, "np": np}


@pytest.mark.parametrize("name", slow_except(MODULES, *(name for name in MODULES if name not in SLOW)))
def test_examples(name):
    module = importlib.import_module(name)
    results = doctest.testmod(module, extraglobs=NAMES, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0


def test_public_names_have_examples():
    without = [
        name
        for name in ksbp.__all__
        if callable(getattr(ksbp, name)) and name != "Cell" and ">>>" not in getattr(ksbp, name).__doc__
    ]
    assert not without
