"""The golden fixtures: every spike, trace and output, and both gradients, in eager mode, as a graph and under XLA."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from tests.networks import FIXTURES, build_rnn, golden
from tests.oracle import assert_close
from tests.reference import Simulation
from tests.slow import slow

MODES = [
    case if case[1] == "eager" or case == ("residual", "graph") else slow(case)
    for case in itertools.product(FIXTURES, ("eager", "graph", "xla"))
]


@pytest.mark.parametrize("gradient", ["accumulated", "bptt"])
@pytest.mark.parametrize(("name", "mode"), MODES)
def test_outputs_loss_and_gradients(name, gradient, mode):
    network, weights, figures = golden(name)
    rnn, names = build_rnn(network, weights, gradient=gradient)

    def train_step(inputs):
        with tf.GradientTape() as tape:
            outputs = rnn(inputs)
            loss = ksbp.losses.SumSquaredError()(figures["targets"], outputs)
        return outputs, loss, tape.gradient(loss, rnn.trainable_weights)

    if mode != "eager":
        train_step = tf.function(train_step, jit_compile=mode == "xla")
    outputs, loss, gradients = train_step(tf.constant(figures["inputs"], tf.float32))
    assert_close(outputs, figures["outputs"], "outputs")
    assert_close(loss, figures["loss"], "loss")
    for weight, actual in zip(names, gradients, strict=True):
        assert_close(actual, figures[f"grad_{gradient}/{weight}"], weight)


@pytest.mark.parametrize("name", FIXTURES)
def test_records(name):
    network, weights, figures = golden(name)
    rnn, _ = build_rnn(network, weights)
    _, activity = rnn.observe(figures["inputs"].astype("float32"))
    compared = 0
    for key in figures.files:
        what, _, node = key.partition("/")
        if what in ("spike_count", "last_spike"):
            np.testing.assert_array_equal(activity[node][what], figures[key], err_msg=key)
        elif what in ("leaky_trace", "leak_correction", "membrane"):
            assert_close(activity[node][what], figures[key], key)
        else:
            continue
        compared += 1
    assert compared >= 4 * len(network["nodes"]) - 5


@pytest.mark.parametrize("name", FIXTURES)
def test_every_spike_of_every_neuron(name):
    network, weights, figures = golden(name)
    rnn, _ = build_rnn(network, weights)
    cell = rnn.cell
    inputs = figures["inputs"].astype("float32")
    states = [neuron.initial_state(len(inputs), recorded=True) for neuron in cell.neurons()]
    for t in range(inputs.shape[1]):
        before = states
        _, states = cell.run(tf.constant(inputs[:, t]), states)
        for neuron, old, new in zip(cell.neurons(), before, states, strict=True):
            if neuron.emits == "spikes":
                spikes = new["spike_count"] - old["spike_count"]
                np.testing.assert_array_equal(spikes, figures[f"spikes/{neuron.name}"][:, t], err_msg=neuron.name)


@pytest.mark.parametrize("name", FIXTURES)
def test_the_numpy_reference_itself(name):
    """tests/reference.py must meet the fixtures too: else it is no oracle."""
    network, weights, figures = golden(name)
    simulation = Simulation(network, weights, figures["inputs"])
    g_outputs = 2 * (simulation.outputs - figures["targets"])
    assert_close(simulation.outputs, figures["outputs"])
    for gradient in ("bptt", "accumulated"):
        for weight, actual in getattr(simulation, f"grad_{gradient}")(g_outputs).items():
            assert_close(actual, figures[f"grad_{gradient}/{weight}"], weight)
