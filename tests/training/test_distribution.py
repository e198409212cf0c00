"""Several devices train as one does.

The trainings run in processes of their own, which are this file with arguments: TensorFlow takes its devices at start.
"""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.rnn.derivative import take_statistics
from tests.networks import with_other_weights

SIZE, STEPS, BATCH, EPOCHS = (6, 6, 1), 5, 8, 3
TIMEOUT = 500  # seconds, on a machine that has other work too


def model_of(strategy, random):
    """Images and randomness, or spikes and none. The loss of this library, or (`random` is "mean") one with a mean."""
    encoder = ksbp.PoissonEncoder(STEPS, seed=3) if random is True else None
    with strategy.scope():
        noisy = {"dropout": 0.3, "normalization": "batch"} if random is True else {}  # each device has its own
        model = ksbp.models.spiking_vgg(
            SIZE, 3, [(4, 3)], [], num_steps=STEPS, encoder=encoder, seed=1, **noisy, preset="paper"
        )
        loss = "sparse_categorical_crossentropy" if random == "mean" else ksbp.losses.SparseSumSquaredError()
        rate = keras.optimizers.schedules.CosineDecay(0.01, 9)
        model.compile(keras.optimizers.SGD(rate, 0.9, weight_decay=1e-3), loss, metrics=["accuracy"])
    return model


def batches_of(random):
    rng = np.random.default_rng(0)
    shape = (24, *SIZE) if random is True else (24, STEPS, *SIZE)
    examples = rng.uniform(0, 1, shape).astype("float32") if random is True else rng.integers(0, 2, shape, "int8")
    return ksbp.datasets.Batches(examples, rng.integers(0, 3, 24), BATCH, seed=2)


def normalized(strategy):
    """With batch normalisation, and one batch: the weights stay as they are."""
    with strategy.scope():
        how = {"num_steps": STEPS, "normalization": "batch", "encoder": None, "seed": 1, "surrogate": "bounded"}
        model = ksbp.models.spiking_vgg(SIZE, 3, [(4, 3), (5, 3)], [], **how, preset="paper")
        model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    spikes = rng.integers(0, 2, (BATCH, STEPS, *SIZE), "int8")
    return model, ksbp.datasets.Batches(spikes, rng.integers(0, 3, BATCH), BATCH, seed=2)


def statistics(model):
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    return [value for norm in norms for value in (norm.moving_mean.numpy(), norm.moving_variance.numpy())]


class AfterASave(keras.callbacks.Callback):
    """Does something in the second epoch, a batch after a save."""

    def __init__(self, do):
        super().__init__()
        self.do = do
        self.seen = 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == 6:
            self.do()


def interrupt():
    raise KeyboardInterrupt


def train(strategy, folder, name, random, callbacks=()):
    """Trains, or goes on; writes history and weights."""
    model, batches = model_of(strategy, random), batches_of(random)
    if (folder / name).exists():
        with_other_weights(model)
    history = ksbp.training.fit(model, batches, EPOCHS, folder / name, 2, callbacks, verbose=0).history
    (folder / f"{name}.json").write_text(json.dumps(history))
    np.savez(folder / f"{name}.npz", *model.get_weights())
    return model


def train_with_statistics(strategy, folder):
    """Trains one step; writes what the statistics are then."""
    model, batches = normalized(strategy)
    ksbp.training.fit(model, batches, 1, folder / "norm", verbose=0)
    np.savez(folder / "norm.npz", *statistics(model))


def trained(folder, name):
    history = json.loads((folder / f"{name}.json").read_text())
    return history, list(np.load(folder / f"{name}.npz").values())


def assert_close(one, other):
    """Not bitwise: each device sums over its share of the batch before the sums are added, which rounds otherwise."""
    assert one[0].keys() == other[0].keys()
    for name, values in one[0].items():
        assert values == pytest.approx(other[0][name], rel=1e-5)
    for a, b in zip(one[1], other[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


# --- what runs in a process of its own --------------------------------------------------------------------------------


def two_devices():
    device = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def draws(strategy, folder):
    """Spikes and dropout masks of the same images in each replica, twice."""
    with strategy.scope():
        encoder = ksbp.PoissonEncoder(STEPS, seed=3)
        cell = ksbp.LIFCell(keras.layers.Dense(50), dropout=0.5, seed=4)
        cell.build((None, 5))
    images = tf.fill((2, 5), 0.5)

    @tf.function
    def draw():
        return strategy.run(lambda: (encoder(images), cell.draw_keep(2)))

    drawn = {}
    for time in range(2):
        for what, values in zip(("spikes", "keep"), draw(), strict=True):
            for replica, value in enumerate(strategy.experimental_local_results(values)):
                drawn[f"{what}-{replica}-{time}"] = value.numpy()
    np.savez(folder / "draws.npz", **drawn)


def mirrored(folder):
    strategy = two_devices()
    draws(strategy, folder)
    train_with_statistics(strategy, folder)
    train(strategy, folder, "sum", False)
    train(strategy, folder, "mean", "mean")
    train(strategy, folder, "whole", True)
    with pytest.raises(KeyboardInterrupt):
        train(strategy, folder, "stopped", True, [AfterASave(interrupt)])
    assert [path.name for path in (folder / "stopped").iterdir()] == ["epoch-0001-batch-000002"]
    train(strategy, folder, "stopped", True)


def run(folder):
    """The exit status of the trainings on two devices; the process is ended if it hangs."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "tests.training.test_distribution", folder]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2], timeout=TIMEOUT
    )
    print(done.stderr[-2000:])
    return done.returncode


# --- the tests --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    """The result of a training on one device, by its name: trained when it is first asked for."""
    folder = tmp_path_factory.mktemp("one")

    @functools.cache
    def result(name):
        train(tf.distribute.get_strategy(), folder, name, name if name == "mean" else False)
        return trained(folder, name)

    return result


@pytest.fixture(scope="module")
def two_replicas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirrored")
    assert run(folder) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["sum", "mean"])
def test_two_devices_train_as_one(one_device, two_replicas, loss):
    assert_close(trained(two_replicas, loss), one_device(loss))


@pytest.mark.slow
def test_statistics_on_two_devices(two_replicas):
    """Each device normalises by the statistics of its own share, as Keras does; those of the first one are saved."""
    model, batches = normalized(tf.distribute.get_strategy())
    ((spikes, _),) = batches.epoch(0)
    before = [np.array(value) for value in statistics(model)]
    take_statistics(model.get_layer("time"), np.split(spikes.numpy().astype("float32"), 2)[0])
    saved = np.load(two_replicas / "norm.npz").values()
    for value, start, of_batch in zip(saved, before, statistics(model), strict=True):
        np.testing.assert_allclose(value, 0.9 * start + 0.1 * np.array(of_batch), rtol=1e-4, atol=1e-6)
        assert np.abs(value - start).max() > 1e-3


@pytest.mark.slow
def test_replicas_draw_differently(two_replicas):
    drawn = np.load(two_replicas / "draws.npz")
    for what in ("spikes", "keep"):
        kinds = [drawn[f"{what}-{replica}-{time}"].tobytes() for replica in range(2) for time in range(2)]
        assert len(set(kinds)) == 4
    assert 0.3 < np.mean([np.abs(drawn[f"spikes-{r}-0"]) for r in range(2)]) < 0.7


@pytest.mark.slow
def test_a_stopped_training_on_two_devices_goes_on_as_if_it_had_not(two_replicas):
    np.testing.assert_equal(trained(two_replicas, "stopped"), trained(two_replicas, "whole"))


def test_a_batch_that_the_devices_do_not_divide(tmp_path, monkeypatch):
    model = model_of(tf.distribute.get_strategy(), False)
    monkeypatch.setattr(type(model), "distribute_strategy", type("Three", (), {"num_replicas_in_sync": 3})())
    with pytest.raises(ValueError, match="multiple of the number of devices, 3. Received: a batch size of 8"):
        ksbp.training.fit(model, batches_of(False), 1, tmp_path)


if __name__ == "__main__":
    mirrored(Path(sys.argv[1]))
