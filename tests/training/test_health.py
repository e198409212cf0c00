"""An ill network is named, a healthy one left in peace."""

import warnings

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from keras_spiking_bp.training.callbacks import Health
from tests.networks import noisy_patterns

X, Y = noisy_patterns(32)


def model(**kwargs):
    network = ksbp.models.spiking_vgg(
        (8, 8, 2), 4, [(8, 3), "pool"], [12], num_steps=6, kappa=6.0, seed=0, **kwargs, preset="paper"
    )
    network.compile(keras.optimizers.SGD(0.001), ksbp.losses.SparseSumSquaredError())
    return network


def layer(network, name):
    return next(n for n in network.get_layer("time").cell.neurons() if n.name == name)


def scale(network, name, factor):
    (kernel,) = layer(network, name).synapse.weights
    kernel.assign(factor * kernel)


def begun(network, inputs, **kwargs):
    """The callback at the beginning of a training."""
    health = Health(inputs, **kwargs)
    health.set_model(network)
    network.stop_training = False
    health.on_train_begin()
    return health


def warnings_of(call):
    """What it returns, and what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        returned = call()
    return returned, [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]


def test_a_healthy_network_trains_as_without_it():
    health = Health(X[:8], every=2)
    watched, other = model(dropout=0.2), model(dropout=0.2)
    how = {"batch_size": 8, "epochs": 2, "verbose": 0}
    assert warnings_of(lambda: watched.fit(X, Y, callbacks=[health], **how))[1] == []
    other.fit(X, Y, **how)
    np.testing.assert_equal(watched.get_weights(), other.get_weights())
    assert list(health.firing_rates) == ["conv1", "pool1", "fc1"]
    assert all(0.01 < rate < 0.6 for rate in health.firing_rates.values())


def test_currents_beyond_float16():
    network = model(dtype="mixed_float16")
    scale(network, "conv1", 1e6)
    (told, *_) = warnings_of(lambda: begun(network, X[:8]))[1]
    assert np.isfinite(network(X[:8])).all()
    assert "'conv1' has potentials that are NaN" in told


def test_nan_in_the_loss_alone_stops_the_training():
    network = alone()
    health = begun(network, SPIKES, every=1000)
    health.on_train_batch_end(0, {"loss": 1.0})
    assert not network.stop_training
    with pytest.warns(RuntimeWarning, match="the loss is nan after batch 4.*The weights are still finite"):
        health.on_train_batch_end(3, {"loss": float("nan")})
    assert network.stop_training


@pytest.mark.parametrize(("loss", "warned"), [
    ("sparse_categorical_crossentropy", True),
    (keras.losses.SparseCategoricalCrossentropy(), True),
    (keras.losses.SparseCategoricalCrossentropy(from_logits=True), False),
    ("mse", False),
])  # fmt: skip
def test_a_loss_that_takes_probabilities(loss, warned):
    network = alone()
    network.compile("sgd", loss)
    _, said = warnings_of(lambda: begun(network, SPIKES))
    assert len(said) == warned and all("potentials, which it takes for logits with from_logits=True" in s for s in said)


def test_probabilities_behind_the_network_are_what_such_a_loss_takes():
    network = keras.Sequential([keras.Input((10, 6)), small(), keras.layers.Softmax()])
    network.compile("sgd", "sparse_categorical_crossentropy")
    assert warnings_of(lambda: begun(network, SPIKES))[1] == []


def test_a_silent_layer_is_named_once():
    network = model()
    scale(network, "conv1", 1e-3)
    health, told = warnings_of(lambda: begun(network, X[:8]))
    assert told[0].startswith("Layer 'conv1' is silent: 100.0% of its 512 neurons fire for none of 8 samples in 6 ")
    assert "keras_spiking_bp.calibrate" in told[0]
    assert [text.split(":")[0] for text in told[1:]] == ["Layer 'pool1' is silent", "Layer 'fc1' is silent"]
    assert warnings_of(lambda: health.on_epoch_end(0))[1] == []


@pytest.mark.parametrize(("firing", "told"), [(1, "silent"), (2, None), (101, "saturated")])
def test_the_share_of_neurons_from_which_on_a_layer_is_named(firing, told):
    """More than 99 % of 200 are silent, or more than half fire in each step."""
    dense = keras.layers.Dense(200, use_bias=False)
    network = keras.Sequential([keras.Input((10, 6)), ksbp.SpikingRNN(ksbp.LIFCell(dense, name="hidden"))])
    dense.kernel.assign(np.where(np.arange(200) < firing, 100.0, 0.0) * np.ones((6, 1)))
    _, texts = warnings_of(lambda: begun(network, np.ones((8, 10, 6), "float32")))
    assert [f"Layer 'hidden' is {told}" in text for text in texts] == [True] * bool(told)


def test_nan_stops_the_training_and_names_the_layers():
    network = alone()
    network.compile("sgd", "mse")
    kernel = layer(network, "hidden").synapse.weights[0]

    class Spoil(keras.callbacks.Callback):
        batches = 0

        def on_train_batch_begin(self, batch, logs=None):
            self.batches += 1
            if batch == 1:
                kernel.assign(np.full(kernel.shape, np.nan))

    spoil = Spoil()
    how = {"batch_size": 2, "epochs": 5, "verbose": 0, "callbacks": [spoil, Health(SPIKES, every=1)]}
    _, told = warnings_of(lambda: network.fit(SPIKES, TARGETS, **how))
    stopped = [text for text in told if text.startswith("Training is stopped: ")]
    assert len(stopped) == 1 and "hidden" in stopped[0]  # not once more at the end of the epoch
    assert spoil.batches < 10  # of 20
    _, again = warnings_of(lambda: begun(network, SPIKES))  # NaN from the start
    assert len([text for text in again if text.startswith("Training is stopped: ")]) == 1


SPIKES = (np.random.default_rng(0).random((8, 10, 6)) < 0.4).astype("float32")
OTHER, TARGETS = np.zeros((8, 3), "float32"), np.zeros((8, 3), "float32")


def small():
    dense = keras.layers.Dense(
        5, use_bias=False, kernel_initializer=keras.initializers.RandomNormal(stddev=0.6, seed=0)
    )
    cells = [ksbp.LIFCell(dense, name="hidden"), ksbp.ReadoutCell(keras.layers.Dense(3), name="out")]
    return ksbp.SpikingRNN(ksbp.SequentialCell(cells), name="time")


def looked_at(network, inputs, layer):
    """The firing rates that `Health` saw before the training; those that `layer` has itself are beside them."""
    count = layer.observe(SPIKES)[1]["hidden"]["spike_count"].numpy()
    assert count.any()
    return begun(network, inputs).firing_rates, {"hidden": pytest.approx(count.mean() / 10)}


def test_several_inputs():
    for by_name in (False, True):
        layer = small()
        other, spikes = keras.Input((3,), name="other"), keras.Input((10, 6), name="spikes")
        outputs = keras.layers.Add()([layer(spikes), other])
        network = keras.Model({"other": other, "spikes": spikes} if by_name else [other, spikes], outputs)
        inputs = {"other": OTHER, "spikes": SPIKES} if by_name else [OTHER, SPIKES]
        seen, expected = looked_at(network, inputs, layer)
        assert seen == expected
        with pytest.raises(ValueError, match="expects 2 (named )?input"):
            begun(network, SPIKES)


def test_what_layers_in_front_learn_is_seen():
    front = keras.layers.Dense(6, kernel_initializer="identity")
    health = begun(keras.Sequential([keras.Input((10, 6)), front, small()]), SPIKES)
    assert health.firing_rates["hidden"] > 0
    front.kernel.assign(np.zeros((6, 6)))
    with pytest.warns(RuntimeWarning, match="'hidden' is silent"):
        health.on_epoch_end(0)
    assert health.firing_rates["hidden"] == 0


class Subclassed(keras.Model):
    """Without a graph to follow."""

    def __init__(self):
        super().__init__()
        self.time = small()

    def call(self, inputs, training=None):
        return self.time(inputs)


def alone():
    return keras.Sequential([keras.Input((10, 6)), small()])


@pytest.mark.parametrize(("make", "inputs", "arguments", "error", "message"), [
    (alone, SPIKES[:0], {}, ValueError, "must have samples"),
    (Subclassed, SPIKES, {}, TypeError, "`model` must be a functional or sequential.*Received: model=<Sub"),
    (lambda: keras.Sequential([keras.Input((10, 6)), keras.layers.Dense(3)]), SPIKES, {}, TypeError, "SpikingRNN"),
])  # fmt: skip
def test_what_is_refused(make, inputs, arguments, error, message):
    with pytest.raises(error, match=message):
        begun(make(), inputs, **arguments)


def test_nan_beside_the_spiking_layer_is_named():
    dense = keras.layers.Dense(3, name="behind")
    health = begun(keras.Sequential([keras.Input((10, 6)), small(), dense]), SPIKES)
    dense.kernel.assign(np.full(dense.kernel.shape, np.nan))
    with pytest.warns(RuntimeWarning, match=r"Training is stopped: .*NaN or infinity: \['.*behind/kernel'\]"):
        health.on_epoch_end(0)
