"""`calibrate`, the callbacks, `analysis` and `traces` with a mask: as if each series ran alone, cut to its steps."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.rnn.observe import traces
from tests.slow import slow_except

LENGTHS = np.array([7, 12, 3, 9, 0, 5])
MASK = np.arange(12) < LENGTHS[:, None]
SERIES = np.random.default_rng(0).uniform(0.1, 1, (6, 12, 5)).astype("float32")


def cell_of(*layers, **kwargs):
    synapse = keras.Sequential([keras.layers.Dense(20, bias_initializer="ones"), *layers])
    hidden = ksbp.LIFCell(synapse, beta=0.9, threshold=2.0, name="hidden", **kwargs)
    return ksbp.SequentialCell([hidden, ksbp.ReadoutCell(keras.layers.Dense(3, bias_initializer="ones"), name="out")])


def given(cell, **kwargs):
    """The mask is an input."""
    series, exists = keras.Input((None, 5)), keras.Input((None,), dtype="bool")
    layer = ksbp.SpikingRNN(cell, name="time", **kwargs)
    return keras.Model([series, exists], layer(series, mask=exists)), [SERIES, MASK]


def made_by_masking(cell, **kwargs):
    """A layer makes it, whose output another changes; it is not among the inputs that Keras lists."""
    series = keras.Input((None, 5))
    x = ksbp.DeltaEncoder(0.1)(keras.layers.Masking()(series))
    return keras.Model(series, ksbp.SpikingRNN(cell, name="time", **kwargs)(x)), SERIES * MASK[..., None]


def made_by_another_model(cell, **kwargs):
    """Keras does not attach it to the output of that model, except in a run."""
    front = keras.Sequential([keras.Input((None, 5)), keras.layers.Masking(), ksbp.DeltaEncoder(0.1)])
    series = keras.Input((None, 5))
    x = keras.layers.Rescaling(1.0)(front(series))
    return keras.Model(series, ksbp.SpikingRNN(cell, name="time", **kwargs)(x)), SERIES * MASK[..., None]


def made_outside(cell, **kwargs):
    """By a layer before the model that holds the network."""
    inputs = keras.Input((None, 5))
    inner = keras.Model(inputs, ksbp.SpikingRNN(cell, name="time", **kwargs)(inputs), name="inner")
    series = keras.Input((None, 5))
    x = ksbp.DeltaEncoder(0.1)(keras.layers.Masking()(series))
    return keras.Model(series, inner(x)), SERIES * MASK[..., None]


def by_names(cell, **kwargs):
    """Inputs of the inner model that are not in alphabetical order."""
    series, exists = keras.Input((None, 5), name="series"), keras.Input((None,), dtype="bool", name="exists")
    layer = ksbp.SpikingRNN(cell, name="time", **kwargs)
    inner = keras.Model({"series": series, "exists": exists}, layer(series, mask=exists))
    inputs = [keras.Input((None, 5)), keras.Input((None,), dtype="bool")]
    return keras.Model(inputs, inner({"series": inputs[0], "exists": inputs[1]})), [SERIES, MASK]


FORMS = [given, made_by_masking, made_by_another_model, made_outside, by_names]
FEW = pytest.mark.parametrize("made", slow_except(FORMS, given))  # see test_traces for the others
pytestmark = pytest.mark.filterwarnings("ignore:Layer 'inner' .* does not support masking", "ignore:The structure of")


def seen(inputs):
    """The sequences that the network gets."""
    return ksbp.DeltaEncoder(0.1)(inputs) if isinstance(inputs, np.ndarray) else next(x for x in inputs if x.ndim == 3)


def alone(model, inputs):
    """Outputs and spike counts of each series, cut to its steps, by a layer that knows no mask."""
    layer = next(layer for layer in model._flatten_layers() if isinstance(layer, ksbp.SpikingRNN))
    found = [
        layer.observe(seen(inputs)[i : i + 1, :length], layer.get_initial_state(1))
        for i, length in enumerate(LENGTHS)
        if length
    ]
    outputs = np.concatenate([output for output, _ in found])
    return outputs, np.concatenate([activity["hidden"]["spike_count"] for _, activity in found])


@FEW
def test_calibrated_rates_are_those_of_the_steps_that_exist(made):
    model, inputs = made(cell_of())
    (done,) = ksbp.calibrate(model, inputs, 0.2, output_std=0.7, tolerance=0.1)
    outputs, counts = alone(model, inputs)
    assert done.rate == pytest.approx(counts.sum() / (20 * LENGTHS.sum())) == pytest.approx(0.2, rel=0.1)
    with_the_empty_one = np.concatenate([outputs, np.zeros((1, 3), "float32")])
    assert with_the_empty_one.std() == pytest.approx(0.7, rel=1e-3)


@FEW
def test_statistics_are_those_of_the_layer_with_the_mask(made):
    model, inputs = made(cell_of(keras.layers.BatchNormalization()))
    before = [weight.numpy() for weight in model.trainable_weights]
    ksbp.training.update_statistics(model, inputs)
    for now, then in zip(model.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(now, then)
    parts = model._flatten_layers()
    synapse = next(part for part in parts if isinstance(part, ksbp.SpikingRNN)).cell.cells[0].synapse
    series = tf.cast(seen(inputs), tf.float32).numpy() * MASK[..., None]
    kernel, bias = synapse.layers[0].get_weights()
    means = series.sum(1) / np.maximum(LENGTHS, 1)[:, None]  # of each series; the empty one counts as a step of zeros
    expected = (means @ kernel + bias).mean(0)
    np.testing.assert_allclose(synapse.layers[1].moving_mean, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("made", "backwards"),
    slow_except(itertools.product(FORMS, (False, True)), (given, True), *((form, False) for form in FORMS[1:])),
)
def test_traces(made, backwards, tmp_path):
    """Of the model, and of the same one that was saved."""
    model, inputs = made(cell_of(), go_backwards=backwards)
    found = traces(model, inputs)
    model.save(tmp_path / "model.keras")
    loaded = traces(keras.models.load_model(tmp_path / "model.keras"), inputs)
    np.testing.assert_array_equal(loaded["out"]["membrane"], found["out"]["membrane"])
    outputs = model(inputs).numpy()
    last = found["out"]["membrane"][:, -1] / np.maximum(LENGTHS, 1)[:, None]
    np.testing.assert_allclose(last, outputs, rtol=1e-5, atol=1e-6)
    exists = MASK[:, ::-1] if backwards else MASK
    spikes, membrane = found["hidden"]["spikes"], found["hidden"]["membrane"]
    assert spikes.any() and not spikes[~exists].any()
    stays = np.concatenate([np.zeros((6, 1, 20), "float32"), membrane[:, :-1]], axis=1)
    np.testing.assert_array_equal(membrane[~exists], stays[~exists])


@FEW
def test_health(made):
    model, inputs = made(cell_of())
    model.compile("sgd", "mse")
    health = ksbp.callbacks.Health(inputs)
    health.set_model(model)
    health.on_train_begin()
    _, counts = alone(model, inputs)
    assert health.firing_rates == {"hidden": pytest.approx(counts.sum() / (20 * LENGTHS.sum()))}


@pytest.mark.parametrize("made", slow_except([given, made_by_masking, made_by_another_model], given))
def test_analysis_follows_it(made):
    model, inputs = made(cell_of())
    batches = tf.data.Dataset.from_tensors((tuple(inputs) if isinstance(inputs, list) else inputs, np.arange(6) % 3))
    done = ksbp.analysis.run(model, batches.unbatch().batch(4), verbose=0)
    np.testing.assert_allclose(done.outputs[:, -1], model(inputs), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(done.spikes["hidden"].sum(1)[LENGTHS > 0], alone(model, inputs)[1].sum(1))
    assert done.steps[:, -1].tolist() == LENGTHS.tolist()


def test_a_network_is_found_once_behind_many_paths():
    """2 ** 60 of them: each tensor is looked at once."""
    x = series = keras.Input((12, 5))
    for _ in range(60):
        x = keras.layers.Add()([x, keras.layers.Activation("tanh")(x)])
    model = keras.Model(series, ksbp.SpikingRNN(cell_of())(x))
    assert ksbp.analysis.run(model, SERIES, verbose=0).outputs.shape == (6, 12, 3)


def calibrated(mask):
    model, (series, _) = given(cell_of())
    ksbp.calibrate(model, [series, mask], 0.1)


def given_to_an_inner_model():
    series, exists = keras.Input((None, 5)), keras.Input((None,), dtype="bool")
    inner = keras.Model(series, ksbp.SpikingRNN(cell_of())(series), name="inner")
    ksbp.calibrate(keras.Model([series, exists], inner(series, mask=exists)), [SERIES, MASK], 0.1)


@pytest.mark.parametrize(("call", "argument"), [
    (lambda: calibrated(np.zeros_like(MASK)), "inputs"),
    (given_to_an_inner_model, "'inner'"),
    *((lambda made=made: ksbp.export.export_saved_model(made(cell_of())[0], "to"), "mask|layer") for made in FORMS),
])  # fmt: skip
def test_refused(call, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=argument):
        call()
    assert not list(tmp_path.iterdir())
