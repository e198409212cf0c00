"""No fused operation that is not re-entrant runs for several time steps at once (docs/reports/fused_addition_race.py).

Looked for in the graph that TensorFlow runs, since a race shows itself now and then only.
"""

import operator

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.cells import composite, neuron
from tests.gradients.test_reads_before_updates import optimized_graphs
from tests.kernels.test_kernels import with_compiler

IMAGES = np.random.default_rng(0).uniform(size=(4, 6, 6, 3)).astype("float32")


@pytest.fixture(autouse=True)
def one_step_at_a_time(monkeypatch):
    """The graph is the same, and where an addition is fused on purpose, it must not race."""
    loop = tf.while_loop
    monkeypatch.setattr(tf, "while_loop", lambda *args, **kwargs: loop(*args, **{**kwargs, "parallel_iterations": 1}))


def conv(name, kind=keras.layers.Conv2D):
    return kind(3, 3, padding="same", bias_initializer="normal", name=name)


def joined(kind=keras.layers.Conv2D, neurons=None):
    nodes = [
        ((neurons or (lambda layer, name: layer))(conv("first", kind), name="first"), "input"),
        (conv("second", kind), "first"),
        (keras.layers.Add(name="sum"), ["second", "first"]),
        (ksbp.LIFCell(conv("third", kind), name="neurons"), "sum"),
    ]
    return ksbp.GraphCell(nodes)


def block():
    body = ksbp.LIFCell(conv("body"))
    return ksbp.SequentialCell([conv("stem"), ksbp.ResidualCell(body, ksbp.LIFCell(conv("junction")))])


def inner_model():
    inputs = keras.Input((6, 6, 3))
    current = conv("first")(inputs)
    current = keras.layers.Add()([conv("second")(current), current])
    return ksbp.LIFCell(keras.Model(inputs, conv("third")(current)))


def network(cell, shape):
    inputs = keras.Input(shape)
    return keras.Model(inputs, ksbp.SpikingRNN(cell, block_size=1)(ksbp.PoissonEncoder(5)(inputs)))


def not_serial(model, images, training=False):
    """Fused convolutions with an addition that does not wait for the step before: of no variable of the loop."""
    results, call = [], tf.function(lambda: model(images, training=training))
    for optimized in optimized_graphs(call):
        nodes = {node.name: node for node in optimized.node}
        for node in optimized.node:
            if node.op.startswith("_FusedConv") and b"Add" in node.attr["fused_ops"].list.s:
                summand = node.input[3].split(":")[0]
                results += [node.name] if nodes[summand].op != "Switch" else []
    return results


@pytest.mark.parametrize(("make", "images"), [
    (joined, IMAGES), (lambda: joined(keras.layers.Conv3D), IMAGES[..., None]),
    (lambda: joined(neurons=ksbp.LIFCell), IMAGES),
], ids=["2D", "3D", "to spikes"])  # fmt: skip
def test_additions_of_a_graph_are_not_fused(make, images, monkeypatch):
    assert not_serial(network(make(), images.shape[1:]), images) == []
    monkeypatch.setattr(composite, "sum_of_currents", operator.add)
    assert len(not_serial(network(make(), images.shape[1:]), images)) == 1  # what the first line would miss


@with_compiler
def test_the_addition_of_a_block_is_not_fused(monkeypatch):
    """With the kernels: else Grappler joins it to the addition of the potential, and fuses neither."""
    monkeypatch.setattr(ksbp.kernels.switch, "_on", None)  # as before, after the test
    ksbp.kernels.enable()
    assert not_serial(network(block(), (6, 6, 3)), IMAGES, training=True) == []
    monkeypatch.setattr(neuron, "sum_of_currents", operator.add)
    assert len(not_serial(network(block(), (6, 6, 3)), IMAGES, training=True)) == 1


def test_a_synapse_that_adds_runs_one_step_at_a_time(monkeypatch):
    model, loop, iterations = network(inner_model(), (6, 6, 3)), tf.while_loop, []

    def recorded(*args, parallel_iterations, **kwargs):
        iterations.append(parallel_iterations)
        return loop(*args, parallel_iterations=parallel_iterations, **kwargs)

    monkeypatch.setattr(tf, "while_loop", recorded)
    assert len(not_serial(model, IMAGES)) == 1
    assert set(iterations) == {1}
    assert not_serial(network(ksbp.LIFCell(conv("alone")), (6, 6, 3)), IMAGES) == []
    assert iterations[-1] > 1
