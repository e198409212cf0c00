"""The cells by themselves: arguments, shapes, precision, dropout."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp


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


def test_dropout_is_one_mask_a_sample_held_over_time():
    """Over one chunk of a stateful layer: the next has a mask of its own."""
    cell = ksbp.LIFCell(dense(400, kernel_initializer="ones"), dropout=0.25, seed=1)
    layer, x = ksbp.SpikingRNN(cell, return_sequences=True, stateful=True), np.ones((2, 5, 3), "float32")
    first, second = (layer(x, training=True).numpy() for _ in range(2))
    for trains in (first, second):
        assert set(np.unique(trains)) == {0, np.float32(1 / 0.75)}
        np.testing.assert_array_equal(trains, np.repeat(trains[:, :1], 5, axis=1))
        assert (trains[0] != trains[1]).any()
        assert (trains == 0).mean() == pytest.approx(0.25, abs=0.06)
    assert (first[:, 0] != second[:, 0]).any()
    assert (layer(x, training=False).numpy() == 1).all()


def test_dropout_of_feature_maps_is_of_single_neurons():
    cell = ksbp.LIFCell(keras.layers.Conv2D(8, 3), dropout=0.5, seed=0)
    cell.build((None, 22, 22, 1))
    dropped = np.asarray(cell.draw_keep(4)) == 0
    assert dropped.shape == (4, 20, 20, 8)
    assert dropped.mean() == pytest.approx(0.5, abs=0.02)
    for axis in range(4):
        first, second = (np.delete(dropped, at, axis).ravel() for at in (-1, 0))
        assert np.corrcoef(first, second)[0, 1] == pytest.approx(0, abs=0.04), axis


def test_low_precision_stays_in_the_synapse():
    """bfloat16 synapses, float32 potentials: of a constant current, the sum of a geometric series."""
    cell = ksbp.ReadoutCell(dense(1, kernel_initializer="ones", dtype="mixed_bfloat16"), beta=0.99)
    outputs = run(cell, np.full((1, 200, 1), 2**-8))
    assert outputs[0, -1, 0] * 200 == pytest.approx(0.99 * (1 - 0.99**200) / (1 - 0.99) * 2**-8, rel=1e-4)


def test_weights_with_dropout_load_into_a_network_without(tmp_path):
    models = []
    for dropout in (0.5, 0.0):
        cell = ksbp.LIFCell(dense(4), dropout=dropout)
        models.append(keras.Sequential([keras.Input((5, 3)), ksbp.SpikingRNN(cell)]))
    models[0].save_weights(tmp_path / "m.weights.h5")
    models[1].load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(models[1].get_weights()[0], models[0].get_weights()[0])


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


class Composed(keras.layers.Layer):
    """Has layers, and `call` only."""

    is_affine = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = keras.layers.Dense(6, name="first"), keras.layers.Dense(4, name="second")

    def call(self, inputs):
        return self.second(self.first(inputs))


def test_layers_of_the_users_are_built_as_in_a_model():
    inputs, layer = keras.Input((7, 5)), Composed(name="own")
    model = keras.Model(inputs, ksbp.SpikingRNN(ksbp.LIFCell(layer))(inputs))
    assert layer.count_params() == model.count_params() == 5 * 6 + 6 + 6 * 4 + 4


# --- what would be wrong in silence, and first mistakes ---------------------------------------------------------------


class AddsALoss(keras.layers.Dense):
    is_affine = True

    def call(self, inputs, training=None):
        self.add_loss(tf.reduce_mean(inputs))
        return super().call(inputs)


def lif(**kwargs):
    return ksbp.LIFCell(dense(name="dense"), name="n", **kwargs)


def readout():
    return ksbp.ReadoutCell(dense())


def built(synapse, shape=(None, 8)):
    synapse.build(shape)
    return synapse


def fitted(layer):
    model = keras.Sequential([keras.Input((5, 4)), layer])
    model.compile("sgd", "mse")
    model.fit(X, np.ones((2, 3)), verbose=0)


def stateful(*batches):
    layer = ksbp.SpikingRNN(lif(), stateful=True)
    for batch in batches:
        layer(batch)


def other_ranks():
    nodes = [(keras.layers.Flatten(name="flat"), "input"), (keras.layers.Add(name="sum"), ["input", "flat"])]
    return ksbp.GraphCell([*nodes, (ksbp.LIFCell(keras.layers.Identity()), "sum")])


def rates():
    return ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Conv2D(2, 3)), name="first")(keras.Input((3, 8, 8, 1)))


X, IMAGES = np.ones((2, 5, 4), "float32"), np.ones((2, 8, 8, 1), "float32")
PENALTY = keras.layers.ActivityRegularization(l1=0.1)
REFUSED = [
    *((lambda b=b: ksbp.LIFCell(dense(), beta=b), ValueError, "beta") for b in (0, 1.5, np.nan, "0.9", None, True)),
    *((lambda t=t: lif(threshold=t), ValueError, "threshold") for t in (0, np.inf, "1", 1e-39, [1.0, 1e-39])),
    (lambda: ksbp.ReadoutCell(dense(), beta=0), ValueError, "beta"),
    (lambda: ksbp.PoolingCell(dense(), threshold=0), ValueError, "threshold"),
    (lambda: ksbp.beta_from_tau(0), ValueError, "tau"),
    (lambda: lif(reset_mechanism="none"), ValueError, "reset_mechanism"),
    (lambda: lif(dropout=1.0), ValueError, "dropout"),
    (lambda: lif(dtype="bfloat16"), ValueError, "dtype"),
    (lambda: ksbp.SpikingRNN(lif(), dtype="mixed_bfloat16"), ValueError, "dtype"),
    (lambda: ksbp.LIFCell("dense"), TypeError, "synapse"),
    (lambda: ksbp.ReadoutCell(lif()), TypeError, "'n'"),
    (lambda: ksbp.LIFCell(keras.Sequential([dense(2), lif()])), TypeError, "'n'"),
    (lambda: ksbp.ResidualCell(lif(), lif(), lif()), TypeError, "'n'"),
    (lambda: ksbp.RecurrentCell(lif(), lif()), TypeError, "'n'"),
    (lambda: ksbp.SequentialCell([ksbp.SpikingRNN(lif()), readout()]), TypeError, "'n'"),
    (lambda: ksbp.SpikingRNN(ksbp.LIFCell(built(dense(name="built"))))(X), ValueError, "built"),
    (lambda: ksbp.SequentialCell([lif(), "flatten"]), TypeError, "cells"),
    (lambda: ksbp.SequentialCell([keras.layers.Flatten()]), ValueError, "cell"),
    (lambda: ksbp.SequentialCell([readout(), keras.layers.Flatten()]), ValueError, "readout"),
    (lambda: ksbp.SequentialCell([lif(), PENALTY, readout()]), ValueError, "activity_regularizer"),
    (lambda: ksbp.ResidualCell(lif(), lif(), "identity"), TypeError, "shortcut"),
    (lambda: run(ksbp.ResidualCell(lif(), lif()), np.ones((1, 2, 7))), ValueError, "shortcut|input"),
    (lambda: ksbp.SpikingRNN(other_ranks())(np.ones((16, 3, 4, 4), "float32")), ValueError, "'sum'"),
    *(
        (lambda make=make: fitted(make(ksbp.LIFCell(AddsALoss(3, name="adds")))), ValueError, "'adds'")
        for make in (ksbp.SpikingRNN, lambda cell: ksbp.SpikingRNN(cell, "bptt"), keras.layers.RNN)
    ),
    (lambda: ksbp.SpikingRNN(keras.layers.GRUCell(3)), TypeError, "cell"),
    (lambda: ksbp.SpikingRNN(lif(), gradient="surrogate"), ValueError, "gradient"),
    (lambda: ksbp.SpikingRNN(lif(surrogate="bounded"), gradient="bptt"), ValueError, "gradient"),
    (lambda: stateful(X, np.ones((5, 5, 4), "float32")), ValueError, "sequences"),
    (lambda: ksbp.SpikingRNN(lif())(np.ones((2, 3), "float32")), ValueError, "sequences"),
    (lambda: ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Conv2D(2, 3)))(IMAGES), ValueError, "encoder"),
    (lambda: ksbp.SpikingRNN(lif())([X, X]), ValueError, "sequences"),
    (lambda: ksbp.SpikingRNN(lif())(rates()), ValueError, "'first'"),
    (lambda: ksbp.SpikingRNN(lif())(X, mask=np.ones((2, 4), bool)), ValueError, "mask"),
    (lambda: ksbp.SpikingRNN(lif())(X, mask=np.ones((2, 5, 1), bool)), ValueError, "mask"),
    (lambda: ksbp.SpikingRNN(lif())(keras.Input((5, None))), ValueError, "None"),
    (lambda: lif()(X[:, 0]), ValueError, "SpikingRNN"),
]


@pytest.mark.parametrize(("call", "error", "argument"), REFUSED)
def test_refused(call, error, argument):
    with pytest.raises(error, match=argument):
        call()
