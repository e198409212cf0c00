"""Activity, accuracy over time, energy and comparison: against the NumPy simulation and by hand."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp import analysis
from keras_spiking_bp.analysis.table import Table
from keras_spiking_bp.rnn.observe import traces
from tests.networks import build_rnn, golden
from tests.reference import Simulation


@pytest.fixture(scope="module")
def small():
    model = ksbp.models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [16], num_steps=10, seed=0, preset="paper")
    images = np.random.default_rng(0).uniform(0, 1, (7, 8, 8, 1)).astype("float32")
    labels = np.array([0, 1, 2, 0, 1, 2, 0])
    return model, images, labels, analysis.run(model, images, labels, batch_size=3, verbose=0)


class Pairs(keras.utils.PyDataset):
    """Batches of 3 of images and labels; `endless`: of no known number."""

    def __init__(self, images, labels, endless=False):
        super().__init__()
        self.images, self.labels, self.endless = images, labels, endless

    @property
    def num_batches(self):
        return None if self.endless else -(-len(self.images) // 3)

    def __getitem__(self, i):
        return self.images[3 * i : 3 * i + 3], self.labels[3 * i : 3 * i + 3]


@pytest.fixture(scope="module")
def tiny():
    """A network, data and labels for what is the same in every network."""
    inputs = keras.Input((4,))
    cell = ksbp.SequentialCell([_lif(6, seed=0), ksbp.ReadoutCell(keras.layers.Dense(3))])
    model = keras.Model(inputs, ksbp.SpikingRNN(cell)(ksbp.PoissonEncoder(5, seed=0)(inputs)))
    return model, np.random.default_rng(0).uniform(0.3, 1, (7, 4)).astype("float32"), np.arange(7) % 3


def test_activity_traces_and_outputs_equal_the_simulation():
    """Of a residual golden network."""
    network, weights, figures = golden("residual")
    rnn, _ = build_rnn(network, weights)
    inputs, spikes = keras.Input(figures["inputs"].shape[1:]), figures["inputs"]
    model, simulation = keras.Model(inputs, rnn(inputs)), Simulation(network, weights, spikes)
    done = analysis.run(model, spikes, batch_size=2, verbose=0)
    rows = {row["layer"]: row for row in analysis.activity(done).rows}
    steps = spikes.shape[1]
    for node in simulation.nodes[:-1]:
        count, row = simulation.spike_count(node["name"]), rows[node["name"]]
        assert row["neurons"] == count[0].size
        assert row["spikes"] == pytest.approx(count.sum() / len(count))
        assert row["firing_rate"] == pytest.approx(count.mean() / steps)
        assert row["silent"] == pytest.approx((count.max(0) == 0).mean())
        assert row["saturated"] == pytest.approx((count > 0.9 * steps).mean())
    assert rows["input"]["spikes"] == pytest.approx(np.abs(spikes).sum() / len(spikes))
    inner = [row for name, row in rows.items() if name not in ("input", "total")]
    assert rows["total"]["spikes"] == pytest.approx(sum(row["spikes"] for row in inner))
    assert rows["total"]["neurons"] == sum(row["neurons"] for row in inner)
    for column in ("silent", "saturated", "firing_rate"):  # means over neurons, not over layers
        of_neurons = sum(row[column] * row["neurons"] for row in inner)
        assert rows["total"][column] == pytest.approx(of_neurons / rows["total"]["neurons"])
    assert len({row["neurons"] for row in inner}) > 1 and any(row["silent"] for row in inner)
    over_time = simulation.membranes["readout"] / np.arange(1, steps + 1)[:, None]
    np.testing.assert_allclose(done.outputs, over_time, rtol=1e-5, atol=2e-5)
    found = traces(model, spikes)
    for node in simulation.nodes:
        np.testing.assert_allclose(found[node["name"]]["membrane"], simulation.membranes[node["name"]], atol=2e-5)
        if "spikes" in found[node["name"]]:
            np.testing.assert_array_equal(found[node["name"]]["spikes"], simulation.spikes[node["name"]])


def test_accuracy_over_time_counts_what_was_spent_until_then(small):
    _, _, labels, done = small
    curve = analysis.accuracy_over_time(done)
    assert [row["steps"] for row in curve.rows] == list(range(1, 11))
    for t in (0, 4, 9):
        row = curve.rows[t]
        assert row["accuracy"] == pytest.approx((done.outputs[:, t].argmax(-1) == labels).mean())
        inner = [spikes for name, spikes in done.spikes.items() if name != "input"]
        assert row["spikes"] == pytest.approx(sum(s[:, : t + 1].sum() for s in inner) / 7)
        assert row["accumulates"] == pytest.approx(sum(o[:, : t + 1].sum() for o in done.operations.values()) / 7)
    assert curve.rows[-1]["accumulates"] == pytest.approx(analysis.operations(done).rows[-1]["accumulates"])


def test_steps_to_reach_an_accuracy_is_the_first_that_holds(small):
    curve = analysis.accuracy_over_time(small[-1])
    for row, accuracy in zip(curve.rows, [0.5, 0.8, 0.7, 0.8, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9], strict=True):
        row["accuracy"] = accuracy
    assert [curve.steps_to_reach(a) for a in (0.5, 0.75, 0.8, 0.9, 0.95)] == [1, 4, 4, 6, None]


def test_early_exit_stops_each_sample_when_it_is_sure(small):
    _, _, labels, done = small
    margins = [0.0, 0.02, 1e9]
    table = analysis.accuracy_over_time(done).early_exit(margins)
    spent = done.so_far()["accumulates"]
    for margin, row in zip(margins, table.rows, strict=True):
        steps, right, operations, spikes = [], [], [], []
        for n in range(7):
            for t in range(10):
                second, first = np.sort(done.outputs[n, t])[-2:]
                if first - second > margin or t == 9:
                    break
            steps.append(t + 1), right.append(done.outputs[n, t].argmax() == labels[n]), operations.append(spent[n, t])
            inner = [counts for name, counts in done.spikes.items() if name != "input"]
            spikes.append(sum(counts[n, : t + 1].sum() for counts in inner))
        assert row["steps"] == pytest.approx(np.mean(steps))
        assert row["accuracy"] == pytest.approx(np.mean(right))
        assert row["accumulates"] == pytest.approx(np.mean(operations))
        assert row["spikes"] == pytest.approx(np.mean(spikes)) and row["margin"] == margin
    assert table.rows[-1]["steps"] == 10
    assert analysis.accuracy_over_time(done).early_exit([np.inf]).rows[0]["steps"] == 10


def test_energy_is_operations_times_costs(small):
    done = small[-1]
    counted = analysis.operations(done)
    costs = analysis.Costs(accumulate=2, mac=3, neuron_update=5, memory_access=7)
    table = analysis.energy(counted, costs=costs)
    for row, of in zip(table.rows, counted.rows[:-1], strict=False):
        assert row["energy_nj"] == pytest.approx(of["accumulates"] * (2 + 3 * 7) / 1000)
        assert row["ann_energy_nj"] == pytest.approx(
            (of["ann_macs"] * (3 + 2 * 7) + of["ann_accumulates"] * (2 + 7)) / 1000
        )
    neurons = (8 * 8 * 4 + 4 * 4 * 4 + 16 + 3) * 10
    assert table.rows[-2]["connection"] == "neurons"
    assert table.rows[-2]["energy_nj"] == pytest.approx(neurons * (5 + 2 * 7) / 1000)
    *parts, total = table.rows
    for column in ("energy_nj", "ann_energy_nj"):
        assert total[column] == pytest.approx(sum(row[column] for row in parts))
    for row in table.rows:
        assert row["ratio"] == pytest.approx(row["ann_energy_nj"] / row["energy_nj"])
    assert analysis.energy(counted, costs=analysis.Costs(0, 3)).rows[-1]["ratio"] is None  # nothing to divide by
    plain = analysis.energy(done).rows[-1]
    assert plain["energy_nj"] == pytest.approx(0.9 * counted.rows[-1]["accumulates"] / 1000)
    assert costs.of(0, 1) == 3 + 3 * 7 and costs.of_ann(0, 1) == 3 + 2 * 7


def always_firing(encoder):
    """Three pixels of 1 for four steps; one neuron fires at each step, one at every other; a readout."""
    cell = ksbp.SequentialCell([
        ksbp.LIFCell(keras.layers.Dense(2, use_bias=False, name="d"), beta=1.0, threshold=1.0, name="hidden"),
        ksbp.ReadoutCell(keras.layers.Dense(1, use_bias=False), name="out"),
    ])  # fmt: skip
    inputs = keras.Input((3,))
    model = keras.Model(inputs, ksbp.SpikingRNN(cell)(encoder(inputs)))
    cell.neurons()[0].synapse.set_weights([np.float32([[0.5, 0.2]] * 3)])  # currents of 1.5 and 0.6
    return model, np.ones((2, 3), "float32")


def test_break_even_by_hand():
    model, images = always_firing(ksbp.PoissonEncoder(4))  # each pixel of 1 is a spike at each step
    costs = analysis.Costs(accumulate=1, mac=20, neuron_update=0.5, memory_access=0.1)
    (row,) = analysis.break_even(model, images, costs, verbose=0).rows
    events = 4 * 3 * 2 + (4 + 2)  # input spikes to two neurons each, theirs to the readout
    event, updates, of_ann = 1 + 3 * 0.1, 3 * 4 * (0.5 + 2 * 0.1), (3 * 2 + 2) * (20 + 2 * 0.1)
    most = (of_ann - updates) / event
    assert row == pytest.approx({
        "energy_nj": (events * event + updates) / 1000, "ann_energy_nj": of_ann / 1000, "accumulates": events,
        "break_even_accumulates": most, "firing_rate": 6 / (2 * 4), "break_even_rate": 6 / (2 * 4) * most / events,
        "saves": True,
    })  # fmt: skip
    (row,) = analysis.break_even(model, images, analysis.Costs(accumulate=6, mac=20), verbose=0).rows
    assert row["break_even_accumulates"] == pytest.approx(8 * 20 / 6) and row["saves"] is False


def test_break_even_of_a_network_whose_first_layer_alone_costs_more_than_the_ann():
    model, images = always_firing(ksbp.ConstantEncoder(4))
    (row,) = analysis.break_even(model, 0.9 * images, verbose=0).rows  # 4 * 6 products against 8
    assert row["accumulates"] == 6 and row["energy_nj"] == pytest.approx((6 * 0.9 + 24 * 4.6) / 1000)
    assert row["break_even_accumulates"] == row["break_even_rate"] == 0.0 and row["saves"] is False


def test_comparison_at_full_length_and_at_equal_accuracy(small):
    _, images, labels, done = small
    ann = _plain()
    other = ksbp.models.spiking_vgg((8, 8, 1), 3, [(4, 3)], [], num_steps=6, seed=1, preset="paper")
    table = analysis.compare({"ANN": ann, "one": done, "other": other}, images, labels, verbose=0)
    full = {row["network"]: row for row in table.rows if row["at"] == "full length"}
    assert full["ANN"]["macs"] == 64 * 3
    assert full["ANN"]["energy_nj"] == pytest.approx(64 * 3 * 4.6 / 1000)
    assert full["ANN"]["accuracy"] == pytest.approx((ann(images).numpy().argmax(-1) == labels).mean())
    assert full["one"]["steps"] == 10 and full["other"]["steps"] == 6
    assert full["one"]["energy_nj"] == pytest.approx(analysis.energy(done).rows[-1]["energy_nj"])
    assert table.target == min(full["one"]["accuracy"], full["other"]["accuracy"])
    equal = {row["network"]: row for row in table.rows if row["at"] == "equal accuracy"}
    for name in ("one", "other"):
        assert equal[name]["steps"] == table.curves[name].steps_to_reach(table.target)
    never = dataclasses.replace(done, labels=(done.outputs[:, -1].argmax(-1) + 1) % 3)  # all wrong at the end
    rows = analysis.compare({"never": never}, accuracy=0.1, verbose=0).rows
    assert [row["at"] for row in rows] == ["full length"]
    batches = tf.data.Dataset.from_tensor_slices((images, keras.utils.to_categorical(labels, 3))).batch(3)
    again = analysis.compare({"ANN": ann}, batches, verbose=0)
    assert again.rows[0]["accuracy"] == pytest.approx(full["ANN"]["accuracy"])


def test_energy_at_equal_accuracy_is_that_of_its_steps(small):
    done = dataclasses.replace(small[-1], labels=small[-1].outputs[:, -1].argmax(-1))  # all right at the end
    costs = analysis.Costs(accumulate=2, mac=3, neuron_update=5, memory_access=7)
    full, equal = analysis.compare({"one": done}, accuracy=0.1, costs=costs).rows
    assert full["steps"] == 10 > equal["steps"]
    for row in (full, equal):
        adds = sum(of[:, : row["steps"]].sum() for of in done.operations.values()) / 7
        expected = adds * (2 + 3 * 7) + done.updates * row["steps"] * (5 + 2 * 7)
        assert row["energy_nj"] == pytest.approx(expected / 1000)


def test_tables_print_and_have_rows_of_equal_columns(small):
    table = analysis.activity(small[-1])
    lines = table.to_markdown().splitlines()
    assert len(lines) == 2 + len(table) and len({len(line) for line in lines}) == 1
    assert lines[0].startswith("| layer ") and "spikes per neuron" in lines[0]
    assert lines[-1].startswith("| total ") and repr(table) == table.to_markdown()
    assert all(row.keys() == table.rows[0].keys() for row in table.rows)
    named = Table([{"network": "T | 4\nsteps", "spikes": 3}]).to_markdown()
    assert named.splitlines()[2:] == [r"| T \| 4 steps |      3 |"]


def _plain(units=3):
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(units)])


def _batches(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(2)


def _model(*layers):
    return keras.Sequential([keras.Input((5, 4)), *layers])


def _cells(*cells, **kwargs):
    return _model(ksbp.SpikingRNN(ksbp.SequentialCell(cells), **kwargs))


def _lif(units=3, **kwargs):
    return ksbp.LIFCell(keras.layers.Dense(units), **kwargs)


def _maxima_of_averages():
    inputs = keras.Input((5, 4, 3))
    pool = ksbp.MaxPoolingCell(keras.layers.MaxPooling1D(2), of="counts", name="largest")
    cells = [_lif(2), keras.layers.AveragePooling1D(2), pool, ksbp.ReadoutCell(keras.layers.Dense(2))]
    return keras.Model(inputs, ksbp.SpikingRNN(ksbp.SequentialCell(cells))(inputs))


def _with_nan(model):
    model = keras.models.clone_model(model)
    model.set_weights([np.full(w.shape, np.nan) if w.dtype == "float32" else w for w in model.get_weights()])
    return model


SERIES = np.ones((2, 5, 4), "float32")
PIXELS = np.ones((1, 5, 4, 3), "float32")


def _one_output(run):
    return dataclasses.replace(run, outputs=run.outputs[..., :1])


@pytest.mark.parametrize(("call", "error", "argument"), [
    (lambda m, x, y, r: analysis.activity(_plain(), x), TypeError, "SpikingRNN"),
    (lambda m, x, y, r: analysis.compare({"a": keras.Model(m.input, m(m.input))}, x, y), ValueError, "'time'"),
    (lambda m, x, y, r: analysis.run(_model(ksbp.SpikingRNN(_lif()), keras.layers.Dense(2)), SERIES),
     ValueError, "must end in its SpikingRNN"),
    (lambda m, x, y, r: analysis.run(_cells(_lif(), go_backwards=True), SERIES), ValueError, "go_backwards"),
    (lambda m, x, y, r: analysis.run(_cells(_lif(name="total")), SERIES), ValueError, "'total'"),
    (lambda m, x, y, r: analysis.run(_cells(_lif(name="twin"), _lif(name="twin")), SERIES), ValueError, "'twin'"),
    (lambda m, x, y, r: analysis.run(_cells(_lif(), keras.layers.Dense(2, name="d")), SERIES), ValueError, "'d'"),
    (lambda m, x, y, r: analysis.run(_with_nan(m), x), ValueError, "finite weights"),
    (lambda m, x, y, r: analysis.run(_maxima_of_averages(), PIXELS), ValueError, "no spikes"),
    (lambda m, x, y, r: analysis.run(m, _batches(x).repeat()), ValueError, "`data`"),
    (lambda m, x, y, r: analysis.run(m, Pairs(x, y, endless=True)), ValueError, "`data`"),
    (lambda m, x, y, r: analysis.run(m, _batches(x).unbatch()), ValueError, "batched"),
    (lambda m, x, y, r: analysis.run(m, x[0]), ValueError, "batch of one"),
    (lambda m, x, y, r: analysis.activity(r, x), ValueError, "`data`"),
    (lambda m, x, y, r: analysis.accuracy_over_time(m, x, y[:6]), ValueError, "`labels`"),
    (lambda m, x, y, r: analysis.run(m, _batches(x, y), y), ValueError, "`labels`"),
    (lambda m, x, y, r: analysis.accuracy_over_time(dataclasses.replace(r, labels=None)), ValueError, "`labels`"),
    (lambda m, x, y, r: analysis.accuracy_over_time(_one_output(r)), ValueError, "one output"),
    (lambda m, x, y, r: analysis.compare({"a": _plain(1)}, x, 0 * y), ValueError, "one output"),
    (lambda m, x, y, r: analysis.compare({"a": r}, accuracy=99), ValueError, "`accuracy`"),
    (lambda m, x, y, r: analysis.accuracy_over_time(r).steps_to_reach(97), ValueError, "`accuracy`"),
])  # fmt: skip
def test_refused(small, call, error, argument):
    with pytest.raises(error, match=argument):
        call(*small)


def test_what_is_no_label_is_refused(tiny):
    model, data, _ = tiny
    ann = ksbp.ann_counterpart(model)
    for bad in (np.full(7, np.nan), np.full(7, 0.5), np.ones((7, 6)), np.full(7, 3), np.eye(9)[[8] * 7]):
        for network in (model, ann):
            with pytest.raises(ValueError, match="`labels` must be class indices"):
                analysis.compare({"a": network}, data, bad, verbose=0)


def test_data_of_every_form_gives_the_same(tiny, monkeypatch):
    """Traced once, though the last batch is smaller; and training goes on with the random numbers it would have had."""
    model, data, labels = tiny
    traced, stream = [], model.layers[1].seed_generator.state
    before, fire = stream.numpy(), ksbp.LIFCell.fire
    with monkeypatch.context() as patch:
        patch.setattr(ksbp.LIFCell, "fire", lambda cell, *args: traced.append(cell) or fire(cell, *args))
        expected = analysis.run(model, data, labels[:, None].astype("float16"), batch_size=3, verbose=0)
    assert expected.samples == 7 and len(traced) == 1 and np.ptp(expected.outputs) > 0
    smoothed = 0.9 * np.eye(3)[labels] + 0.1 / 3
    weighted = tf.data.Dataset.from_tensor_slices((data, smoothed, np.ones(7))).batch(3)
    for found in (expected, *(analysis.run(model, form, verbose=0) for form in (weighted, Pairs(data, labels)))):
        np.testing.assert_array_equal(found.labels, labels)
        np.testing.assert_array_equal(found.outputs, expected.outputs)
    later = tf.data.Dataset.from_generator(
        lambda: iter([(data, np.zeros(7)), (data, np.zeros(6))]),
        output_signature=(tf.TensorSpec((None, 4)), tf.TensorSpec((None,), "int64")),
    )
    with pytest.raises(ValueError, match="`labels`"):
        analysis.run(model, later, verbose=0)
    np.testing.assert_array_equal(stream, before)


def test_our_batches_are_taken(tiny):
    model, data, labels = tiny
    factor = lambda x, seed: x * tf.random.stateless_uniform((), seed)  # noqa: E731
    batches = ksbp.datasets.Batches(data, labels, batch_size=3, transform=factor)
    x, y = (np.concatenate(parts) for parts in zip(*batches.epoch(0), strict=True))
    found, expected = (analysis.run(model, *of, verbose=0) for of in ((batches,), (x, y, 3)))
    assert found.samples == 6
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.outputs, expected.outputs)


def test_max_pooling_is_analysed_by_its_spikes():
    cells = [
        ksbp.MaxPoolingCell(keras.layers.MaxPooling1D(2), of="counts", name="largest"),
        ksbp.LIFCell(keras.layers.Dense(3)),
    ]
    inputs = keras.Input((9, 4, 1))
    model = keras.Model(inputs, ksbp.SpikingRNN(ksbp.SequentialCell(cells))(inputs))
    signed = np.random.default_rng(0).integers(-1, 2, (5, 9, 4, 1)).astype("float32")
    largest = signed[..., 0].cumsum(1).reshape(5, 9, 2, 2).max(-1)
    changes = np.diff(largest, axis=1, prepend=0) != 0  # each is a spike, of either sign
    np.testing.assert_array_equal(analysis.run(model, signed, verbose=0).spikes["largest"], changes.sum(-1))
    np.testing.assert_array_equal(model.layers[-1].observe(signed)[1]["largest"]["spike_count"][..., 0], changes.sum(1))
    with pytest.raises(ValueError, match="'largest' gets an input that is no spikes"):
        analysis.run(model, 0.5 * signed, verbose=0)


@pytest.mark.parametrize(("dtype", "padded"), [("bool", False), ("uint8", True)])
def test_spikes_of_any_dtype(dtype, padded):
    """Keras takes the output of a padding for floats."""
    inputs = keras.Input((6, 4), dtype=dtype)
    sequences = keras.layers.Cropping1D(0)(inputs) if padded else inputs
    layer = ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(5), name="a"))
    model = keras.Model(inputs, layer(sequences))
    spikes = np.random.default_rng(0).integers(0, 2, (3, 6, 4))
    found = analysis.run(model, spikes.astype(dtype), verbose=0)
    assert found.spiking_input
    count = layer.observe(spikes.astype("float32"))[1]["a"]["spike_count"]
    np.testing.assert_array_equal(found.spikes["a"].sum(1), np.sum(count, 1))
    np.testing.assert_array_equal(found.operations["input -> a"], 5 * spikes.sum(-1))


def test_several_inputs_come_in_batches():
    a, b = keras.Input((6, 4), name="a"), keras.Input((6, 4), name="b")
    layer = ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(3)))
    model = keras.Model([a, b], layer(keras.layers.Maximum()([a, b])))
    x, y = np.random.default_rng(0).integers(0, 2, (2, 5, 6, 4)).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices(((x, y), np.arange(5) % 3)).batch(2)
    found = analysis.run(model, dataset, verbose=0)
    np.testing.assert_allclose(found.outputs[:, -1], model([x, y]), rtol=1e-6)
    with pytest.raises(ValueError, match="expects 2"):
        analysis.run(model, x, verbose=0)


def test_spikes_and_accuracy_of_a_network_whose_operations_cannot_be_counted():
    """Two convolutions with nothing between them, as in a MobileNet: synapses without a count."""
    inputs = keras.Input((6, 6, 2))
    cells = [
        ksbp.LIFCell(keras.layers.Conv2D(4, 3, kernel_initializer="ones"), name="first"),
        keras.layers.Conv2D(3, 1, name="narrow"),
        ksbp.LIFCell(keras.layers.Conv2D(4, 1, kernel_initializer="ones"), name="second"),
        keras.layers.Flatten(),
        ksbp.ReadoutCell(keras.layers.Dense(3)),
    ]
    layer = ksbp.SpikingRNN(ksbp.SequentialCell(cells), gradient="bptt")
    model = keras.Model(inputs, layer(ksbp.ConstantEncoder(5)(inputs)))
    images, labels = np.random.default_rng(0).uniform(0, 1, (6, 6, 6, 2)).astype("float32"), np.arange(6) % 3
    done = analysis.run(model, images, labels, verbose=0)
    _, activity = model.layers[-1].observe(model.layers[1](images))
    for row in analysis.activity(done).rows[:2]:
        assert row["spikes"] == pytest.approx(activity[row["layer"]]["spike_count"].numpy().sum() / 6)
    curve = analysis.accuracy_over_time(done)
    right = (model.predict(images, verbose=0).argmax(-1) == labels).mean()
    assert curve.rows[-1]["accuracy"] == pytest.approx(right)
    assert curve.rows[-1]["spikes"] == pytest.approx(analysis.activity(done).rows[-1]["spikes"])
    for row in (curve.rows[-1], curve.early_exit([0.0]).rows[0]):
        assert list(row)[-3:] == ["spikes", "accumulates", "macs"] and row["spikes"] > 0
        assert row["accumulates"] is row["macs"] is None
    curve.plot()
    with pytest.raises(ValueError, match=r"\['narrow', '.*'\] follow each other with no neurons between them"):
        analysis.energy(done)
