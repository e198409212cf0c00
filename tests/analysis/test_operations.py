"""Synaptic operations against a count that follows each spike through each synapse."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.analysis.ann_operations import operations_of_model
from keras_spiking_bp.analysis.synapse_counts import fan_out
from keras_spiking_bp.rnn.observe import traces
from tests.analysis import brute_force

STEPS, SAMPLES = 6, 3


def conv(filters, size=3, strides=1, padding=1):
    layer = keras.layers.Conv2D(filters, size, strides=strides, padding="valid", use_bias=False)
    return keras.Sequential([keras.layers.ZeroPadding2D(padding), layer]) if padding else layer


@pytest.fixture(scope="module")
def network():
    """Strided and padded convolutions, both kinds of shortcut and the identity, pooling with a rest, dense layers."""
    keras.utils.set_random_seed(3)
    cell = ksbp.SequentialCell([
        ksbp.LIFCell(keras.layers.Conv2D(4, 3, padding="same", use_bias=False), threshold=0.3, name="a"),
        ksbp.ResidualCell(
            ksbp.LIFCell(conv(4), threshold=0.3, name="b"),
            ksbp.LIFCell(conv(6, 3, 2, 1), threshold=0.3, name="c"),
            keras.layers.Conv2D(6, 1, strides=2, use_bias=False),
        ),
        ksbp.ResidualCell(
            ksbp.LIFCell(conv(5), threshold=0.3, name="d"), ksbp.LIFCell(conv(6), threshold=0.3, name="e")
        ),
        ksbp.ResidualCell(
            ksbp.LIFCell(conv(5), threshold=0.3, name="f"),
            ksbp.LIFCell(conv(6, 3, 2, 1), threshold=0.3, name="g"),
            keras.layers.AveragePooling2D(1, strides=2),
        ),
        ksbp.PoolingCell(keras.layers.AveragePooling2D(2), threshold=0.4, name="h"),
        keras.layers.Flatten(),
        ksbp.LIFCell(keras.layers.Dense(7, use_bias=False), threshold=0.2, name="i"),
        ksbp.ReadoutCell(keras.layers.Dense(3, use_bias=False), name="j"),
    ])  # fmt: skip
    inputs = keras.Input((STEPS, 11, 10, 2))
    return keras.Model(inputs, ksbp.SpikingRNN(cell)(inputs))


@pytest.fixture(scope="module")
def spikes():
    return np.random.default_rng(0).integers(-1, 2, (SAMPLES, STEPS, 11, 10, 2)).astype("float32")


@pytest.fixture(scope="module")
def done(network, spikes):
    return ksbp.analysis.run(network, spikes, batch_size=2, verbose=0)


def test_operations_equal_the_brute_force_count_exactly(network, spikes, done):
    count = {
        "input -> a": ("input", lambda s: brute_force.conv(s, 3, 1, 1, 4)),
        "a -> b": ("a", lambda s: brute_force.conv(s, 3, 1, 1, 4)),
        "b -> c": ("b", lambda s: brute_force.conv(s, 3, 2, 1, 6)),
        "a -> c": ("a", lambda s: brute_force.conv(s, 1, 2, 0, 6)),
        "c -> d": ("c", lambda s: brute_force.conv(s, 3, 1, 1, 5)),
        "d -> e": ("d", lambda s: brute_force.conv(s, 3, 1, 1, 6)),
        "c -> e": ("c", lambda s: int((s != 0).sum())),
        "e -> f": ("e", lambda s: brute_force.conv(s, 3, 1, 1, 5)),
        "f -> g": ("f", lambda s: brute_force.conv(s, 3, 2, 1, 6)),
        "e -> g": ("e", lambda s: brute_force.pool(s, 1, 2)),
        "g -> h": ("g", lambda s: brute_force.pool(s, 2, 2)),
        "h -> i": ("h", lambda s: brute_force.dense(s, 7)),
        "i -> j": ("i", lambda s: brute_force.dense(s, 3)),
    }
    sent = {name: trace["spikes"] for name, trace in traces(network, spikes).items() if "spikes" in trace}
    sent["input"] = spikes
    assert list(done.operations) == list(count)
    for name, (source, by_hand) in count.items():
        expected = [[by_hand(sent[source][n, t]) for t in range(STEPS)] for n in range(SAMPLES)]
        assert np.sum(expected) > 0, name
        np.testing.assert_array_equal(done.operations[name], expected, err_msg=name)

    table = ksbp.analysis.operations(done)
    assert [row["connection"] for row in table.rows] == [*count, "total"]
    for row in table.rows[:-1]:
        assert row["accumulates"] == pytest.approx(done.operations[row["connection"]].sum() / SAMPLES)
        assert row["macs"] == 0


def test_synapses_equal_the_count_for_a_spike_everywhere(done):
    ones = {path.name: np.ones(path.source_shape) for path in done.connections}
    synapses = dict(zip(ones, done.synapses, strict=True))
    assert synapses["input -> a"] == brute_force.conv(ones["input -> a"], 3, 1, 1, 4)
    assert synapses["b -> c"] == brute_force.conv(ones["b -> c"], 3, 2, 1, 6)
    assert synapses["g -> h"] == brute_force.pool(ones["g -> h"], 2, 2)
    total = ksbp.analysis.operations(done).rows[-1]
    pooled, added = synapses["e -> g"] + synapses["g -> h"], 2 * 6 * 5 * 6 + 3 * 3 * 6  # two shortcuts join at 6 x 5
    assert total["ann_macs"] == STEPS * (sum(done.synapses) - synapses["c -> e"] - pooled)
    assert total["ann_accumulates"] == STEPS * (pooled + added)


@pytest.mark.parametrize("layer", [
    keras.layers.Conv2D(6, 3, groups=2),
    keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
    keras.layers.Conv2D(5, 3, dilation_rate=2, padding="same"),
    keras.layers.Conv2D(5, 4, strides=3, padding="same"),
    keras.layers.Conv2DTranspose(3, 3, strides=2),
    keras.layers.AveragePooling2D(3, strides=2, padding="same"),
    keras.layers.GlobalAveragePooling2D(),
    keras.layers.Dense(3),
])  # fmt: skip
def test_fan_out_of_unusual_layers(layer):
    """Against the derivative of the layer itself, with weights that cannot cancel."""
    shape = (7, 8, 4)
    layer.build((None, *shape))
    for variable in layer.trainable_weights:
        variable.assign(np.random.default_rng(0).uniform(1, 2, variable.shape))
    one_each = np.eye(np.prod(shape), dtype="float32").reshape(-1, *shape)
    changed = layer(one_each).numpy() != layer(np.zeros((1, *shape), "float32")).numpy()
    reached = changed.reshape(len(one_each), -1).sum(1).reshape(shape)
    np.testing.assert_array_equal(fan_out((layer,), shape), reached)


@pytest.fixture(scope="module")
def without_pooling_neurons():
    """Averages with no neurons behind them, on currents and spikes, a rest at the border, batch normalisation."""
    keras.utils.set_random_seed(3)
    lif = {"threshold": 0.3, "initial_membrane": 0.5}
    normalized = lambda *layers: keras.Sequential([*layers, keras.layers.BatchNormalization()])  # noqa: E731
    cell = ksbp.SequentialCell([
        keras.layers.AveragePooling2D(2),
        ksbp.LIFCell(normalized(keras.layers.Conv2D(4, 3, padding="same")), name="a", **lif),
        keras.layers.AveragePooling2D(2, strides=3),
        ksbp.ResidualCell(ksbp.LIFCell(normalized(conv(4)), name="b", **lif), ksbp.LIFCell(conv(4), name="c", **lif)),
        ksbp.MaxPoolingCell(keras.layers.MaxPooling2D(2), of="spikes", name="d"),
        ksbp.ResidualCell(
            ksbp.LIFCell(normalized(keras.layers.DepthwiseConv2D(1, depth_multiplier=2)), name="e", **lif),
            ksbp.LIFCell(normalized(conv(4, 3, 2, 1)), name="f", **lif),
            keras.layers.AveragePooling2D(1, strides=2),
        ),
        keras.layers.GlobalAveragePooling2D(),
        ksbp.LIFCell(normalized(keras.layers.Dense(5)), name="g", **lif),
        ksbp.ReadoutCell(keras.layers.Dense(3), name="h"),
    ])  # fmt: skip
    inputs = keras.Input((STEPS, 25, 24, 2))
    return keras.Model(inputs, ksbp.SpikingRNN(cell)(inputs))


@pytest.mark.slow
def test_a_spike_goes_through_an_average_to_the_synapses_behind_it(without_pooling_neurons):
    model = without_pooling_neurons
    spikes = (np.random.default_rng(0).random((2, STEPS, 25, 24, 2)) < 0.1).astype("float32")
    ksbp.training.update_statistics(model, spikes)
    through = lambda s, count, *pool: sum(count(one) for one in brute_force.averaged(s, *pool))  # noqa: E731
    count = {
        "input -> a": ("input", lambda s: through(s, lambda one: brute_force.conv(one, 3, 1, 1, 4), 2)),
        "a -> b": ("a", lambda s: through(s, lambda one: brute_force.conv(one, 3, 1, 1, 4), 2, 3)),
        "b -> c": ("b", lambda s: brute_force.conv(s, 3, 1, 1, 4)),
        "a -> c": ("a", lambda s: through(s, lambda one: 1, 2, 3)),
        "c -> d": ("c", lambda s: brute_force.pool(s, 2, 2)),
        "d -> e": ("d", lambda s: 2 * int(s.sum())),
        "e -> f": ("e", lambda s: brute_force.conv(s, 3, 2, 1, 4)),
        "d -> f": ("d", lambda s: brute_force.pool(s, 1, 2)),
        "f -> g": ("f", lambda s: 5 * int(s.sum())),
        "g -> h": ("g", lambda s: brute_force.dense(s, 3)),
    }
    sent = {name: trace["spikes"] for name, trace in traces(model, spikes).items() if "spikes" in trace}
    sent["input"] = spikes
    done = ksbp.analysis.run(model, spikes, verbose=0)
    assert list(done.operations) == list(count)
    for name, (source, by_hand) in count.items():
        expected = [[by_hand(sent[source][n, t]) for t in range(STEPS)] for n in range(2)]
        assert np.sum(expected) > 0, name
        np.testing.assert_array_equal(done.operations[name], expected, err_msg=name)
    assert done.updates == 12 * 12 * 4 + 2 * 4 * 4 * 4 + 2 * 2 * 8 + 4 + 5 + 3  # max pooling of spikes has no potential


def test_the_ann_averages_first(without_pooling_neurons):
    """And once, for both paths of a block: as in the network that is made of it."""
    spikes = np.zeros((1, STEPS, 25, 24, 2), "float32")
    table = ksbp.analysis.operations(without_pooling_neurons, spikes, verbose=0)
    accumulates, macs = operations_of_model(ksbp.ann_counterpart(without_pooling_neurons))
    assert (table.rows[-1]["ann_macs"], table.rows[-1]["ann_accumulates"]) == (STEPS * macs, STEPS * accumulates)
    rows = {row["connection"]: row for row in table.rows}
    assert rows["input -> a"]["ann_macs"] == STEPS * brute_force.conv(np.ones((12, 12, 2)), 3, 1, 1, 4)
    assert rows["input -> a"]["ann_accumulates"] == STEPS * brute_force.pool(np.ones((25, 24, 2)), 2, 2)
    assert (rows["a -> c"]["ann_macs"], rows["a -> c"]["ann_accumulates"]) == (0, STEPS * 4 * 4 * 4)
    assert rows["f -> g"]["ann_macs"] == STEPS * 4 * 5


def test_a_constant_current_costs_multiplications():
    model = ksbp.models.spiking_vgg(
        (8, 8, 1), 3, [(4, 3), "pool"], [], encoder=ksbp.ConstantEncoder(5), seed=0, preset="paper"
    )
    images = np.full((2, 8, 8, 1), 0.7, "float32")
    images[0, :4] = 0
    done = ksbp.analysis.run(model, images, verbose=0)
    row, pooling = ksbp.analysis.operations(done).rows[:2]
    synapses = brute_force.conv(np.ones((8, 8, 1)), 3, 1, 1, 4)
    half = brute_force.conv(images[0] > 0, 3, 1, 1, 4)
    assert (row["accumulates"], row["macs"]) == (0, 5 * (synapses + half) / 2)
    assert pooling["macs"] == 0
    assert [r["layer"] for r in ksbp.analysis.activity(done).rows] == ["conv1", "pool1", "total"]


def written_in_several_ways(shape=(8, 8, 2)):
    """The same ANN: a padded convolution with ReLU, added to its input."""
    conv = {"filters": 2, "kernel_size": 3, "use_bias": False}
    for name, branch in {
        "fused": [keras.layers.ZeroPadding2D(1), keras.layers.Conv2D(**conv, activation="relu")],
        "flat": [keras.layers.ZeroPadding2D(1), keras.layers.Conv2D(**conv), keras.layers.ReLU()],
        "nested": [keras.Sequential([keras.layers.ZeroPadding2D(1), keras.layers.Conv2D(**conv), keras.layers.ReLU()])],
        "same": [keras.layers.Conv2D(**conv, padding="same"), keras.layers.Activation("relu")],
    }.items():
        inputs = x = keras.Input(shape)
        for layer in branch:
            x = layer(x)
        yield name, keras.Model(inputs, keras.layers.Add()([x, inputs]))


def test_an_ann_costs_the_same_however_it_is_written():
    macs = brute_force.conv(np.ones((8, 8, 2)), 3, 1, 1, 2)
    assert {name: operations_of_model(ann) for name, ann in written_in_several_ways()} == dict.fromkeys(
        ("fused", "flat", "nested", "same"), (8 * 8 * 2, macs)
    )


def test_a_recurrent_layer_has_all_its_weights_at_each_step():
    for layer, gates in ((keras.layers.SimpleRNN, 1), (keras.layers.GRU, 3), (keras.layers.LSTM, 4)):
        parts = [layer(6, return_sequences=True), keras.layers.GRU(5), keras.layers.Dense(2)]
        model = keras.Sequential([keras.Input((7, 4)), *parts])
        assert operations_of_model(model) == (0, 7 * gates * (4 * 6 + 6 * 6) + 7 * 3 * (6 * 5 + 5 * 5) + 5 * 2)


def test_pooling_behind_the_last_neurons_is_counted():
    """A vote: each class has several neurons."""
    vote = [keras.layers.Reshape((10, 3)), keras.layers.GlobalAveragePooling1D()]
    cell = ksbp.SequentialCell([ksbp.LIFCell(keras.layers.Dense(30), threshold=0.2, name="a"), *vote])
    inputs = keras.Input((6, 4))
    model = keras.Model(inputs, ksbp.SpikingRNN(cell)(inputs))
    spikes = np.random.default_rng(0).integers(0, 2, (2, 6, 4)).astype("float32")
    first, last, total = ksbp.analysis.operations(model, spikes, verbose=0).rows
    assert last["connection"] == "a -> (output)" and last["synapses"] == 30
    assert last["accumulates"] == traces(model, spikes)["a"]["spikes"].sum() / 2 > 0
    assert operations_of_model(ksbp.ann_counterpart(model)) == (30, 120)
    assert (total["ann_accumulates"], total["ann_macs"]) == (6 * 30, 6 * 120)
    assert total["accumulates"] == first["accumulates"] + last["accumulates"]

    cell = ksbp.SequentialCell([ksbp.LIFCell(keras.layers.Dense(30), name="a"), keras.layers.Softmax()])
    model = keras.Model(inputs, ksbp.SpikingRNN(cell, gradient="bptt")(inputs))
    rows = ksbp.analysis.operations(model, spikes, verbose=0).rows
    assert [row["connection"] for row in rows] == ["input -> a", "total"]


def recurrent(recurrent=None):
    cell = ksbp.LIFCell(keras.layers.Dense(12), threshold=0.3, name="hidden")
    cells = [
        ksbp.RecurrentCell(cell, recurrent or keras.layers.Dense(12)),
        ksbp.ReadoutCell(keras.layers.Dense(3), name="readout"),
    ]
    return ksbp.SpikingRNN(ksbp.SequentialCell(cells), gradient="bptt")


@pytest.mark.parametrize("encoder", [None, ksbp.DeltaEncoder(0.5)])
def test_the_ann_takes_a_series_step_by_step(encoder):
    """By hand: the kernels of a recurrent layer of Keras of the same size, at each step."""
    inputs = keras.Input((STEPS, 5))
    encoded = inputs if encoder is None else encoder(inputs)
    rnn = keras.layers.SimpleRNN(12, use_bias=False)
    rnn.build((None, STEPS, 5))
    series = np.random.default_rng(0).normal(0, 1, (SAMPLES, STEPS, 5)).astype("float32")
    rows = ksbp.analysis.operations(keras.Model(inputs, recurrent()(encoded)), series, verbose=0).rows
    kernels = [weights.size for weights in rnn.get_weights()] + [12 * 3]
    assert kernels == [60, 144, 36]
    assert [row["ann_macs"] for row in rows] == [STEPS * size for size in (*kernels, sum(kernels))]
    assert rows[-1]["ann_accumulates"] == STEPS * 12
    identity = keras.Model(inputs, recurrent(keras.layers.Identity())(encoded))
    by_name = {row["connection"]: row for row in ksbp.analysis.operations(identity, series, verbose=0).rows}
    assert by_name["hidden -> hidden"]["ann_accumulates"] == by_name["total"]["ann_accumulates"] == STEPS * 12


def test_the_ann_takes_what_an_encoder_repeats_once_and_without_feedback():
    inputs = keras.Input((5,))
    model = keras.Model(inputs, recurrent()(ksbp.ConstantEncoder(STEPS)(inputs)))
    rows = ksbp.analysis.operations(model, np.ones((SAMPLES, 5), "float32"), verbose=0).rows
    assert [row["ann_macs"] for row in rows] == [60, 0, 36, 96]


def test_a_series_with_a_mask_costs_as_much_as_its_steps():
    layer, inputs, exists = recurrent(), keras.Input((None, 5)), keras.Input((None,), dtype="bool")
    plain, masked = keras.Model(inputs, layer(inputs)), keras.Model([inputs, exists], layer(inputs, mask=exists))
    series = np.random.default_rng(0).integers(-1, 2, (3, 8, 5)).astype("float32")
    mask = np.arange(8) < np.array([8, 5, 1])[:, None]
    mask[1, [0, 3]] = False
    batches = tf.data.Dataset.from_tensor_slices(((series, mask), np.arange(3))).batch(2)
    done = ksbp.analysis.run(masked, batches, verbose=0)
    each = [ksbp.analysis.run(plain, x[m][None], verbose=0) for x, m in zip(series, mask, strict=True)]
    np.testing.assert_allclose(done.outputs[:, -1], masked([series, mask]), rtol=1e-5, atol=1e-6)
    for name, spikes in done.spikes.items():
        np.testing.assert_array_equal(spikes.sum(1), [of.spikes[name].sum() for of in each])
    tables = [ksbp.analysis.operations(of) for of in (done, *each)]
    for row, *of_each in zip(*(table.rows for table in tables), strict=True):
        for name in ("accumulates", "macs", "ann_macs"):
            assert row[name] == pytest.approx(np.mean([of[name] for of in of_each]))
    assert row["ann_macs"] == 4 * 240
    assert tables[0].neuron_updates == np.mean([table.neuron_updates for table in tables[1:]])
    costs = ksbp.analysis.Costs(neuron_update=2.0)
    (compared,) = ksbp.analysis.compare({"a": done}, accuracy=1.0, costs=costs, verbose=0).rows
    assert compared["energy_nj"] == pytest.approx(ksbp.analysis.energy(done, costs=costs).rows[-1]["energy_nj"])
    activity = ksbp.analysis.activity(done).rows[-1]
    assert activity["spikes_per_neuron"] == pytest.approx(4 * activity["firing_rate"]) and activity["spikes"] > 0
    (exit_at_the_end,) = ksbp.analysis.accuracy_over_time(done).early_exit([np.inf]).rows
    assert exit_at_the_end["steps"] == 4
    for name, share in done.saturated.items():
        assert share == pytest.approx(np.mean([of.saturated[name] for of in each]))


def spiking_graph(nodes, shape=(7, 6, 2), gradient="accumulated"):
    inputs = keras.Input((STEPS, *shape))
    return keras.Model(inputs, ksbp.SpikingRNN(ksbp.GraphCell(nodes), gradient=gradient)(inputs))


def firing(**kwargs):
    return ksbp.LIFCell(keras.layers.Conv2D(4, 3, padding="same"), **kwargs)


def ends(sources):
    return [(keras.layers.Flatten(name="flat"), sources), (ksbp.ReadoutCell(keras.layers.Dense(3)), "flat")]


GRAPHS = {
    "a sum of spikes": lambda: [
        (firing(name="a"), "input"),
        (firing(name="b"), "input"),
        (keras.layers.Add(name="sum"), ["a", "b"]),
        (firing(name="c"), "sum"),
        (keras.layers.Add(name="sum2"), ["sum", "c"]),
        *ends("sum2"),
    ],
    "currents in a row, each in all later ones": lambda: [
        (keras.layers.Conv2D(4, 3, padding="same", name="first"), "input"),
        (ksbp.LIFCell(keras.layers.Identity(), name="a"), "first"),
        (keras.layers.Conv2D(4, 3, padding="same", name="second"), "a"),
        (keras.layers.Concatenate(name="both"), ["first", "second"]),
        (ksbp.LIFCell(keras.layers.Identity(), name="b"), "both"),
        *ends("b"),
    ],
    "a sum of currents": lambda: [
        (firing(name="a"), "input"),
        (keras.layers.Conv2D(4, 3, padding="same", name="left"), "a"),
        (keras.layers.Conv2D(4, 1, name="right"), "a"),
        (keras.layers.Add(name="sum"), ["left", "right", "a"]),
        (ksbp.LIFCell(keras.layers.Identity(), name="b"), "sum"),
        *ends("b"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_is_counted_as_its_counterpart(name):
    """What stands behind a sum is computed once in the ANN, though each of the summands has a path through it."""
    snn = spiking_graph(GRAPHS[name]())
    rows = ksbp.analysis.operations(snn, np.zeros((1, STEPS, 7, 6, 2), "float32"), verbose=0).rows
    accumulates, macs = operations_of_model(ksbp.ann_counterpart(snn))
    assert (STEPS * accumulates, STEPS * macs) == (rows[-1]["ann_accumulates"], rows[-1]["ann_macs"])


def test_what_leaves_channels_behind_a_concatenation_is_counted():
    """As without the concatenation, each half."""
    last = keras.Sequential([keras.layers.Permute((2, 1, 3)), keras.layers.Reshape((-1,)), keras.layers.Dense(3)])
    both = [
        (firing(name="a"), "input"),
        (firing(name="b"), "input"),
        (keras.layers.Concatenate(name="c"), ["a", "b"]),
        (ksbp.SequentialCell([ksbp.ReadoutCell(last, name="d")], name="s"), "c"),
    ]
    spikes = np.ones((1, STEPS, 6, 6, 2), "float32")
    rows = ksbp.analysis.operations(spiking_graph(both, (6, 6, 2)), spikes, verbose=0).rows
    by_name = {row["connection"]: row["synapses"] for row in rows}
    assert by_name["a -> d"] == by_name["b -> d"] == 6 * 6 * 4 * 3


def test_layers_without_synapses_cost_nothing_in_an_ordinary_network():
    parts = [keras.layers.Resizing(8, 8), keras.layers.Conv2D(2, 3), keras.layers.GaussianNoise(0.1)]
    plain = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3)])
    assert operations_of_model(keras.Sequential([keras.Input((10, 10, 1)), *parts])) == operations_of_model(plain)


def behind_both(*layers):
    both = [(firing(name="a"), "input"), (firing(name="b"), "input"), (keras.layers.Concatenate(name="c"), ["a", "b"])]
    return [*both, (ksbp.SequentialCell([ksbp.LIFCell(keras.Sequential(layers))], name="d"), "c"), *ends("d")]


def one_layer(*layers):
    return [(ksbp.LIFCell(keras.Sequential(layers), name="d"), "input"), *ends("d")]


CONV = {"filters": 2, "kernel_size": 3, "padding": "same"}


@pytest.mark.parametrize(("make", "argument"), [  # a path knows the channels of its own source only
    (lambda: one_layer(keras.layers.SeparableConv2D(**CONV, name="sep")), "'sep' .SeparableConv2D. cannot be"),
    (lambda: one_layer(keras.layers.Conv2D(**CONV), keras.layers.Conv2D(**CONV)), "with no neurons"),
    (lambda: one_layer(keras.layers.AveragePooling2D(3, 2, "same"), keras.layers.Conv2D(**CONV)), "overlap"),
    (lambda: one_layer(keras.layers.MaxPooling2D(2), keras.layers.Conv2D(**CONV)), "with no neurons"),
    (lambda: behind_both(keras.layers.Permute((3, 1, 2)), keras.layers.Conv2D(**CONV)), "a Concatenate"),
    (lambda: behind_both(keras.layers.Reshape((14, 24)), keras.layers.Conv1D(3, 3)), "a Concatenate"),
    (lambda: behind_both(keras.layers.Conv2D(**CONV, groups=2)), "a Concatenate"),
])  # fmt: skip
def test_what_cannot_be_counted_is_refused_by_name(make, argument):
    model = spiking_graph(make(), gradient="bptt")
    with pytest.raises(ValueError, match=argument):
        ksbp.analysis.operations(model, np.zeros((1, STEPS, 7, 6, 2), "float32"), verbose=0)


def test_layers_with_synapses_outside_of_the_network_are_refused():
    inputs, encoder = keras.Input((4,)), ksbp.ConstantEncoder(5)
    cell = ksbp.SequentialCell([keras.layers.Flatten(), ksbp.LIFCell(keras.layers.Dense(3))])
    model = keras.Model(inputs, ksbp.SpikingRNN(cell)(encoder(keras.layers.Dense(9, name="front")(inputs))))
    assert ksbp.analysis.activity(model, np.ones((2, 4), "float32"), verbose=0).rows[-1]["layer"] == "total"
    with pytest.raises(ValueError, match=r"cannot be counted: its layers \['front'\] are outside of the SpikingRNN"):
        ksbp.analysis.operations(model, np.ones((2, 4), "float32"), verbose=0)


def test_counts_do_not_depend_on_the_precision_of_the_layers():
    padding = keras.layers.ZeroPadding2D(1, dtype="mixed_bfloat16")
    same = keras.layers.Conv2D(50, 3, padding="same")
    np.testing.assert_array_equal(
        fan_out((padding, keras.layers.Conv2D(50, 3)), (5, 5, 2)), fan_out((same,), (5, 5, 2))
    )
