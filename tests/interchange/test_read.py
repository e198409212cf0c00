"""`from_nir`: our own graphs and those of others, by hand; what has no cell is refused by name."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.rnn import observe
from tests.interchange import nir_reader
from tests.interchange.networks import built, channels_first, conv, every_step, lif, network, pool
from tests.real_data import NIR, NMNIST, needs
from tests.slow import slow

nir = pytest.importorskip("nir")


def same_graph(a, b):
    assert set(a.nodes) == set(b.nodes)
    assert sorted(a.edges) == sorted(b.edges)
    for name, node in a.nodes.items():
        np.testing.assert_equal(node.to_dict(), b.nodes[name].to_dict())


@pytest.mark.parametrize("name", ["dense", "residual", "sums of spikes"])
def test_round_trip_through_a_file(name, tmp_path):
    """A global policy of low precision changes nothing."""
    layer, x = network(name)
    graph = ksbp.to_nir(layer, dt=1e-3)
    nir.write(tmp_path / "network.nir", graph)
    keras.config.set_dtype_policy("mixed_bfloat16" if name == "residual" else "float32")
    model = ksbp.from_nir(nir.read(tmp_path / "network.nir"))
    model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(every_step(model)(x), layer(x))
    same_graph(ksbp.to_nir(model, dt=1e-3), graph)


def test_readout_and_encoder():
    model = ksbp.models.spiking_vgg(
        (8, 8, 2), 3, [(4, 3), "pool"], dense_units=[6], dropout=0.25, encoder=None, preset="paper"
    )
    graph = ksbp.to_nir(model)
    back = ksbp.from_nir(graph, gradient="bptt", name="mine")
    spikes = (np.random.default_rng(0).random((2, 20, 8, 8, 2)) < 0.5).astype("float32")
    np.testing.assert_array_equal(back(spikes), model(spikes))
    assert (back.name, back.layers[-1].gradient) == ("mine", "bptt")
    assert [neuron.dropout for neuron in back.layers[-1].cell.neurons()] == [0.25, 0, 0.25, 0]
    same_graph(ksbp.to_nir(back), graph)
    assert ksbp.from_nir(graph, encoder="poisson", num_steps=9)(np.zeros((2, 8, 8, 2), "float32")).shape == (2, 3)


def test_neurons_without_leak():
    cells = [lif(conv(2), beta=1.0, dropout=0.5), ksbp.PoolingCell(conv(2)), ksbp.ReadoutCell(conv(2), beta=1.0)]
    layer, x = built(cells, (4, 4, 2))
    graph = ksbp.to_nir(layer)
    assert [type(node).__name__ for node in graph.nodes.values()][2::2] == ["IF", "IF", "I"]
    back = every_step(ksbp.from_nir(graph))
    np.testing.assert_array_equal(back(x), layer(x))
    assert [type(n).__name__ for n in back.cell.neurons()] == ["IFCell", "PoolingCell", "ReadoutCell"]
    assert back.cell.neurons()[0].dropout == 0.5
    sent = nir_reader.run(graph, channels_first(x), 1e-4)["output"] / np.arange(1, 41)[:, None, None, None]
    np.testing.assert_allclose(channels_first(back(x).numpy()), sent, rtol=1e-4, atol=1e-5)


def gradient_of(layer, x):
    """Of the summed firing rates, by the weights."""
    with tf.GradientTape() as tape:
        rates = tf.reduce_sum(layer(x))
    return tape.gradient(rates, layer.trainable_variables[0])


def test_an_if_of_others_has_the_derivative_of_a_neuron_without_leak():
    x = (np.random.default_rng(1).random((3, 40, 4)) < 0.4).astype("float32")
    spikes = nir.IF(r=full(1.0), v_threshold=full(4.0), v_reset=full(0.0))
    model = ksbp.from_nir(graph_of(nir.Linear(abs(weight(3, 4))), spikes), surrogate="bounded")
    layer = ksbp.SpikingRNN(ksbp.IFCell(keras.layers.Dense(3, use_bias=False), threshold=4.0, surrogate="bounded"))
    layer.build(x.shape)
    layer.set_weights(model.get_weights())
    np.testing.assert_array_equal(model(x), layer(x))
    expected = gradient_of(layer, x)
    assert np.abs(expected).min() > 0
    np.testing.assert_allclose(gradient_of(model, x), expected, rtol=1e-6)


def test_a_surrogate_is_that_of_all_neurons_and_readouts_differentiate_their_leak():
    graph = HAND_WRITTEN["scaled readout"]()  # r dt / tau is 0.01
    for surrogate in (None, ksbp.surrogates.Sigmoid(4.0)):
        firing, readout = ksbp.from_nir(graph, surrogate=surrogate).layers[-1].cell.neurons()
        assert repr(firing.surrogate) == ("None" if surrogate is None else "Sigmoid(slope=0.04)")
        assert readout.differentiate_leak is (surrogate is not None)


def test_the_metadata_tells_which_cell_an_if_was(tmp_path):
    """Pooling neurons of ours stay what they are, through a file too; behind the pooling of others there are none."""
    cells = [pool("pool"), lif(conv(2), beta=1.0, name="lif")]
    layer, _ = built(cells, (4, 4, 2))
    graph = ksbp.to_nir(layer)
    nir.write(tmp_path / "network.nir", graph)
    kinds = lambda graph: [type(n) for n in ksbp.from_nir(graph).layers[-1].cell.neurons()]  # noqa: E731
    assert kinds(nir.read(tmp_path / "network.nir")) == [ksbp.PoolingCell, ksbp.IFCell]
    for node in graph.nodes.values():
        node.metadata = {}
    assert kinds(graph) == [ksbp.IFCell, ksbp.IFCell]


def graph_of(*nodes):
    return nir.NIRGraph.from_list(*nodes)


def full(value, shape=3):
    return np.full(shape, value, "float32")


def neurons(shape=3, **changed):
    values = {"tau": 1e-2, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.1234567, "v_reset": 0.0} | changed
    return nir.LIF(**{name: full(value, shape) for name, value in values.items()})


def weight(*shape):
    return np.random.default_rng(0).normal(0.3, 1, shape).astype("float32")


HAND_WRITTEN = {  # for dt = 1e-3, with r = 1
    "scaled readout": lambda: graph_of(
        nir.Linear(weight(3, 4)), neurons(), nir.Affine(weight(2, 3), weight(2)),
        nir.LI(full(5e-3, 2), full(1, 2), full(0, 2)),
    ),
    "a vector of factors": lambda: graph_of(nir.Scale(weight(3)), neurons()),
    "neurons behind neurons": lambda: graph_of(nir.Linear(weight(3, 4)), neurons(), neurons(v_threshold=0.05)),
    "a weight behind the last neurons": lambda: graph_of(nir.Linear(weight(3, 4)), neurons(), nir.Linear(weight(2, 3))),
    "pictures": lambda: graph_of(
        nir.Conv2d((6, 5), weight(3, 2, 3, 3), (1, 2), (1, 0), (1, 1), 1, weight(3)),
        neurons((3, 6, 2), v_threshold=0.0456789),
        nir.Conv2d((6, 2), weight(4, 3, 2, 2), 1, "same", 1, 1, weight(4)),
        nir.Flatten({"input": np.array([4, 6, 2])}, 0, 2),
        nir.Linear(weight(3, 48) - np.float32(0.3)),  # of both signs: not saturated
        neurons(),
    ),
}  # fmt: skip


HAND_WRITTEN["pictures smaller than the kernel"] = lambda: graph_of(
    nir.Conv2d((2, 2), weight(3, 2, 7, 7), (2, 2), (3, 3), (1, 1), 1, weight(3)),
    nir.Flatten({"input": np.array([3, 1, 1])}, 0, 2),
    nir.Linear(weight(3, 3)),
    neurons(),
)
HAND_WRITTEN["a series shorter than the kernel"] = lambda: graph_of(
    nir.Conv1d(3, weight(3, 2, 5), 2, 2, 1, 1, weight(3)),
    nir.Flatten({"input": np.array([3, 2])}, 0, 1),
    nir.Linear(weight(3, 6)),
    neurons(),
)


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_graphs_of_others(name):
    """Pictures are channels last whatever the default of Keras."""
    graph = HAND_WRITTEN[name]()
    shape = tuple(graph.nodes["input"].input_type["input"])
    x = (np.random.default_rng(1).random((3, 30, *shape)) < 0.4).astype("float32")
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first" if name == "pictures" else before)
    try:
        model = ksbp.from_nir(graph, dt=1e-3)
    finally:
        keras.config.set_image_data_format(before)
    outputs = every_step(model)(np.moveaxis(x, 2, -1)).numpy()
    expected = nir_reader.run(graph, x, 1e-3)["output"]
    if model.layers[-1].cell.emits == "potential":
        expected = expected / np.arange(1, 31)[:, None]
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def test_names_that_keras_does_not_accept():
    names = ["_fc", "größe", "a.b"]
    nodes = {"input": nir.Input(np.array([3])), "output": nir.Output(np.array([3]))}
    nodes |= {names[0]: linear(), names[1]: neurons(), names[2]: linear(), "lif": neurons()}
    edges = list(itertools.pairwise(["input", *names, "lif", "output"]))
    model = ksbp.from_nir(nir.NIRGraph(nodes, edges), dt=1e-3)
    assert model(np.ones((1, 5, 3), "float32")).shape == (1, 3)


def test_dt():
    graph = graph_of(nir.Linear(weight(3, 4)), neurons())
    betas = [ksbp.from_nir(graph, dt=dt).layers[-1].cell.neurons()[0].beta for dt in (None, 1e-4, 1e-3)]
    assert betas == pytest.approx([0.99, 0.99, 0.9])
    graph.metadata = {"dt": 1e-3}
    assert ksbp.from_nir(graph).layers[-1].cell.neurons()[0].beta == pytest.approx(0.9)


def joined(edges, **nodes):
    nodes = {"input": nir.Input(np.array([3])), "output": nir.Output(np.array([3]))} | nodes
    return nir.NIRGraph(nodes, [tuple(edge.split("-")) for edge in edges.split()])


def linear():
    return nir.Linear(weight(3, 3))


def cuba(shape=3, **changed):
    values = {
        "tau_syn": 4e-4, "tau_mem": 9e-4, "r": 7.0, "w_in": 3.0, "v_leak": 0.0, "v_threshold": 15.1234567, "v_reset": 0,
    }  # fmt: skip
    return nir.CubaLIF(**{name: full(value, shape) for name, value in (values | changed).items()})


def delay():
    return nir.Delay(full(1e-3))


def inside(*edges, **nodes):
    """A graph in which `g` is a graph of these edges and nodes."""
    ends = {"input": nir.Input(np.array([3])), "output": nir.Output(np.array([3]))}
    inner = nir.NIRGraph({**ends, **nodes}, [tuple(edge.split("-")) for edge in edges], type_check=False)
    return {"g": inner, "w": linear(), "n": neurons()}


def alone(takes=(3,), gives=(3,), **layer):
    """One layer on inputs of this shape, whether or not it fits them, and neurons."""
    ((name, node),) = layer.items()
    ends = {"input": nir.Input(np.array(takes)), "output": nir.Output(np.array(gives))}
    nodes = {**ends, name: node, "n": neurons(gives)}
    return nir.NIRGraph(nodes, [("input", name), (name, "n"), ("n", "output")], type_check=False)


REFUSED = {
    "way back to the node 'n' takes a flattened picture": lambda: nir.NIRGraph(
        {
            "input": nir.Input(np.array([2, 3, 3])),
            "f": nir.Flatten({"input": np.array([2, 3, 3])}, 0),
            "n": neurons(18),
            "u": nir.Linear(weight(18, 18)),
            "output": nir.Output(np.array([18])),
        },
        [("input", "f"), ("f", "n"), ("n", "u"), ("u", "n"), ("n", "output")],
    ),
    "must have a readout at the end only": lambda: joined(
        "input-w w-a a-b b-i i-j a-s s-j j-output", w=linear(), a=neurons(), b=linear(),
        i=nir.LI(full(1e-2), full(1), full(0)), s=linear(), j=neurons(),
    ),
    "must not end in layers behind a readout": lambda: graph_of(
        linear(), neurons(), nir.LI(full(1e-2), full(1), full(0)), linear()
    ),
    "'delay' of type Delay.*Allowed are Affine, AvgPool2d": lambda: graph_of(linear(), delay(), neurons()),
    "must hold at least one spiking cell": lambda: graph_of(linear()),
    "must end in a cell.*output_inputs": lambda: joined(
        "input-w w-n w-m n-output m-output", w=linear(), n=neurons(), m=neurons()
    ),
    "one Input node.*'input', 'other'": lambda: joined(
        "input-n other-n n-output", other=nir.Input(np.array([3])), n=neurons()
    ),
    "one step of one sample.*ignore_dims": lambda: graph_of(nir.Input(np.array([1, 2, 3, 4])), neurons((1, 2, 3, 4))),
    "flatten the whole input": lambda: graph_of(nir.Flatten({"input": np.array([2, 3, 3])}, 1), neurons((2, 9))),
    "`padding` of node 'p' must be 0. Received: padding=.1, 1": lambda: alone(
        (2, 6, 6), (2, 4, 4), p=nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([1, 1]))
    ),
    "`padding` of node 'c' must be numbers, since it has strides": lambda: alone(
        (2, 6, 6), (3, 3, 3), c=nir.Conv2d((6, 6), weight(3, 2, 3, 3), 2, "same", 1, 1, weight(3))
    ),
    "`scale` of node 's' must have the shape of its input. Received: .4,. on .3,.": lambda: alone(
        s=nir.Scale(weight(4))
    ),
    "`weight` of node 'w' must be .out, in. on a flat input. Received: .*3, 4. on .3,.": lambda: alone(
        w=nir.Linear(weight(3, 4))
    ),
    "`weight` of the Linear node 'v' must be finite": lambda: alone(v=nir.Linear(np.nan * weight(3, 3))),
    "`v_leak` of the LIF node 'lif' must be finite": lambda: graph_of(
        linear(), neurons(tau=np.inf, r=np.inf, v_leak=np.inf)
    ),
    "`beta` must be a number.*nan": lambda: graph_of(linear(), neurons(tau=np.nan)),
    "`v_leak` of the CubaLIF node 'cubalif' must be 0": lambda: graph_of(linear(), cuba(v_leak=0.1)),
    r"parameters of node 'n' .* \(3, 3, 3\). Received: \(3,\)": lambda: nir.NIRGraph(
        {
            "input": nir.Input(np.array([2, 3, 3])),
            "c": nir.Conv2d((3, 3), weight(3, 2, 1, 1), 1, 0, 1, 1, np.zeros(3, "float32")),
            "n": neurons(3, v_threshold=np.array([0.1, 0.2, 0.3], "float32")),
            "output": nir.Output(np.array([3, 3, 3])),
        },
        [("input", "c"), ("c", "n"), ("n", "output")],
        type_check=False,
    ),
    "other order": lambda: graph_of(neurons((2, 3, 3)), nir.Flatten({"input": np.array([2, 3, 3])}, 0)),
}  # fmt: skip


def braille(bias, **changed):
    """A network as snnTorch writes its recurrent ones: each layer with the way back is a graph of its own."""

    def synapse(*shape):
        return nir.Affine(weight(*shape), 0.3 * weight(shape[0])) if bias else nir.Linear(weight(*shape))

    def looped(units):
        nodes = {
            "input": nir.Input(np.array([units])),
            "lif": cuba(units, **changed),
            "w_rec": synapse(units, units),
            "output": nir.Output(np.array([units])),
        }
        return nir.NIRGraph(nodes, [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")])

    nodes = {
        "input": nir.Input(np.array([12])),
        "fc1": synapse(20, 12),
        "lif1": looped(20),
        "fc2": synapse(7, 20),
        "lif2": cuba(7, v_threshold=5.1234567),
        "output": nir.Output(np.array([7])),
    }
    names = ["input", "fc1", "lif1", "fc2", "lif2", "output"]
    return nir.NIRGraph(nodes, list(itertools.pairwise(names)), type_check=False)


def taken_apart(graph):
    """The same graph with the inner one's nodes among its own, by hand."""
    inner = graph.nodes["lif1"].nodes
    nodes = {**graph.nodes, "lif1": inner["lif"], "w_rec": inner["w_rec"]}
    return nir.NIRGraph(nodes, [*graph.edges, ("lif1", "w_rec"), ("w_rec", "lif1")], type_check=False)


@pytest.mark.parametrize(("bias", "reset"), [(True, "zero"), slow((False, "subtract"))])
def test_recurrent_current_based_networks(bias, reset, tmp_path):
    nir.write(tmp_path / "network.nir", braille(bias))
    graph = nir.read(tmp_path / "network.nir", type_check=False)
    x = (np.random.default_rng(1).random((5, 60, 12)) < 0.2).astype("float32")
    model = ksbp.from_nir(graph, reset_mechanism=reset)
    assert model.layers[-1].gradient == "bptt"
    sent = nir_reader.run(taken_apart(graph), x, 1e-4, back=[("lif1", "w_rec")], reset=reset)
    assert 0.02 < sent["lif1"].mean() < 0.9 and 0.02 < sent["lif2"].mean() < 0.9
    found = observe.traces(model, x)
    for ours, theirs in (("lif1_lif", "lif1"), ("lif2", "output")):
        np.testing.assert_array_equal(found[ours]["spikes"], sent[theirs])
    if reset == "zero":
        written = ksbp.to_nir(model)
        np.testing.assert_array_equal(ksbp.from_nir(written)(x), model(x))
        by_hand = nir_reader.run(written, x, 1e-4, back=[("lif1_lif", "lif1_lif_recurrent")])["output"]
        np.testing.assert_array_equal(by_hand, sent["output"])


def test_graphs_that_hand_on_or_come_back_to_themselves():
    x = (np.random.default_rng(1).random((3, 30, 3)) < 0.4).astype("float32")
    ends = {"input": nir.Input(np.array([3])), "output": nir.Output(np.array([3]))}
    through = [("input", "w"), ("w", "g"), ("g", "n"), ("n", "output")]
    handed_on = nir.NIRGraph({**ends, **inside("input-output")}, through, type_check=False)
    plain = joined("input-w w-n n-output", w=linear(), n=neurons())
    models = [ksbp.from_nir(graph, dt=1e-3) for graph in (handed_on, plain)]
    np.testing.assert_array_equal(*[every_step(model)(x) for model in models])

    nodes = inside("input-k", "k-output", k=neurons())
    back = nir.NIRGraph({**ends, **nodes}, [("input", "w"), ("w", "g"), ("g", "g"), ("g", "output")], type_check=False)
    direct = joined("input-w w-k k-k k-output", w=linear(), k=neurons())
    for graph in (back, direct):
        graph.nodes.pop("n", None)
    models = [ksbp.from_nir(graph, dt=1e-3) for graph in (back, direct)]
    outputs = [ksbp.SpikingRNN(model.layers[-1].cell, "bptt", return_sequences=True)(x) for model in models]
    np.testing.assert_array_equal(*outputs)


def varied(*shape, low=0.5, high=1.5, seed=5):
    """Positive parameters that differ from neuron to neuron."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype("float32")


def each(kind, *shape):
    """Neurons with parameters of their own; threshold and currents in the range of `weight`."""
    values = {
        "tau": 1e-2 * varied(*shape, seed=1),
        "r": varied(*shape, seed=2),
        "v_leak": 0 * varied(*shape),
        "v_threshold": 0.0712345 * varied(*shape, seed=3),
        "v_reset": 0 * varied(*shape),
    }
    if kind == "CubaLIF":
        values |= {"tau_mem": values.pop("tau"), "tau_syn": 4e-3 * varied(*shape, seed=4), "w_in": varied(*shape)}
    return getattr(nir, kind)(**values)


PARAMETERS_OF_EACH = {
    "LIF": lambda: graph_of(nir.Linear(weight(3, 4)), each("LIF", 3)),
    "CubaLIF": lambda: graph_of(nir.Linear(weight(3, 4)), each("CubaLIF", 3)),
    "IF": lambda: graph_of(nir.Linear(weight(3, 4)), nir.IF(full(1e3), varied(3), full(0.0))),
    "Threshold": lambda: graph_of(nir.Linear(weight(3, 4)), nir.Threshold(varied(3, high=0.7))),
    "LI": lambda: graph_of(nir.Linear(weight(3, 4)), nir.LI(1e-2 * varied(3), varied(3, seed=2), full(0.0))),
    "pictures, then flattened": lambda: graph_of(
        each("LIF", 2, 4, 3), nir.Flatten({"input": np.array([2, 4, 3])}, 0), each("LIF", 24),
        nir.Linear(weight(3, 24)), neurons(),
    ),
    "LI of pictures": lambda: graph_of(
        nir.Conv2d((4, 3), weight(2, 2, 3, 3), 1, "same", 1, 1, weight(2)),
        nir.LI(5e-3 * varied(2, 4, 3), varied(2, 4, 3, seed=2), full(0.0, (2, 4, 3))),
        nir.Flatten({"input": np.array([2, 4, 3])}, 0), nir.Linear(weight(3, 24)), neurons(),
    ),
    "a resting potential": lambda: graph_of(
        neurons((2, 4, 3)), nir.Flatten({"input": np.array([2, 4, 3])}, 0), nir.Linear(weight(3, 24) / 8),
        nir.LIF(1e-2 * varied(3), full(1.0), np.float32([0.2, 0.0, -0.1]), full(0.1234567), full(0.0)),
    ),
    "sum pooling and scale": lambda: graph_of(
        neurons((3, 6, 6), v_threshold=0.0456789), nir.SumPool2d(np.array([2, 3]), np.array([2, 3]), np.array([0, 0])),
        nir.Scale(weight(3, 3, 2)), nir.Flatten({"input": np.array([3, 3, 2])}, 0), nir.Linear(weight(3, 18)),
        neurons(),
    ),
    "series": lambda: graph_of(
        nir.Conv1d(9, weight(3, 2, 4), 2, 1, 1, 1, weight(3)), each("LIF", 3, 4),
        nir.Conv1d(4, weight(2, 3, 2), 1, "same", 2, 1, weight(2)), each("LIF", 2, 4),
        nir.Flatten({"input": np.array([2, 4])}, 0), nir.Linear(weight(3, 8)), neurons(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PARAMETERS_OF_EACH)
def test_neurons_with_parameters_of_their_own(name, tmp_path):
    """And nodes that are not in `HAND_WRITTEN`; in the order of axes of both sides; and back again."""
    graph = PARAMETERS_OF_EACH[name]()
    shape = tuple(graph.nodes["input"].input_type["input"])
    x = (np.random.default_rng(1).random((4, 30, *shape)) < 0.4).astype("float32")
    expected = nir_reader.run(graph, x, 1e-3)["output"]
    nir.write(tmp_path / "network.nir", graph)
    model = ksbp.from_nir(nir.read(tmp_path / "network.nir"), dt=1e-3)
    ours = np.moveaxis(x, 2, -1)
    outputs = every_step(model)(ours).numpy()
    if name == "LI":
        steps = np.arange(1, 31)[None, :, None]
        np.testing.assert_allclose(outputs, expected / steps, atol=1e-5)
    else:
        assert 0.02 < expected.mean() < 0.98
        np.testing.assert_array_equal(outputs, expected)
    if name == "a resting potential":  # it came in as a constant current
        with pytest.raises(ValueError, match="offset=0"):
            ksbp.to_nir(model)
        return
    back = ksbp.from_nir(ksbp.to_nir(model, dt=1e-3))
    np.testing.assert_allclose(every_step(back)(ours), outputs, atol=1e-6)


@pytest.mark.parametrize("beta", [2.9e-8, 3.1e-8])
def test_which_neurons_are_thresholds(beta):
    model = ksbp.from_nir(graph_of(nir.Linear(weight(3, 4)), nir.Threshold(full(0.5))))
    cell = ksbp.SequentialCell([ksbp.LIFCell(keras.layers.Dense(3, use_bias=False), beta=beta, threshold=0.5)])
    inputs = keras.Input((30, 4))
    ours = keras.Model(inputs, ksbp.SpikingRNN(cell, return_sequences=True)(inputs))
    ours.set_weights(model.get_weights())
    back = ksbp.to_nir(ours)
    kinds = [type(node).__name__ for node in back.nodes.values()]
    assert kinds[-2:] == ["LIF" if beta > 3e-8 else "Threshold", "Output"]
    x = (np.random.default_rng(1).random((4, 30, 4)) < 0.4).astype("float32")
    expected = ours(x).numpy()
    assert 0.02 < expected.mean() < 0.98
    np.testing.assert_array_equal(every_step(ksbp.from_nir(back))(x), expected)


@pytest.mark.slow
@needs(NIR, NMNIST)
def test_the_trained_cnn_of_the_nir_paper_reads_recordings():
    """Trained on N-MNIST by others; by time steps of a millisecond."""
    model = ksbp.from_nir(nir.read(NIR / "cnn_sinabs.nir"))
    data = ksbp.datasets.load_nmnist(NMNIST, num_steps=300)
    rates = model.predict(data.test_batches(20), verbose=0)
    assert (rates.argmax(-1) == data.test[1]).mean() >= 0.97


BRANCHED = {
    "paths meet in neurons that come back": "input-w w-a a-b a-c b-s s-n c-t t-n n-n n-output",
    "a block in a block": "input-w w-a a-b b-c b-t c-s s-m t-m m-x x-n a-u u-n n-output",
    "weights behind": "input-w input-u w-a u-a a-s a-t s-b t-b b-x x-output",
}


@pytest.mark.parametrize("name", BRANCHED)
def test_paths_that_meet_elsewhere_than_in_residual_blocks(name):
    used = set(BRANCHED[name].replace("-", " ").split()) - {"input", "output"}
    nodes = {node: neurons() if node in "abcmn" else linear() for node in used}
    for i, node in enumerate(sorted(nodes)):  # weights of both signs, that differ
        if node not in "abcmn":
            nodes[node].weight = np.random.default_rng(i).normal(0.7, 1, (3, 3)).astype("float32")
    graph = joined(BRANCHED[name], **nodes)
    back = [("n", "n")] if "n-n" in BRANCHED[name] else []
    x = (np.random.default_rng(1).random((3, 30, 3)) < 0.4).astype("float32")
    model = ksbp.from_nir(graph, dt=1e-3)
    cell, gradient = model.layers[-1].cell, model.layers[-1].gradient
    assert gradient == ("bptt" if back else "accumulated")
    sent = nir_reader.run(graph, x, 1e-3, back=back)
    if name == "weights behind":
        outputs = ksbp.SpikingRNN(cell, gradient, return_sequences=True)(x)
        np.testing.assert_allclose(outputs, sent["output"], rtol=1e-4, atol=1e-5)
    traces = observe.traces(model, x)
    for node in used & set("abcmn"):
        np.testing.assert_array_equal(traces[node]["spikes"], sent[node])
        assert 0.02 < sent[node].mean() < 0.95


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message):
    with pytest.raises(ValueError, match=message):
        ksbp.from_nir(REFUSED[message]())


def test_neurons_that_forget_come_back():
    """Where they are no Threshold: with a synaptic current, beside others."""
    beta = np.array([1e-8, 0.5, 0.9], "float32")
    cells = [ksbp.LIFCell(keras.layers.Dense(3), beta=beta, threshold=0.3, synaptic_beta=0.9, name="hidden")]
    layer, x = built(cells, (4,))
    back = ksbp.from_nir(ksbp.to_nir(layer))
    assert 0.02 < layer(x).numpy().mean() < 0.98
    np.testing.assert_array_equal(every_step(back)(x), layer(x))
    assert isinstance(back.layers[-1].cell.neurons()[0].surrogate, ksbp.surrogates.ATan)
