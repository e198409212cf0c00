"""The cells by themselves: arguments, shapes, precision, dropout."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from tests.slow import slow


def dense(units=3, **kwargs):
    return keras.layers.Dense(units, use_bias=False, **kwargs)


def run(cell, x, **kwargs):
    return ksbp.SpikingRNN(cell, return_sequences=True)(np.asarray(x, "float32"), **kwargs).numpy()


def identity_cell(cell_class, **kwargs):
    return cell_class(dense(1, kernel_initializer="ones"), **kwargs)


def test_a_membrane_potential_by_hand():
    """0.6 + 0.6 fires; reset to zero; leak 0.5; exactly at the threshold it does not fire."""
    x = np.array([0.6, 0.8, 1.0, 0.5, 0.1]).reshape(1, 5, 1)
    # potential before firing: 0.6, 1.1 (fires), 1.0 (no), 1.0 (no), 0.6
    np.testing.assert_array_equal(run(identity_cell(ksbp.LIFCell, beta=0.5), x).ravel(), [0, 1, 0, 0, 0])
    # subtract: 0.6, 1.1 (fires, 0.05 left), 1.05 (fires, 0.025 left), 0.525, 0.3625
    cell = identity_cell(ksbp.LIFCell, beta=0.5, reset_mechanism="subtract")
    np.testing.assert_array_equal(run(cell, x).ravel(), [0, 1, 1, 0, 0])


def test_the_pooling_neuron_does_not_leak():
    x = np.full((1, 4, 1), 0.25)
    np.testing.assert_array_equal(run(identity_cell(ksbp.PoolingCell), x).ravel(), [0, 0, 0, 1])


def test_the_readout_never_fires():
    x = np.full((1, 3, 1), 2.0)
    expected = np.array([1.0, 1.5, 1.75]) / [1, 2, 3]
    np.testing.assert_allclose(run(identity_cell(ksbp.ReadoutCell, beta=0.5), x).ravel(), expected, rtol=1e-6)


def test_beta_from_tau():
    assert ksbp.beta_from_tau(100.0) == pytest.approx(np.exp(-0.01))
    with pytest.raises(ValueError, match="`tau` must be a number above 0"):
        ksbp.beta_from_tau(0)


def test_dropout_is_one_mask_a_sample_held_over_time():
    cell = ksbp.LIFCell(dense(400, kernel_initializer="ones"), dropout=0.25, seed=1)
    x = np.ones((2, 5, 3))
    trains = run(cell, x, training=True)
    assert set(np.unique(trains)) == {0, np.float32(1 / 0.75)}
    np.testing.assert_array_equal(trains, np.repeat(trains[:, :1], 5, axis=1))
    assert (trains[0] != trains[1]).any()
    assert (trains == 0).mean() == pytest.approx(0.25, abs=0.06)
    assert (run(cell, x, training=True) != trains).any()  # a new mask each call
    assert (run(cell, x, training=False) == 1).all()


def test_dropout_of_feature_maps_is_of_single_neurons():
    cell = ksbp.LIFCell(keras.layers.Conv2D(8, 3), dropout=0.5, seed=0)
    cell.build((None, 22, 22, 1))
    dropped = np.asarray(cell.draw_keep(4)) == 0
    assert dropped.shape == (4, 20, 20, 8)
    assert dropped.mean() == pytest.approx(0.5, abs=0.02)
    for axis in range(4):
        first, second = (np.delete(dropped, at, axis).ravel() for at in (-1, 0))
        assert np.corrcoef(first, second)[0, 1] == pytest.approx(0, abs=0.04), axis


def test_dropout_state_is_saved(tmp_path):
    cell = ksbp.LIFCell(dense(50, kernel_initializer="ones"), dropout=0.5)
    model = keras.Sequential([keras.Input((5, 3)), ksbp.SpikingRNN(cell)])
    model(np.ones((2, 5, 3), "float32"), training=True)
    model.save(tmp_path / "m.keras")
    expected = model(np.ones((2, 5, 3), "float32"), training=True)
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(np.ones((2, 5, 3), "float32"), training=True), expected)


def test_low_precision_stays_in_the_synapse():
    """bfloat16 synapses: float32 potentials, the steady state is right (a bfloat16 potential misses it by a third)."""
    cell = ksbp.ReadoutCell(dense(1, kernel_initializer="ones", dtype="mixed_bfloat16"), beta=0.99)
    outputs = run(cell, np.full((1, 800, 1), 2**-8))
    steady = 0.99 / (1 - 0.99) * 2**-8
    assert outputs[0, -1, 0] * 800 == pytest.approx(steady, rel=1e-3)
    keras.config.set_dtype_policy("mixed_bfloat16")
    cell = ksbp.LIFCell(dense())
    assert cell.compute_dtype == "float32" and cell.synapse.compute_dtype == "bfloat16"
    assert ksbp.SpikingRNN(cell)(np.ones((1, 3, 2), "float32")).dtype == tf.float32


def test_a_residual_cell_by_hand():
    """Identity shortcut: the junction sees body and input."""
    body = identity_cell(ksbp.LIFCell, beta=1.0)
    junction = identity_cell(ksbp.LIFCell, beta=1.0, threshold=1.5)
    x = np.array([1.0, 1.0, 0.0]).reshape(1, 3, 1)
    # body: 1.0 no, 2.0 fires, 0 no; junction: 1.0 no, 1.0 + 1 + 1 fires, 0 no
    np.testing.assert_array_equal(run(ksbp.ResidualCell(body, junction), x).ravel(), [0, 1, 0])


def test_a_residual_cell_with_a_body_of_several_cells():
    body = ksbp.SequentialCell([ksbp.LIFCell(dense(5)), ksbp.LIFCell(dense(6))])
    cell = ksbp.ResidualCell(body, ksbp.LIFCell(dense(4)), dense(4))
    assert run(cell, np.ones((2, 3, 7))).shape == (2, 3, 4)
    assert len(cell.neurons()) == 3


@pytest.mark.parametrize("cell_class", [ksbp.LIFCell, ksbp.ReadoutCell])
@pytest.mark.parametrize("beta", [0, -0.1, 1.5, float("nan"), "0.9", None, True])
def test_bad_beta(cell_class, beta):
    with pytest.raises(ValueError, match=r"`beta` must be a number with 0 < beta <= 1.*beta="):
        cell_class(dense(), beta=beta)


@pytest.mark.parametrize("cell_class", [ksbp.LIFCell, ksbp.PoolingCell])
@pytest.mark.parametrize("threshold", [0, -1.0, float("inf"), "1", 1e-39, 1e39, [1.0, 1e-39]])
def test_bad_threshold(cell_class, threshold):
    with pytest.raises(ValueError, match="`threshold` must be a number from.*threshold="):
        cell_class(dense(), threshold=threshold)


@pytest.mark.parametrize("cell_class", [ksbp.LIFCell, ksbp.PoolingCell])
def test_bad_reset(cell_class):
    with pytest.raises(ValueError, match=r"`reset_mechanism` must be one of \['zero', 'subtract'\].*'none'"):
        cell_class(dense(), reset_mechanism="none")


@pytest.mark.parametrize("dropout", [-0.1, 1.0, "0.5"])
def test_bad_dropout(dropout):
    with pytest.raises(ValueError, match=r"`dropout` must be a number with 0 <= dropout < 1.*dropout="):
        ksbp.LIFCell(dense(), dropout=dropout)


@pytest.mark.parametrize("cell_class", [ksbp.LIFCell, ksbp.PoolingCell, ksbp.ReadoutCell])
@pytest.mark.parametrize("synapse", [None, 3, "dense", keras.layers.Dense, np.ones((2, 2))])
def test_a_synapse_that_is_no_layer(cell_class, synapse):
    with pytest.raises(TypeError, match=r"(?s)`synapse` must be an instance of keras.layers.Layer.*synapse="):
        cell_class(synapse)


def test_neurons_in_a_synapse_are_refused():
    inner = ksbp.LIFCell(dense(), name="inner")
    for make in (
        lambda: ksbp.ReadoutCell(inner),
        lambda: ksbp.LIFCell(keras.Sequential([dense(2), inner])),
        lambda: ksbp.ResidualCell(ksbp.LIFCell(dense()), ksbp.LIFCell(dense()), inner),
        lambda: ksbp.RecurrentCell(ksbp.LIFCell(dense()), inner),
        lambda: ksbp.SequentialCell([ksbp.SpikingRNN(inner), ksbp.ReadoutCell(dense())]),
    ):
        with pytest.raises(TypeError, match="must be a layer without neurons: .* SequentialCell.*neurons in 'inner'"):
            make()


def test_a_synapse_that_was_built_for_other_inputs_is_named():
    built = dense(name="built")
    built.build((None, 8))
    for synapse in (built, keras.Sequential([built])):
        with pytest.raises(ValueError, match=r"'built' was built for inputs of the size 8 in the axis -1.*'batch', 9"):
            ksbp.SpikingRNN(ksbp.LIFCell(synapse))(np.ones((2, 5, 9), "float32"))


def test_a_cell_in_low_precision_is_refused():
    with pytest.raises(ValueError, match=r"`dtype` of a cell must be 'float32'.*synapse"):
        ksbp.LIFCell(dense(), dtype="bfloat16")


def test_a_layer_in_low_precision_is_refused():
    with pytest.raises(ValueError, match=r"`dtype` of SpikingRNN must be 'float32'.*synapse"):
        ksbp.SpikingRNN(ksbp.LIFCell(dense()), dtype="mixed_bfloat16")


def test_a_stateful_layer_refuses_another_batch_size():
    layer = ksbp.SpikingRNN(ksbp.LIFCell(dense()), stateful=True)
    layer(np.ones((2, 3, 4), "float32"))
    with pytest.raises(ValueError, match=r"`initial_state\[0\]`.*must have the shape \(5, 3\).*\(2, 3\)"):
        layer(np.ones((5, 3, 4), "float32"))


def test_weights_with_dropout_load_into_a_network_without(tmp_path):
    models = []
    for dropout in (0.5, 0.0):
        cell = ksbp.LIFCell(dense(4), dropout=dropout)
        models.append(keras.Sequential([keras.Input((5, 3)), ksbp.SpikingRNN(cell)]))
    models[0].save_weights(tmp_path / "m.weights.h5")
    models[1].load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(models[1].get_weights()[0], models[0].get_weights()[0])


def test_bad_sequences_of_cells():
    with pytest.raises(TypeError, match="`cells` must be a list"):
        ksbp.SequentialCell(ksbp.LIFCell(dense()))
    with pytest.raises(TypeError, match=r"`cells\[1\]` must be an instance of keras.layers.Layer"):
        ksbp.SequentialCell([ksbp.LIFCell(dense()), "flatten"])
    with pytest.raises(ValueError, match="at least one spiking cell"):
        ksbp.SequentialCell([keras.layers.Flatten()])
    with pytest.raises(ValueError, match="must not end in layers behind a readout"):
        ksbp.SequentialCell([ksbp.ReadoutCell(dense()), keras.layers.Flatten()])


def test_bad_residual_cells():
    lif = lambda: ksbp.LIFCell(dense())  # noqa: E731
    with pytest.raises(TypeError, match="`body` must be a cell"):
        ksbp.ResidualCell(dense(), lif())
    with pytest.raises(TypeError, match="`junction` must be a LIFCell"):
        ksbp.ResidualCell(lif(), ksbp.ReadoutCell(dense()))
    with pytest.raises(ValueError, match="`body` must give spikes"):
        ksbp.ResidualCell(ksbp.ReadoutCell(dense()), lif())
    with pytest.raises(TypeError, match="`shortcut` must be an instance"):
        ksbp.ResidualCell(lif(), lif(), "identity")
    with pytest.raises(ValueError, match=r"from its input.*\(3,\).*\(7,\)"):
        run(ksbp.ResidualCell(lif(), lif()), np.ones((1, 2, 7)))


def test_a_layer_between_cells_takes_any_dtype():
    """int8 spikes of an encoder, booleans: as if they were float32."""
    spikes = np.random.default_rng(0).integers(-1, 2, (2, 5, 8, 8, 2))
    for layer in (
        keras.layers.AveragePooling2D(2),
        keras.layers.Conv2D(3, 3),
        keras.layers.Conv2D(3, 3, dtype="mixed_bfloat16"),
        keras.layers.Flatten(),
    ):
        cell = ksbp.SequentialCell([layer, keras.layers.Flatten(), ksbp.ReadoutCell(dense(4))])
        rnn = ksbp.SpikingRNN(cell)
        expected = rnn(spikes.astype("float32")).numpy()
        np.testing.assert_array_equal(rnn(spikes.astype("int8")), expected)
        np.testing.assert_array_equal(rnn(spikes > 0), rnn((spikes > 0).astype("float32")))
        assert np.abs(expected).max() > 0


class AddsALoss(keras.layers.Dense):
    is_affine = True

    def call(self, inputs, training=None):
        self.add_loss(tf.reduce_mean(inputs))
        return super().call(inputs)


@pytest.mark.parametrize("make_rnn", [ksbp.SpikingRNN, lambda c: ksbp.SpikingRNN(c, "bptt"), keras.layers.RNN])
def test_a_loss_added_at_each_step_is_refused(make_rnn):
    for make_cell in (
        lambda: ksbp.ReadoutCell(AddsALoss(3, name="adds", dtype="mixed_bfloat16")),
        lambda: ksbp.ReadoutCell(AddsALoss(3, name="adds")),
        lambda: ksbp.LIFCell(keras.Sequential([keras.layers.Flatten(), AddsALoss(3, name="adds")])),
        lambda: ksbp.SequentialCell([AddsALoss(3, name="adds"), ksbp.LIFCell(dense())]),
    ):
        with pytest.raises(ValueError, match=r"'adds' \(AddsALoss\) must not call `add_loss`.*activity_regularizer"):
            model = keras.Sequential([keras.Input((5, 4)), make_rnn(make_cell())])
            model.compile("sgd", "mse")
            model.fit(np.ones((2, 5, 4)), np.ones((2, 3)), verbose=0)


def test_a_cell_with_a_penalty_is_evaluated_in_plain_rnn_without_it():
    """The penalty is one on rates, in training; in the loop Keras would add one on each step's outputs and states."""
    cell = ksbp.LIFCell(dense(3, kernel_initializer="ones"), activity_regularizer="l2")
    x, y = np.full((4, 5, 2), 0.6), np.ones((4, 3))
    model = keras.Sequential([keras.Input((5, 2)), keras.layers.RNN(cell)])
    model.compile("sgd", "mse")
    assert model.evaluate(x, y, verbose=0) == pytest.approx(np.mean((model.predict(x, verbose=0) - y) ** 2))
    keras.layers.RNN(cell)(x)
    assert cell.losses == []
    spiking = keras.Sequential([keras.Input((5, 2)), ksbp.SpikingRNN(cell)])
    spiking(x, training=True)
    assert len(spiking.losses) == 1  # where it belongs it still acts


def test_a_penalty_of_a_layer_between_cells_is_refused():
    layer = keras.layers.ActivityRegularization(l1=0.1)
    with pytest.raises(ValueError, match=r"`cells\[1\]` must have no `activity_regularizer`"):
        ksbp.SequentialCell([ksbp.LIFCell(dense()), layer, ksbp.ReadoutCell(dense())])


def test_unknown_shapes_are_refused():
    with pytest.raises(ValueError, match=r"(?s)must be known in every dimension.*None"):
        ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Conv2D(2, 3)))(keras.Input((5, None, None, 1)))


@pytest.mark.parametrize("taken", [None, 3, [["input"]], [None]])
def test_bad_sources_of_a_graph(taken):
    with pytest.raises(TypeError, match=r"`nodes\[0\]` must take names of layers, or 'input'. Received: 'a' with"):
        ksbp.GraphCell([(ksbp.LIFCell(dense(), name="a"), taken)])


def test_a_graph_joins_values_of_one_rank():
    nodes = [
        (keras.layers.Flatten(name="flat"), "input"),
        (keras.layers.Add(name="sum"), ["input", "flat"]),
        (ksbp.LIFCell(keras.layers.Identity()), "sum"),
    ]
    with pytest.raises(ValueError, match=r"'sum' must join outputs of as many dimensions.*\(4, 4\), \(16,\)"):
        ksbp.SpikingRNN(ksbp.GraphCell(nodes))(np.ones((16, 3, 4, 4), "float32"))


def test_bad_rnn_arguments():
    with pytest.raises(ValueError, match=r"`gradient` must be one of \['accumulated', 'bptt'\].*'surrogate'"):
        ksbp.SpikingRNN(ksbp.LIFCell(dense()), gradient="surrogate")
    with pytest.raises(TypeError, match=r"(?s)`cell` must be a cell of keras_spiking_bp.*GRUCell"):
        ksbp.SpikingRNN(keras.layers.GRUCell(3))
    with pytest.raises(ValueError, match=r"(?s)`sequences` must have the shape \(batch, time steps, ...\).*encoder"):
        ksbp.SpikingRNN(ksbp.LIFCell(dense()))(np.ones((2, 3), "float32"))
    images = np.ones((2, 8, 8, 1), "float32")
    for synapse in (keras.layers.Conv2D(2, 3), keras.Sequential([keras.layers.Conv2D(2, 3), keras.layers.ReLU()])):
        with pytest.raises(ValueError, match=r"needs inputs of 4 dim.* time step of the shape \('batch', 8, 1\).*enco"):
            ksbp.SpikingRNN(ksbp.LIFCell(synapse))(images)
    for several in ([images, images], {"a": images}):
        with pytest.raises(ValueError, match=r"`sequences` must be one tensor.*Received: several"):
            ksbp.SpikingRNN(ksbp.LIFCell(dense()))(several)
    rates = ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Conv2D(2, 3)), name="first")(keras.Input((3, 8, 8, 1)))
    with pytest.raises(ValueError, match="`sequences` must have time steps.*output of 'first'.*return_sequences=True"):
        ksbp.SpikingRNN(ksbp.LIFCell(dense()))(rates)  # its rows are no steps
    for mask in (np.ones((2, 4), bool), np.ones((2, 3, 1), bool), np.ones(3, bool)):
        with pytest.raises(ValueError, match=r"`mask` must have the shape.*\(2, 3\).*Received"):
            ksbp.SpikingRNN(ksbp.LIFCell(dense()))(np.ones((2, 3, 5), "float32"), mask=mask)


def test_bounded_is_the_derivative_of_a_count():
    cell = ksbp.LIFCell(dense(), surrogate="bounded", name="n")
    with pytest.raises(ValueError, match="`gradient` must be 'accumulated' for surrogate='bounded', of 'n'"):
        ksbp.SpikingRNN(cell, gradient="bptt")


def test_a_cell_without_states_is_told_to_be_run():
    cell = ksbp.LIFCell(keras.layers.Dense(3))
    message = r"one time step from inputs and states.*SpikingRNN\(cell\)\(inputs\)"
    for inputs in (np.ones((2, 4), "float32"), keras.Input((4,))):
        with pytest.raises(ValueError, match=message):
            cell(inputs)
    with pytest.raises(ValueError, match=message):
        keras.Sequential([keras.Input((4,)), ksbp.PoissonEncoder(5), cell])


def test_an_unbuilt_cell_has_no_states():
    cell = ksbp.SequentialCell([ksbp.LIFCell(keras.layers.Dense(3)), ksbp.ReadoutCell(keras.layers.Dense(2))])
    for wants_shapes in (cell.get_initial_state, lambda batch_size: cell.compute_output_shape((batch_size, 4))):
        with pytest.raises(ValueError, match=r"must be built first.* build\(\(None, ...\)\).*Received: no shape"):
            wants_shapes(2)
    cell.build((None, 4))
    outputs, states = cell(np.ones((2, 4), "float32"), cell.get_initial_state(2))
    assert outputs.shape == (2, 2) and [state.shape for state in states] == [(2, 3), (2, 2)]


class Scaled(keras.layers.Layer):
    """Has `build` and `call` only."""

    is_affine = True

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1], 4), name="scale", initializer="ones")

    def call(self, inputs):
        return inputs @ self.scale


class Composed(keras.layers.Layer):
    """Has layers, and `call` only."""

    is_affine = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = keras.layers.Dense(6, name="first"), keras.layers.Dense(4, name="second")

    def call(self, inputs):
        return self.second(self.first(inputs))


class AsModel(keras.Model):
    """A subclassed model."""

    is_affine = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(4)

    def call(self, inputs):
        return self.dense(inputs)


@pytest.mark.parametrize("place", [
    ksbp.LIFCell,
    slow(lambda layer: ksbp.SequentialCell([layer, ksbp.LIFCell(keras.layers.Dense(4))])),
    slow(lambda layer: ksbp.GraphCell([(layer, "input"), (ksbp.LIFCell(keras.layers.Identity()), layer.name)])),
])  # fmt: skip
@pytest.mark.parametrize(("kind", "weights", "gradient"), [
    (Scaled, 5 * 4, "accumulated"), (Composed, 5 * 6 + 6 + 6 * 4 + 4, "bptt"), (AsModel, 5 * 4 + 4, "accumulated"),
    slow((Scaled, 5 * 4, "bptt")), slow((Composed, 5 * 6 + 6 + 6 * 4 + 4, "accumulated")),
    slow((AsModel, 5 * 4 + 4, "bptt")),
])  # fmt: skip
def test_layers_of_the_users_are_built_as_in_a_model(kind, weights, gradient, place):
    inputs = keras.Input((7, 5))
    layer = kind(name="own")
    model = keras.Model(inputs, ksbp.SpikingRNN(place(layer), gradient=gradient)(inputs))
    assert layer.count_params() == weights
    before = model.count_params()
    ksbp.summary(model, print_fn=lambda line: None)
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 7, 5), "float32"), np.ones((4, 4)), verbose=0)
    assert model.count_params() == before and model.predict(np.ones((2, 7, 5)), verbose=0).shape == (2, 4)


def test_each_chunk_of_a_stateful_layer_has_a_dropout_mask_of_its_own():
    cell = ksbp.LIFCell(keras.layers.Dense(50, use_bias=False, kernel_initializer="ones"), dropout=0.5, seed=0)
    layer = ksbp.SpikingRNN(cell, return_sequences=True, stateful=True)
    one, two = (layer(np.ones((2, 6, 3), "float32"), training=True).numpy() for _ in range(2))
    for chunk in (one, two):
        np.testing.assert_array_equal(chunk, np.repeat(chunk[:, :1], 6, axis=1))
    assert (one[:, 0] != two[:, 0]).any()
