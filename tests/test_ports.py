"""The ports of other libraries' examples learn; the page says what the trainings say, and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest

import keras_spiking_bp as ksbp
from examples.ports import __main__ as ports
from examples.ports import conv_fashion_mnist, page, snntorch5, snntorch6
from examples.ports.data import load
from tests.slow import slow

DOCS = Path(__file__).parent.parent / "docs"


def digits(samples):
    return load("mnist_5k", None, samples, 200)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("port", "options", "batch_size", "samples"),
    [
        (snntorch5, {"num_steps": 10}, 64, 1280),
        (snntorch5, {"num_steps": 10, "readout": True, "gradient": "accumulated"}, 64, 1280),
        (snntorch6, {"num_steps": 8}, 32, 1600),
        slow((conv_fashion_mnist, {"channels": 8}, 32, 1600)),
        slow((conv_fashion_mnist, {"channels": 8, "layers": True}, 32, 1600)),
        (conv_fashion_mnist, {"channels": 8, "gradient": "accumulated"}, 32, 1600),
    ],
    ids=["snntorch5", "readout", "snntorch6", "cells", "layers", "accumulated"],
)
def test_learns(monkeypatch, port, options, batch_size, samples):
    """A tenth would be chance."""
    monkeypatch.setattr(port, "BATCH_SIZE", batch_size)
    accuracy = ports.train(port, digits(samples), epochs=1, seed=0, **options)()
    assert accuracy > 0.35


def test_an_untrained_network_is_at_chance():
    model = snntorch5.network(num_steps=10)
    snntorch5.compile_model(model, epochs=1)
    assert model.evaluate(*digits(1).test, verbose=0)[1] < 0.25


def test_potentials_are_those_of_the_neurons():
    """Above the threshold where the same neurons fire; `mem` of snnTorch before the reset."""
    model = snntorch5.network(num_steps=6, reset_delay=False)
    x = digits(20).train[0] * 2
    hidden, output = next(layer for layer in model.layers if isinstance(layer, ksbp.SpikingRNN)).cell.cells
    spiking = ksbp.LIFCell(output.synapse, output.beta, reset_mechanism="subtract", surrogate="atan")
    currents = ksbp.ConstantEncoder(6)(x.reshape(len(x), -1))
    spikes = ksbp.SpikingRNN(ksbp.SequentialCell([hidden, spiking]), return_sequences=True)(currents)
    assert 0 < np.mean(spikes) < 1
    np.testing.assert_array_equal(model(x) > 1.0, spikes > 0)


@pytest.mark.slow
def test_a_training_is_run_once(monkeypatch, tmp_path):
    rows = tmp_path / "ports.json"
    arguments = ["--port", "conv_fashion_mnist", "--data", "mnist_5k", "--samples", "128", "--test-samples", "20"]
    arguments += ["--channels", "2", "--num-steps", "2", "--epochs", "1", "--data-dir", "here", "--output", str(rows)]
    ports.main(arguments)
    (row,) = json.loads(rows.read_text())
    assert row["options"] == {"num_steps": 2, "channels": 2}
    assert (row["samples"], row["epochs"], row["data"], row["side"]) == (128, 1, "mnist_5k", "ours")
    assert "here" not in row["command"] and "--data-dir FOLDER" in row["command"]
    assert row["trainings"][0].keys() == {"seed", "accuracy", "seconds"}
    monkeypatch.setattr(ports, "measured", None)
    with_equals = [*arguments[:-4], "--data-dir=here", *arguments[-2:], "--verbose", "1"]  # trains nothing
    assert json.loads(json.dumps(ports.main(with_equals))) == [row]
    assert "| 128 images, 1 epoch; 20 to test |" in page.section([row]).replace("mnist_5k, ", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "snntorch6", "--gradient", "accumulated"], "--gradient is not an option of snntorch6"),
        (["--port", "conv_fashion_mnist", "--adam", "keras"], "--adam is not an option of conv_fashion_mnist"),
        (["--port", "snntorch5", "--channels", "4"], "--channels is not an option of snntorch5"),
        (["--port", "snntorch5", "--gradient", "accumulated"], "needs --readout"),
    ],
)
def test_options_that_a_port_has_not(arguments, message, capsys):
    with pytest.raises(SystemExit):
        ports.parse(arguments)
    assert message in capsys.readouterr().err


def test_the_committed_page_is_made_from_the_committed_trainings():
    rows = json.loads((DOCS / "ports.json").read_text())
    text = (DOCS / "migration.md").read_text()
    assert page.filled(text, rows) == text
    for row in rows:
        assert [training["seed"] for training in row["trainings"]] == [0, 1, 2]
