"""The examples run, on fewer digits and steps."""

import re
import sys

import pytest

import keras_spiking_bp as ksbp
from examples import compare_gradients, demo


@pytest.fixture
def few_digits(monkeypatch):
    (x, y), (x_test, y_test) = ksbp.datasets.mnist_5k()
    monkeypatch.setattr(ksbp.datasets, "mnist_5k", lambda seed=0: ((x[:64], y[:64]), (x_test[:40], y_test[:40])))


def test_demo(few_digits, monkeypatch, tmp_path, capsys):
    arguments = ["demo", "--epochs", "1", "--num-steps", "4", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    demo.main()
    printed = capsys.readouterr().out
    assert re.search(r"test accuracy: 0\.\d{3} ", printed)
    assert re.search(r"conv1 +\d+\.\d +\(\d\.\d\d per neuron\)", printed)
    assert "time per epoch" in printed
    assert (tmp_path / "spiking_lenet.keras").stat().st_size > 1e6
    assert (tmp_path / "demo.png").stat().st_size > 1e4


def test_compare_gradients_goes_on_where_it_was(few_digits, monkeypatch, tmp_path):
    page = tmp_path / "gradients.md"
    arguments = ["compare", "--seeds", "1", "--epochs", "1", "--output", str(page)]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(compare_gradients, "NUM_STEPS", 3)
    compare_gradients.main()
    first = page.read_text()
    assert "| `accumulated` | 0." in first and "| `bptt` | 0." in first
    monkeypatch.setattr(compare_gradients, "train", None)  # nothing is left to train
    compare_gradients.main()
    assert page.read_text() == first
