"""Builds the networks of tests/reference.py from the cells of the library."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np

import keras_spiking_bp as ksbp
from keras_spiking_bp.datasets.images import ImageSet

GOLDEN = Path(__file__).parent / "golden"
FIXTURES = {f["name"]: f for f in json.loads((GOLDEN / "fixtures.json").read_text())}


def golden(name):
    """(network description, weights, all figures) of a golden fixture."""
    figures = np.load(GOLDEN / f"{name}.npz")
    weights = {key.removeprefix("weight/"): figures[key] for key in figures.files if key.startswith("weight/")}
    return FIXTURES[name], weights, figures


def noisy_patterns(samples, shape=(8, 8, 2), classes=4):
    """Images that a network can learn: one random pattern a class, with noise."""
    rng = np.random.default_rng(1)
    patterns, labels = rng.uniform(-1, 1, (classes, *shape)), rng.integers(0, classes, samples)
    images = patterns[labels] + rng.normal(0, 0.3, (samples, *shape))
    return np.clip(images, -1, 1).astype("float32"), labels


def with_other_weights(model):
    """The same model with other weights, which a training must not start with if it goes on from a checkpoint."""
    model.set_weights([weight + 1 for weight in model.get_weights()])
    return model


def made_up_images():
    """A data set like MNIST, but small and without meaning."""
    rng = np.random.default_rng(0)

    def split(size):
        return rng.integers(0, 256, (size, 12, 12, 1), "uint8"), rng.integers(0, 10, size).astype("int32")

    return ImageSet("mnist", split(24), split(10), mean=(0.0,), scale=(1.0,), classes=10)


def exact_with_statistics(model, seed=0):
    """Weights and statistics, and all that is computed from them, are exact in binary: factors are powers of 2."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(rng.integers(-8, 9, shape) / 32)
            layer.moving_variance.assign(4.0 ** rng.integers(-1, 2, shape) - layer.epsilon)
            layer.gamma.assign(2.0 ** rng.integers(-1, 2, shape) * rng.choice([-1, 1], shape))
            layer.beta.assign(rng.integers(-4, 9, shape) / 32)
        elif not hasattr(layer, "layers"):
            for variable in layer._trainable_variables:
                variable.assign(rng.integers(-32, 33, variable.shape) / 64)
    return model


def synapse_layer(synapse, weights, policy=None):
    if synapse[0] == "dense":
        return keras.layers.Dense(weights[synapse[1]].shape[1], use_bias=False, dtype=policy)
    if synapse[0] == "avg":
        return keras.layers.AveragePooling2D(synapse[1], strides=synapse[2], dtype=policy)
    _, name, stride, padding = synapse
    size, _, _, filters = weights[name].shape
    conv = keras.layers.Conv2D(filters, size, strides=stride, padding="valid", use_bias=False, dtype=policy)
    return keras.Sequential([keras.layers.ZeroPadding2D(padding, dtype=policy), conv]) if padding else conv


def build_rnn(
    network, weights, dropout=None, reset="zero", policy=None, readout_leak=False, neuron=None, **rnn_arguments
):
    """A built `SpikingRNN` with the weights of the network, and the names of its weights in their order.

    `policy` is that of the synapses, `neuron` holds further arguments of all neurons that fire. The gradient "bounded"
    is "accumulated" with this surrogate.
    """
    if rnn_arguments.get("gradient") == "bounded":
        rnn_arguments["gradient"], neuron = "accumulated", {**(neuron or {}), "surrogate": "bounded"}
    cells, names = [], []
    nodes = list(network["nodes"])
    beta, dropout, neuron = network["beta"], dropout or {}, neuron or {}
    shaped = len(network["input_shape"]) == 3

    def lif(node):
        synapse = node["inputs"][0]["synapse"]
        names.append(synapse[1])
        cell = ksbp.LIFCell(
            synapse_layer(synapse, weights, policy), beta=beta, threshold=node["threshold"], reset_mechanism=reset,
            dropout=dropout.get(node["name"], 0.0), name=node["name"], synaptic_beta=network.get("synaptic_beta"),
            **neuron,
        )  # fmt: skip
        if node["inputs"][-1]["source"] != node["name"]:
            return cell
        back = node["inputs"][-1]["synapse"]
        names.append(back[1])
        return ksbp.RecurrentCell(cell, synapse_layer(back, weights, policy))

    while nodes:
        node = nodes.pop(0)
        synapse = node["inputs"][0]["synapse"]
        if shaped and synapse[0] == "dense":
            cells.append(keras.layers.Flatten())
            shaped = False
        if node["kind"] == "LIF" and nodes and len({i["source"] for i in nodes[0]["inputs"]} - {nodes[0]["name"]}) == 2:
            body, junction_node = lif(node), nodes.pop(0)
            junction = lif(junction_node)
            around = junction_node["inputs"][1]["synapse"]
            if around[0] == "conv":
                names.append(around[1])
            cells.append(ksbp.ResidualCell(body, junction, synapse_layer(around, weights, policy)))
        elif node["kind"] == "LIF":
            cells.append(lif(node))
        elif node["kind"].startswith("IF"):
            layer = synapse_layer(synapse, weights, policy)
            arguments = {"threshold": node["threshold"], "reset_mechanism": reset, "name": node["name"]}
            cells.append(ksbp.PoolingCell(layer, **arguments, **neuron))
        else:
            names.append(synapse[1])
            layer = synapse_layer(synapse, weights, policy)
            cells.append(ksbp.ReadoutCell(layer, beta=beta, differentiate_leak=readout_leak, name=node["name"]))
    rnn = ksbp.SpikingRNN(ksbp.SequentialCell(cells), **rnn_arguments)
    rnn.build((None, None, *network["input_shape"]))
    for variable, name in zip(rnn.trainable_weights, names, strict=True):
        variable.assign(weights[name])
    return rnn, names
