"""`to_nir`: graphs that an independent reader runs to the spikes of an independent simulation."""

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from tests.export.networks import exact
from tests.interchange import nir_reader
from tests.interchange.networks import NETWORKS, built, channels_first, conv, dense, lif, network
from tests.networks import FIXTURES, build_rnn, golden
from tests.reference import Simulation

nir = pytest.importorskip("nir")


@pytest.mark.parametrize("name", FIXTURES)
def test_golden_networks_run_alike_outside(name):
    description, weights, _ = golden(name)
    rnn, _ = build_rnn(description, weights)
    x = (np.random.default_rng(0).random((3, 30, *description["input_shape"])) < 0.4).astype("float32")
    expected = Simulation(description, weights, x)
    sent = nir_reader.run(ksbp.to_nir(rnn, dt=1e-3), channels_first(x), 1e-3)
    for node in description["nodes"]:
        if node["kind"].startswith("readout"):
            np.testing.assert_allclose(sent[node["name"]], expected.membranes[node["name"]], atol=1e-5)
        else:
            spikes = channels_first(expected.spikes[node["name"]])
            assert 0 < spikes.mean() < 1
            np.testing.assert_array_equal(sent[node["name"]], spikes)


SYNAPSES = {
    "kernel of even size": lambda: conv(4, 2),
    "valid, strides of two kinds, bias": lambda: conv(4, 3, strides=(2, 1), padding="valid", use_bias=True),
    "same with strides, equal sides": lambda: conv(4, 3, strides=2),
    "padding of two kinds": lambda: keras.Sequential(
        [keras.layers.ZeroPadding2D((2, 0)), conv(4, strides=2, padding="valid")]
    ),
    "dilated, padded before same": lambda: keras.Sequential([keras.layers.ZeroPadding2D(1), conv(4, dilation_rate=2)]),
    "pooling of a rest": lambda: keras.layers.AveragePooling2D((2, 3)),
    "same pooling that pads nothing": lambda: keras.layers.AveragePooling2D((7, 3), padding="same"),
    "nothing": lambda: keras.layers.Identity(),
}


@pytest.mark.parametrize("name", SYNAPSES)
def test_synapses(name):
    layer, x = built([lif(SYNAPSES[name](), name="n")], (7, 9, 2))
    graph = ksbp.to_nir(layer)
    spikes = layer(x).numpy()
    assert 0 < spikes.mean() < 1
    np.testing.assert_array_equal(nir_reader.run(graph, channels_first(x), 1e-4)["n"], channels_first(spikes))
    back = ksbp.SpikingRNN(ksbp.from_nir(graph).layers[-1].cell, return_sequences=True)
    np.testing.assert_array_equal(back(x), spikes)


@pytest.mark.parametrize("name", NETWORKS)
def test_types_fit_and_parameters_are_float32(name):
    graph = ksbp.to_nir(network(name)[0], dt=1e-3)
    assert graph.check_types()
    assert graph.metadata == {"dt": 1e-3}
    for node in graph.nodes.values():
        for parameter in ("weight", "bias", "tau", "r", "v_leak", "v_threshold", "v_reset"):
            assert getattr(node, parameter, np.float32(0)).dtype == "float32"


def test_names():
    cells = [lif(dense(4), name="output"), lif(dense(4), name="output"), ksbp.ReadoutCell(dense(2), name="input")]
    graph = ksbp.to_nir(built(cells, (3,))[0])
    assert list(graph.nodes)[1:] == [
        "output_synapse", "output_1", "output_synapse_1", "output_2", "input_synapse", "input_1", "output",
    ]  # fmt: skip


def padded(*padding):
    return keras.Sequential([keras.layers.ZeroPadding2D(padding), conv(2, padding="valid")])


def normalized(layer, name=None):
    return keras.Sequential([layer, keras.layers.BatchNormalization(name=name)])


def test_batch_normalization_is_folded_and_averages_need_no_neurons():
    cells = [
        lif(normalized(conv(6)), 0.5, "a"),
        keras.layers.AveragePooling2D(2),
        ksbp.ResidualCell(
            lif(normalized(conv(6)), 0.5, "b"), lif(normalized(conv(8)), 0.5, "c"), normalized(conv(8, 1))
        ),
        keras.layers.AveragePooling2D(2),
        keras.layers.Flatten(),
        lif(normalized(dense(10)), 0.5, "d"),
    ]
    layer, x = built(cells, (8, 8, 2))
    for norm in exact(layer)._flatten_layers():
        if isinstance(norm, keras.layers.BatchNormalization):
            norm.beta.assign(norm.beta + 0.5)  # such that the last layer fires
    graph = ksbp.to_nir(layer)
    spikes = layer(x).numpy()
    assert 0 < spikes.mean() < 1
    same_counts("abcd", layer, graph, x)
    back = ksbp.SpikingRNN(ksbp.from_nir(graph).layers[-1].cell, return_sequences=True)
    np.testing.assert_array_equal(back(x), spikes)
    assert any(isinstance(part, keras.layers.BatchNormalization) for part in layer._flatten_layers())


def graph_of(*behind):
    """A block that ends in a sum, as a graph, and what is behind it."""
    return ksbp.GraphCell([
        (lif(conv(6), 0.5, "a"), "input"),
        (lif(conv(6), 0.5, "b"), "a"),
        (keras.layers.Conv2D(6, 3, padding="same", use_bias=False, name="way"), "b"),
        (keras.layers.Add(name="sum"), ["way", "a"]),
        *behind,
    ])  # fmt: skip


REFUSED = {
    "'n' .LIFCell. must have initial_membrane=0.*Received: 0.5": [
        lif(conv(2), initial_membrane=0.5, name="n")
    ],
    "normalisation 'norm' cannot be folded": [lif(normalized(keras.layers.AveragePooling2D(2), "norm"))],
    "signed=False.*Received: True": [lif(conv(2), signed=True, reset_mechanism="subtract", name="n")],
    "reset_mechanism='zero'": [lif(conv(2), reset_mechanism="subtract", name="n")],
    "'n' must have beta and synaptic_beta below 1": [lif(conv(2), synaptic_beta=1.0, name="n")],
    "'n' .MaxPooling2D. has no node": [lif(keras.layers.MaxPooling2D(2, name="n"))],
    "'m' .MaxPooling2D. has no node": [ksbp.MaxPoolingCell(keras.layers.MaxPooling2D(2, name="m"))],
    "DepthwiseConv2D": [lif(keras.layers.DepthwiseConv2D(3))],
    "must have activation=.linear.*relu": [lif(conv(2, activation="relu"))],
    "groups=1": [lif(conv(2, groups=2))],
    "flat input": [lif(dense(3))],
    "pad opposite sides equally": [lif(padded((1, 0), (1, 1)))],
    "pads its sides unequally.*ZeroPadding2D": [lif(conv(2, 2, strides=3))],
    "average counts": [lif(keras.layers.AveragePooling2D(4, padding="same"))],
    "must all leak, or none": [lif(conv(2), beta=[1.0, 0.5])],
    "must have offset=0": [lif(keras.layers.Rescaling(1.0, offset=0.5))],
    "right before a convolution": [lif(keras.layers.ZeroPadding2D(1))],
    "data_format='channels_last'": [lif(conv(4, data_format="channels_first"))],
    "other order": [lif(conv(2)), keras.layers.Flatten()],
    "_recurrent' takes a flattened picture": [
        keras.layers.Flatten(),
        ksbp.RecurrentCell(lif(keras.layers.Identity()), dense(98), name="loop"),
    ],
    "other order.*": [
        keras.layers.Flatten(),
        ksbp.ResidualCell(lif(dense(98)), lif(dense(98))),
    ],
    "'both' .Concatenate. has no node": [
        graph_of((keras.layers.Concatenate(name="both"), ["sum", "a"]), (lif(conv(2)), "both")),
    ],
    "sum 'joined' takes a flattened picture": [
        graph_of(
            *((keras.layers.Flatten(name=f"flat_{name}"), name) for name in ("sum", "a")),
            (keras.layers.Add(name="joined"), ["flat_sum", "flat_a"]), (lif(dense(3)), "joined"),
        ),
    ],
    "'twice' takes an output twice, .'a'.": [
        graph_of((keras.layers.Add(name="twice"), ["sum", "a"]), (lif(keras.layers.Identity()), "twice")),
    ],
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message):
    layer = ksbp.SpikingRNN(ksbp.SequentialCell(REFUSED[message]), gradient="bptt")
    layer.build((None, None, 7, 7, 2))
    with pytest.raises(ValueError, match=message):
        ksbp.to_nir(layer)


def around(layer, before=None, behind=None):
    x = y = keras.Input((5, 4))
    for part in (before, layer, behind):
        y = y if part is None else part(y)
    return keras.Model(x, y)


def changed(change):
    layer = ksbp.SpikingRNN(lif(dense(3)))
    layer.build((None, None, 4))
    change(layer.cell.synapse)
    return layer


def causal():
    layer = ksbp.SpikingRNN(lif(keras.layers.Conv1D(4, 3, padding="causal")))
    layer.build((None, None, 10, 2))
    return layer


def fires(**kwargs):
    return ksbp.SpikingRNN(lif(dense(3)), **kwargs)


@pytest.mark.parametrize(("make", "kind", "message"), [
    (lambda: around(fires(), behind=keras.layers.Softmax()), ValueError, "nothing but an encoder"),
    (lambda: around(fires(), lambda x: 0.2 * x), ValueError, "nothing but an encoder.*Multiply"),
    (lambda: around(fires(go_backwards=True)), ValueError, "must have go_backwards=False"),
    (lambda: around(keras.layers.Dense(3)), TypeError, "must have a SpikingRNN"),
    (causal, ValueError, "pads its sides unequally .padding='causal'"),
    (lambda: changed(lambda synapse: synapse.kernel.assign(np.full((4, 3), np.nan))), ValueError, "finite weights"),
    (lambda: changed(lambda synapse: synapse.quantize("int8")), ValueError, "must have quantization_mode=None"),
], ids=["behind", "arithmetic", "backwards", "no network", "causal", "nan", "int8"])  # fmt: skip
def test_refuses_weights_that_nir_cannot_hold_and_what_is_around(make, kind, message):
    with pytest.raises(kind, match=message):
        ksbp.to_nir(make())


def same_counts(names, layer, graph, x):
    """The layers of these names fire in both, as often."""
    sent = nir_reader.run(graph, channels_first(x), 1e-4)
    activity = layer.observe(x)[1]
    for name in names:
        count = channels_first(activity[name]["spike_count"].numpy()[:, None])[:, 0]
        assert count.mean() > 0
        np.testing.assert_array_equal(sent[name].sum(1), count)


def test_a_graph_of_cells():
    layer, x = built([graph_of((lif(keras.layers.Identity(), 0.5, "c"), "sum"))], (8, 8, 2))
    exact(layer)
    graph = ksbp.to_nir(layer)
    assert {("way", "c"), ("a", "c")} < set(graph.edges)
    assert 0 < layer(x).numpy().mean() < 1
    same_counts("abc", layer, graph, x)


def test_a_residual_network_that_adds_spikes_comes_back(tmp_path):
    model = ksbp.models.spiking_resnet(
        (8, 8, 2), 3, [(4, 1), (6, 2)], [], residual="spikes", stem_filters=4, num_steps=6, encoder=None, kappa=6.0,
        seed=1, preset="paper",
    )  # fmt: skip
    spikes = (np.random.default_rng(0).random((4, 6, 8, 8, 2)) < 0.5).astype("float32")
    nir.write(tmp_path / "graph.nir", ksbp.to_nir(model))
    back = ksbp.from_nir(nir.read(tmp_path / "graph.nir"))
    outputs = back(spikes)
    _, activity = model.get_layer("time").observe(spikes)
    assert all(state["spike_count"].numpy().any() for state in activity.values() if "spike_count" in state)
    assert np.abs(outputs).max() > 0
    np.testing.assert_allclose(outputs, model(spikes), atol=1e-5)


def test_cells_that_connect_their_parts_otherwise_are_refused():
    class Doubled(ksbp.SequentialCell):
        def run(self, inputs, states, block):
            return super().run(2 * inputs, states, block)

    layer = ksbp.SpikingRNN(Doubled([lif(dense(3))], name="twofold"), "bptt")
    layer.build((None, None, 4))
    with pytest.raises(TypeError, match=r"'twofold' \(Doubled\) has an unknown type"):
        ksbp.to_nir(layer)
