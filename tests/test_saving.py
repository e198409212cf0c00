"""Everything round-trips: `.keras`, weights file, config, clone, SavedModel in a fresh process."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from tests.slow import slow_except


def network(**kwargs):
    """Every kind of cell in one network, spikes as input."""

    loud = keras.initializers.VarianceScaling(6.0)

    def conv(filters):
        return keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer=loud)

    def lif(synapse, **arguments):
        return ksbp.LIFCell(synapse, beta=0.75, **arguments)

    strided = keras.Sequential(
        [keras.layers.ZeroPadding2D(1), keras.layers.Conv2D(4, 3, strides=2, kernel_initializer=loud)]
    )
    cells = [
        lif(conv(4), dropout=0.25, seed=3),
        ksbp.PoolingCell(keras.layers.AveragePooling2D(2), threshold=0.5, reset_mechanism="subtract"),
        ksbp.ResidualCell(lif(conv(4)), lif(conv(4))),
        ksbp.ResidualCell(lif(conv(4)), lif(strided), keras.layers.Conv2D(4, 1, strides=2, use_bias=False)),
        keras.layers.Flatten(),
        lif(keras.layers.Dense(20, kernel_initializer=loud)),
        ksbp.ReadoutCell(keras.layers.Dense(3)),
    ]
    inputs = keras.Input((None, 8, 8, 2))
    return keras.Model(inputs, ksbp.SpikingRNN(ksbp.SequentialCell(cells), **kwargs)(inputs))


X = np.random.default_rng(0).integers(-1, 2, (2, 6, 8, 8, 2)).astype("float32")


@pytest.mark.parametrize("gradient", slow_except(["accumulated", "bptt"], "accumulated"))
def test_keras_file(tmp_path, gradient):
    y, model = np.ones((2, 6, 3), "float32"), network(gradient=gradient, return_sequences=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss="mse", run_eagerly=True)  # a trace takes longer
    model.fit(X, y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    outputs = model(X)
    assert np.abs(outputs).max() > 0.1  # not a silent network
    np.testing.assert_array_equal(loaded(X), outputs)
    assert loaded.layers[1].gradient == gradient
    loaded.run_eagerly = True
    losses = [m.fit(X, y, epochs=2, shuffle=False, verbose=0).history["loss"] for m in (model, loaded)]
    assert losses[0] == losses[1]


def test_weights_file_config_and_clone(tmp_path):
    model = network()
    model.save_weights(tmp_path / "model.weights.h5")
    for other in (keras.Model.from_config(model.get_config()), keras.models.clone_model(model)):
        assert other.layers[1].cell is not model.layers[1].cell
        assert (other(X).numpy() != model(X).numpy()).any()
        other.load_weights(tmp_path / "model.weights.h5")
        np.testing.assert_array_equal(other(X), model(X))
    assert keras.models.model_from_json(model.to_json()).count_params() == model.count_params()


def test_a_config_is_not_consumed():
    for cell in (*network().layers[1].cell.cells, network().layers[1].cell):
        if isinstance(cell, ksbp.cells.Cell):
            config = cell.get_config()
            assert type(cell).from_config(config).get_config() == type(cell).from_config(config).get_config() == config


def test_cells_of_the_users_keep_their_arguments():
    class Renamed(ksbp.LIFCell):
        def __init__(self, layer, **kwargs):
            super().__init__(layer, **kwargs)

    class Doubled(ksbp.SequentialCell):
        def __init__(self, layers, **kwargs):
            super().__init__(layers, **kwargs)

    class OfNoLayers(ksbp.Cell):
        def __init__(self, gain=1.0, **kwargs):
            super().__init__(**kwargs)
            self.gain = gain

    cell = Doubled([Renamed(keras.layers.Dense(3), beta=0.5)])
    again = Doubled.from_config(cell.get_config(), {"Renamed": Renamed})
    assert again.cells[0].beta == 0.5 and again.cells[0].synapse.units == 3
    assert OfNoLayers.from_config(OfNoLayers(gain=3.0).get_config()).gain == 3.0


def test_a_checkpoint_of_tensorflow(tmp_path):
    model, fresh = network(), network()
    for variable in model.weights:
        variable.assign(variable + 1)
    path = tf.train.Checkpoint(model=model).save(tmp_path / "checkpoint")
    tf.train.Checkpoint(model=fresh).restore(path).assert_consumed()
    for saved, restored in zip(model.weights, fresh.weights, strict=True):
        np.testing.assert_array_equal(saved, restored)


@pytest.mark.parametrize("gradient", slow_except(["accumulated", "bptt"], "accumulated"))
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_a_network_that_keras_quantised(gradient, tmp_path):
    hidden = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(8)])
    cells = [ksbp.LIFCell(hidden, threshold=0.3), ksbp.ReadoutCell(keras.layers.Dense(3))]
    inputs = keras.Input((5, 2, 3))
    model = keras.Model(inputs, ksbp.SpikingRNN(ksbp.SequentialCell(cells), gradient)(inputs))
    spikes = (np.random.default_rng(0).random((4, 5, 2, 3)) < 0.5).astype("float32")
    model.quantize("int8")
    model.save(tmp_path / "model.keras")
    outputs = model(spikes)
    assert np.std(outputs) > 0.01
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for other in (clone, keras.models.load_model(tmp_path / "model.keras")):
        np.testing.assert_array_equal(other(spikes), outputs)
    ksbp.export.export_saved_model(other, tmp_path / "exported")
    serve = tf.saved_model.load(tmp_path / "exported").signatures["spikes"]
    np.testing.assert_allclose(serve(spikes=tf.constant(spikes))["outputs"], outputs, atol=1e-6)


def test_another_seed_stays_another_seed(tmp_path):
    """Of a weights file; the stream of the same seed, or of none, goes on where it was."""

    def made(seed):
        return ksbp.models.spiking_vgg((4, 4, 1), 2, [(2, 3)], [], num_steps=4, seed=seed, preset="paper")

    def streams(model):
        layers = (layer for layer in model._flatten_layers() if hasattr(layer, "seed_generator"))
        return [layer.seed_generator.state.numpy().tolist() for layer in layers]

    model, x = made(0), np.ones((1, 4, 4, 1), "float32")
    fresh = streams(model)
    model(x)
    assert streams(model) != fresh
    model.save_weights(tmp_path / "m.weights.h5")
    for seed, expected in ((0, streams(model)), (None, streams(model)), (1, streams(made(1)))):
        other = made(seed)
        other.load_weights(tmp_path / "m.weights.h5")
        assert streams(other) == expected


@pytest.mark.slow
def test_in_a_fresh_process(tmp_path):
    """`model.export` without the library, any batch size and number of steps; then the `.keras` file with it."""
    model = network()
    model.compile(keras.optimizers.SGD(0.01), ksbp.losses.SumSquaredError())
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "spikes", verbose=False)
    np.save(tmp_path / "x.npy", X)
    program = (
        "import sys, numpy as np, tensorflow as tf\n"
        "folder = sys.argv[1]\n"
        "x = np.load(folder + '/x.npy')\n"
        "spikes = tf.saved_model.load(folder + '/spikes')\n"
        "np.savez(folder + '/y.npz', a=spikes.serve(x), b=spikes.serve(x[:1, :4]))\n"
        "assert 'keras_spiking_bp' not in sys.modules\n"
        "import keras, keras_spiking_bp\n"
        "model = keras.models.load_model(folder + '/model.keras')\n"
        "np.save(folder + '/y.npy', model(x))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True, env=environment)
    served = np.load(tmp_path / "y.npz")
    np.testing.assert_allclose(served["a"], model(X), rtol=1e-6)
    np.testing.assert_allclose(served["b"], model(X[:1, :4]), rtol=1e-6)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), model(X))


def shared_with_the_way_back(shared):
    return [ksbp.LIFCell(shared), ksbp.RecurrentCell(ksbp.LIFCell(keras.layers.Dense(3)), shared)]


def shared_by_sequentials(shared):
    return [ksbp.LIFCell(keras.Sequential([keras.layers.Flatten(), shared])) for _ in range(2)]


@pytest.mark.parametrize("cells", [shared_with_the_way_back, shared_by_sequentials])
def test_a_shared_layer_is_refused_before_its_weights_are_lost(cells, tmp_path):
    """Keras would write a file that it cannot read, and a clone with two layers. Weights alone are no problem."""
    inputs = keras.Input((5, 3))
    cell = ksbp.SequentialCell(cells(keras.layers.Dense(3, name="shared")))
    model = keras.Model(inputs, ksbp.SpikingRNN(cell, gradient="bptt")(inputs))
    for lose in (model.get_config, lambda: model.save(tmp_path / "a.keras"), lambda: keras.models.clone_model(model)):
        with pytest.raises(ValueError, match="'shared'"):
            lose()
    model.save_weights(tmp_path / "a.weights.h5")
