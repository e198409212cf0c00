"""A resumed training with averaged weights and Keras' callbacks; checkpoints that do not fit. Without spikes: quick."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.training.checkpoint import FORMAT
from tests.networks import with_other_weights
from tests.slow import slow


def plain_model(optimizer, **kwargs):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_initializer="ones")])
    return compiled(model, optimizer, **kwargs)


def compiled(model, optimizer="sgd", **kwargs):
    """Without graphs, which take seconds to trace."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, run_eagerly=True, **kwargs)
    return model


def plain_batches(change=0.0, seed=0):
    examples = np.random.default_rng(0).uniform(size=(24, 4)).astype("float32")
    examples[-1, -1] += change
    return ksbp.datasets.Batches(examples, np.arange(24) % 3, 4, seed=seed)


class Interrupt(keras.callbacks.Callback):
    """After so many batches of one call."""

    def __init__(self, after, politely=False):
        super().__init__()
        self.after, self.politely = after, politely

    def on_train_batch_end(self, batch, logs=None):
        self.after -= 1
        if self.after == 0:
            if not self.politely:
                raise KeyboardInterrupt
            self.model.stop_training = True


def test_a_save_waits_for_the_disk_before_it_removes_the_last_one(tmp_path, monkeypatch):
    from keras_spiking_bp.training import checkpoint

    events = []
    to_disk, remove, rename = checkpoint._to_disk, checkpoint._remove, Path.rename
    monkeypatch.setattr(checkpoint, "_to_disk", lambda path: (events.append(("disk", path.name)), to_disk(path)))
    monkeypatch.setattr(checkpoint, "_remove", lambda path: (events.append(("remove", path.name)), remove(path)))
    monkeypatch.setattr(Path, "rename", lambda path, to: (events.append(("rename", path.name)), rename(path, to))[1])
    ksbp.training.fit(plain_model(adam()), plain_batches(), 2, tmp_path / "run", verbose=0)
    new = "epoch-0002-batch-000000-unfinished"
    of_last = events[events.index(("disk", new)) - 6 :]
    arrays = {f"{name}.npz" for name in ("metrics", "statistics", "variables", "callbacks")}
    assert {name for _, name in of_last[:6]} == {"model.weights.h5", "position.json", *arrays}
    assert {event for event, _ in of_last[:6]} == {"disk"}
    assert of_last[6:] == [
        ("disk", new), ("rename", new), ("disk", "run"), ("remove", "epoch-0001-batch-000000")
    ]  # fmt: skip


def adam(**kwargs):
    return keras.optimizers.Adam(0.05, **kwargs)


def averaging():
    return adam(use_ema=True, ema_momentum=0.5)


class WarmUp(keras.callbacks.Callback):
    """Starts a training with a small rate; the next epoch has the usual one."""

    def on_train_begin(self, logs=None):
        self.model.optimizer.learning_rate = 0.001

    def on_epoch_end(self, epoch, logs=None):
        self.model.optimizer.learning_rate = 0.05


CALLBACKS = {
    "none": lambda folder: [],
    "two plateaus": lambda folder: [
        keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=10, factor=0.5, cooldown=1),
        keras.callbacks.ReduceLROnPlateau("loss", patience=2, min_delta=10, factor=0.9),
    ],
    "early": lambda folder: [
        keras.callbacks.EarlyStopping("loss", min_delta=10, patience=3, restore_best_weights=True)
    ],
    "best": lambda folder: [
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.weights.h5", "loss", 0, True, True, mode="max")
    ],
    "warm-up": lambda folder: [WarmUp()],
}


@pytest.mark.parametrize(("optimizer", "callbacks", "after", "save_freq"), [
    (averaging, "none", 9, 2),
    slow((adam, "two plateaus", 14, "epoch")),  # the second has waited for one epoch
    slow((adam, "early", 20, 1)),
    slow((adam, "best", 9, 1)),
    slow((adam, "warm-up", 9, 2)),
])  # fmt: skip
def test_averages_and_callbacks_go_on_exactly(tmp_path, optimizer, callbacks, after, save_freq):
    def train(name, *more):
        (tmp_path / name).mkdir(exist_ok=True)
        how = {"save_freq": save_freq, "callbacks": [CALLBACKS[callbacks](tmp_path / name), *more], "verbose": 0}
        model = plain_model(optimizer(), metrics=["accuracy"])
        if (tmp_path / name / "checkpoint").exists():
            with_other_weights(model)
        epochs = 3 if callbacks == "none" else 5
        return ksbp.training.fit(model, plain_batches(), epochs, tmp_path / name / "checkpoint", **how).history, model

    curve, whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("resumed", Interrupt(after))
    resumed_curve, resumed = train("resumed")
    assert resumed_curve == curve
    state, expected = ([v.numpy() for v in (*m.weights, *m.optimizer.variables)] for m in (resumed, whole))
    np.testing.assert_equal(state, expected)
    files = [sorted(path.name for path in (tmp_path / name).glob("*.h5")) for name in ("whole", "resumed")]
    assert files[0] == files[1]


def test_a_training_that_early_stopping_ended_goes_on_with_more_patience_only(tmp_path):
    def epochs(*callbacks):
        history = ksbp.training.fit(plain_model("sgd"), plain_batches(), 6, tmp_path, callbacks=callbacks, verbose=0)
        return len(history.epoch)

    def patience(patience):
        return keras.callbacks.EarlyStopping("loss", min_delta=10, patience=patience)

    assert [epochs(patience(1)), epochs(patience(1)), epochs(patience(3)), epochs()] == [2, 2, 4, 6]


def test_the_latest_by_number(tmp_path):
    """Not by name: a process was killed before it could remove the earlier one."""
    ksbp.training.fit(plain_model("sgd"), plain_batches(), 1, tmp_path, verbose=0)
    (done,) = tmp_path.iterdir()
    position = json.loads((done / "position.json").read_text())
    for epoch in (9999, 10000):
        later = shutil.copytree(done, tmp_path / f"epoch-{epoch:04d}-batch-000000")
        (later / "position.json").write_text(json.dumps({**position, "epoch": epoch}))
    seen = []
    record = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(epoch))
    ksbp.training.fit(plain_model("sgd"), plain_batches(), 10001, tmp_path, callbacks=[record], verbose=0)
    assert seen == [10000]


def test_a_later_checkpoint_of_another_process_stays(tmp_path):
    """As when a suspended training is woken after another one has gone on in its folder."""

    def other(epoch, logs):
        if epoch == 1:
            ksbp.training.fit(plain_model("sgd"), plain_batches(), 4, tmp_path, verbose=0)

    wakes = keras.callbacks.LambdaCallback(on_epoch_end=other)
    with pytest.raises(RuntimeError, match="Another process trains in .* saved epoch-0004-batch-000000, which ep"):
        ksbp.training.fit(plain_model("sgd"), plain_batches(), 4, tmp_path, callbacks=[wakes], verbose=0)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0004-batch-000000"]


def test_another_learning_rate_than_that_of_the_checkpoint(tmp_path, recwarn):
    def told(rate, *epochs, **kwargs):
        recwarn.clear()
        model = plain_model(keras.optimizers.SGD(rate))
        for until in epochs:
            ksbp.training.fit(model, plain_batches(), until, tmp_path, verbose=0, **kwargs)
        return [str(warning.message) for warning in recwarn if "learning rate" in str(warning.message)]

    halved = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    assert not told(0.5, 1, 2, callbacks=[halved])  # the second has that of the callback
    assert not told(0.5, 3)
    message = told(0.25, 4)[0]
    assert "rate, 0.25 at this step" in message and ", 0.125. A constant" in message


def test_a_schedule_is_that_of_the_new_call(tmp_path, recwarn):
    steps = plain_batches().steps_per_epoch

    def told(epochs, *rates):
        recwarn.clear()
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([steps - 1, 2 * steps - 1], list(rates))
        optimizer = keras.optimizers.SGD(schedule)
        ksbp.training.fit(plain_model(optimizer), plain_batches(), epochs, tmp_path, verbose=0)
        assert float(optimizer.learning_rate) == pytest.approx(rates[min(epochs, 2)])
        return [str(warning.message) for warning in recwarn if "learning rate" in str(warning.message)]

    assert not told(1, 0.5, 0.25, 0.125)
    assert not told(2, 0.5, 0.125, 0.0625)  # as if it had begun so
    (message,) = told(3, 0.5, 0.25, 0.125)
    assert "rate, 0.25 at this step" in message and ", 0.125. A constant" in message


def test_files_in_another_folder(tmp_path):
    def batches(root, names):
        for number, name in enumerate(names):
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            np.full(4, number, "float32").tofile(path)

        def transform(path, seed):
            return tf.ensure_shape(tf.io.decode_raw(tf.io.read_file(path), tf.float32), (4,))

        return ksbp.datasets.Batches([tmp_path / root / name for name in names], [0, 1, 2, 0], 2, transform)

    names = ["a/1.bin", "a/2.bin", "b/1.bin", "b/2.bin"]
    for epochs, root in ((1, "here"), (2, "moved/there")):
        data = batches(root, names)
        assert len(ksbp.training.fit(plain_model("sgd"), data, epochs, tmp_path / "run", verbose=0).epoch) == epochs
    with pytest.raises(ValueError, match="belongs to another training: its data is"):
        ksbp.training.fit(plain_model("sgd"), batches("here", names[::-1]), 3, tmp_path / "run", verbose=0)


@keras.saving.register_keras_serializable(package="tests")
class Noises(keras.layers.Layer):
    """Adds noise of two streams, which it holds in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generators = [keras.random.SeedGenerator(seed) for seed in (1, 2)]

    def call(self, inputs):
        return inputs + sum(keras.random.normal(keras.ops.shape(inputs), seed=one) for one in self.generators)


def noisy_model():
    model = keras.Sequential([keras.Input((4,)), Noises(), keras.layers.Dense(3, kernel_initializer="ones")])
    return compiled(model)


def scaled_nadam():
    return plain_model(keras.optimizers.LossScaleOptimizer(keras.optimizers.Nadam(0.01)))


def wider_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
    return compiled(model)


def other_version(folder):
    (path,) = folder.glob("*/position.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": FORMAT - 1}))


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The folder of a training that was interrupted after two batches of the second epoch."""
    folder, stop = tmp_path_factory.mktemp("interrupted"), Interrupt(8, politely=True)
    ksbp.training.fit(plain_model("sgd"), plain_batches(), 3, folder, callbacks=[stop], verbose=0)
    return folder


@pytest.mark.parametrize(("change", "message"), [
    ({"data": lambda: plain_batches(change=1e-6)}, "belongs to another training: its data is"),
    ({"data": lambda: plain_batches(seed=1)}, "belongs to another training: .*'seed': 0.*'seed': 1"),
    ({"model": lambda: plain_model("adam")}, r"its optimizer is \['SGD', .* Received: .*\['Adam', "),
    ({"model": wider_model}, r"its weights is .*\[4, 3\].* Received: .*\[4, 5\]"),
    ({"model": lambda: plain_model("sgd", metrics=["accuracy"])}, "its metrics is .*loss.* .*accuracy"),
    ({"model": lambda: noisy_model()}, r"its random streams is \[\]. Received: \[\[2\], \[2\]\]"),
    ({"epochs": lambda: 1}, r"`epochs` must be at least 2: .* after batch 2 of this .* epochs=1"),
    ({"version": other_version}, "`backup_dir` must have a checkpoint of this version of the library"),
])  # fmt: skip
def test_a_checkpoint_of_another_training_is_refused(interrupted, tmp_path, change, message):
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    change = dict(change)
    change.pop("version", lambda folder: None)(tmp_path)
    arguments = {"model": lambda: plain_model("sgd"), "data": plain_batches, "epochs": lambda: 3, **change}
    with pytest.raises(ValueError, match=message):
        ksbp.training.fit(**{name: make() for name, make in arguments.items()}, backup_dir=tmp_path, verbose=0)


def test_other_metrics_from_the_next_epoch_on(tmp_path):
    ksbp.training.fit(plain_model("sgd"), plain_batches(), 1, tmp_path, verbose=0)
    history = ksbp.training.fit(plain_model("sgd", metrics=["accuracy"]), plain_batches(), 2, tmp_path, verbose=0)
    assert {name: len(values) for name, values in history.history.items()} == {"loss": 2, "accuracy": 1}


def test_metrics_that_keras_names_by_number_are_the_same(tmp_path):
    """As in the second training of a notebook."""

    def train(*callbacks):
        metric = keras.metrics.MeanMetricWrapper(keras.losses.sparse_categorical_crossentropy)
        model = plain_model("sgd", metrics=[metric])
        return metric.name, ksbp.training.fit(model, plain_batches(), 1, tmp_path, callbacks=callbacks, verbose=0)

    first, again = train(Interrupt(2, politely=True)), train()
    assert first[0] != again[0] and again[1].epoch == [0]


def low_rank_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_initializer="ones", dtype="bfloat16")])
    model.layers[-1].enable_lora(2)
    metrics = [keras.metrics.SparseCategoricalAccuracy("accuracy", dtype="bfloat16")]
    return compiled(model, metrics=metrics)


@pytest.mark.parametrize("make", [noisy_model, slow(scaled_nadam), slow(low_rank_model)])
def test_what_keras_does_not_save_goes_on(tmp_path, make):
    """Streams in a list, a variable of Nadam, weights with LoRA; and bfloat16, which NumPy does not."""

    def train(folder, *callbacks):
        keras.utils.set_random_seed(0)
        stop = keras.callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True)
        model = make()
        callbacks = [stop, *callbacks]
        return model, ksbp.training.fit(model, plain_batches(), 3, tmp_path / folder, callbacks=callbacks, verbose=0)

    train("stopped", Interrupt(8, politely=True))
    (resumed, curve), (straight, expected) = train("stopped"), train("straight")
    assert curve.history == expected.history
    np.testing.assert_equal(resumed.get_weights(), straight.get_weights())
