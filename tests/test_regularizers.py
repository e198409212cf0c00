"""Firing rates that are held by a penalty."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.regularizers import FiringRate


def network(gradient="accumulated", **kwargs):
    return ksbp.models.spiking_vgg(
        (8, 8, 2), 4, [(8, 3), (8, 3), "pool"], [24], seed=0, reset_mechanism="subtract", gradient=gradient,
        encoder=ksbp.ConstantEncoder(8), preset="paper", **{"surrogate": "bounded", **kwargs},
    )  # fmt: skip


def images(samples=8):
    return np.random.default_rng(0).uniform(0, 1, (samples, 8, 8, 2)).astype("float32")


def penalty_of(rates, target, strength):
    """NumPy: rates (B, ..., C)."""
    of_channels = rates.reshape(-1, rates.shape[-1]).mean(0)
    return strength * np.mean((of_channels - target) ** 2)


def test_the_penalty():
    """It returns the sum over the batch: each sample has the same share of it, whatever the size of the batch."""
    rates = np.random.default_rng(1).uniform(0, 1, (6, 4, 4, 3)).astype("float32")
    for copies in (1, 2):
        loss = float(FiringRate(0.3, 2.0)(np.concatenate([rates] * copies)))
        assert loss / (6 * copies) == pytest.approx(penalty_of(rates, 0.3, 2.0), rel=1e-5)


def test_the_loss_of_fit_contains_the_penalty_of_each_layer():
    model = network(activity_regularizer=FiringRate(0.3, 2.0))
    x, y = images(), np.eye(4, dtype="float32")[np.random.default_rng(1).integers(0, 4, 8)]
    model.compile(keras.optimizers.SGD(0.0), loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    without = model.evaluate(x, y, batch_size=8, verbose=0)
    layer = next(layer for layer in model.layers if isinstance(layer, ksbp.SpikingRNN))
    _, activity = layer.observe(ksbp.ConstantEncoder(8)(x))
    penalties = [
        penalty_of(activity[name]["spike_count"].numpy() / 8, 0.3, 2.0) for name in ("conv1", "conv2", "fc1")
    ]  # the pooling neurons have none
    model.run_eagerly = True  # in a graph the layers are called once, for all steps
    for _ in range(2):  # the penalty of one step does not stay for the next
        model.reset_metrics()  # else an older Keras shows the mean with the steps before
        assert model.train_on_batch(x, y) == pytest.approx(without + sum(penalties), rel=1e-5)
    assert len(model.losses) == 3


def test_its_gradient_is_that_of_the_counts():
    """Against NumPy, for integrate-and-fire neurons that reset by subtraction: d count / d net = 1 where it fired."""
    dense = keras.layers.Dense(5, use_bias=False, kernel_initializer=keras.initializers.RandomNormal(0.2, 0.3, seed=1))
    cell = ksbp.LIFCell(dense, beta=1.0, reset_mechanism="subtract", activity_regularizer=FiringRate(0.3, 2.0))
    steps_seen = 5  # of 8
    layer = ksbp.SpikingRNN(cell)
    spikes = np.random.default_rng(1).integers(0, 2, (6, 8, 4)).astype("float32")
    mask = np.broadcast_to(np.arange(8) < steps_seen, (6, 8))
    with tf.GradientTape() as tape:
        rates = layer(spikes, mask=tf.constant(mask))
        (loss,) = layer.losses
    gradient = tape.gradient(loss, dense.kernel)

    rates = rates.numpy()
    assert ((rates == 0).any(), (rates > 0).any()) == (True, True)
    assert float(loss) == pytest.approx(penalty_of(rates, 0.3, 2.0), rel=1e-5)
    on_rates = 2.0 * 2 * (rates.mean(0) - 0.3) / rates.size
    totals = (spikes * mask[..., None]).sum(1)
    np.testing.assert_allclose(gradient, totals.T @ (on_rates / steps_seen * (rates > 0)), rtol=1e-4, atol=1e-7)


def test_dropout_does_not_count():
    """A rate is what the neurons did, not what the next layer is shown."""
    losses = []
    for dropout in (0.0, 0.5):
        dense = keras.layers.Dense(5, kernel_initializer=keras.initializers.RandomNormal(0.2, 0.3, seed=1))
        cell = ksbp.LIFCell(dense, dropout=dropout, seed=0, activity_regularizer=FiringRate(0.3))
        layer = ksbp.SpikingRNN(cell)
        layer(np.ones((6, 8, 4), "float32"), training=True)
        losses.append(float(layer.losses[0]))
    assert losses[0] == losses[1] > 0


def test_round_trips(tmp_path):
    model = network(activity_regularizer=FiringRate(0.2, 3.0))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for one in (model, loaded):
        one(images(), training=True)
    np.testing.assert_allclose(loaded.losses, model.losses, rtol=1e-5)
    for name in ("conv2", "fc1"):
        cells = {neuron.name: neuron for neuron in loaded.layers[-1].cell.neurons()}
        assert cells[name].activity_regularizer.get_config() == {"firing_rate": 0.2, "strength": 3.0}
        assert cells["pool1"].activity_regularizer is None


@pytest.mark.parametrize("arguments, message", [
    ({"firing_rate": 0.0}, "`firing_rate` must be a number above 0 and below 1.*firing_rate=0.0"),
    ({"strength": -1.0}, "`strength` must be a number above 0.*-1.0"),
])  # fmt: skip
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        FiringRate(**arguments)


def test_it_is_refused_where_it_would_be_ignored():
    with pytest.raises(
        ValueError, match="`activity_regularizer` of 'conv1' needs the derivative of spike counts.*bptt"
    ):
        network("bptt", activity_regularizer=FiringRate(), surrogate=None)
    dense = keras.layers.Dense(3)
    for make in (
        lambda: ksbp.ReadoutCell(dense, activity_regularizer=FiringRate()),
        lambda: ksbp.SequentialCell([ksbp.LIFCell(dense)], activity_regularizer="l1"),
    ):
        with pytest.raises(ValueError, match="`activity_regularizer` is for cells that fire, LIFCell and IFCell, not"):
            make()
    cell = ksbp.LIFCell(dense, activity_regularizer="l1")
    x = np.ones((2, 5, 4), "float32")
    with pytest.raises(ValueError, match=r"which keras\.layers\.RNN does not give: use SpikingRNN"):
        keras.layers.RNN(cell)(x, training=True)
    assert cell.losses == []
    np.testing.assert_array_equal(keras.layers.RNN(cell)(x), ksbp.SpikingRNN(cell, return_sequences=True)(x)[:, -1])


def test_it_belongs_to_the_cell_not_to_the_synapse():
    penalised = keras.layers.Dense(3, activity_regularizer="l2")
    for make in (
        lambda: ksbp.LIFCell(penalised),
        lambda: ksbp.LIFCell(keras.Sequential([keras.layers.Flatten(), penalised])),
        lambda: ksbp.ResidualCell(ksbp.LIFCell(keras.layers.Dense(3)), ksbp.LIFCell(keras.layers.Dense(3)), penalised),
    ):
        with pytest.raises(ValueError, match="must have no `activity_regularizer`: give it to the cell"):
            make()


def always_firing(penalty, **neuron):
    """A layer of one neuron, which fires at every step of the inputs that come with it, and its weights."""
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    cell = ksbp.LIFCell(dense, reset_mechanism="subtract", activity_regularizer=penalty, **neuron)
    layer, spikes = ksbp.SpikingRNN(cell), np.ones((4, 8, 2), "float32")
    assert (layer(spikes).numpy() == 1).all()
    return layer, spikes, dense.kernel


def gradient_of_penalty(layer, spikes, kernel):
    with tf.GradientTape() as tape:
        layer(spikes)
        loss = layer.losses[0]
    return tape.gradient(loss, kernel)


def test_a_penalty_has_the_derivative_of_the_loss():
    """On the count of an integrate-and-fire neuron at its upper bound: 1 by the paper, none of `bounded`."""
    penalty = FiringRate(0.3, 1.0)
    for surrogate, slope in ((None, 1.0), ("bounded", 0.0)):
        layer, spikes, kernel = always_firing(penalty, beta=1.0, surrogate=surrogate)
        with tf.GradientTape() as tape:
            rates = layer(spikes)
        np.testing.assert_allclose(tape.gradient(rates, kernel), np.full((2, 1), 4 * slope))
        on_rates = 2 * (1.0 - 0.3)
        np.testing.assert_allclose(gradient_of_penalty(layer, spikes, kernel), np.full((2, 1), slope * on_rates))


def test_it_asks_neurons_that_got_no_charge_for_nothing():
    """The mean of the channel is below the target; of its two neurons one is silent, one fires at every step."""
    layer, spikes, kernel = always_firing(FiringRate(0.9), surrogate="bounded")
    spikes[:2] = 0
    with tf.GradientTape() as tape:
        layer(spikes)
        loss = layer.losses[0]
    assert float(loss) > 1
    np.testing.assert_array_equal(tape.gradient(loss, kernel), np.zeros((2, 1)))


def test_a_silent_neuron_that_is_on_its_way_is_raised():
    """Surrogates have a derivative there; the paper's has none."""
    ends = []
    for derivative in ("atan", None):
        layer, spikes, kernel = always_firing(FiringRate(0.3, 3.0), surrogate=derivative)
        kernel.assign(np.full((2, 1), 0.02))
        assert not layer(spikes).numpy().any()
        optimizer = keras.optimizers.SGD(0.05)
        for _ in range(15):
            optimizer.apply([gradient_of_penalty(layer, spikes, kernel)], [kernel])
        ends.append(float(layer(spikes)[0, 0]))
    assert ends[0] == pytest.approx(0.3, abs=0.1)
    assert ends[1] == 0
