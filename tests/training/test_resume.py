"""A killed training, resumed, equals the uninterrupted one."""

import json
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.training.checkpoint import Checkpoint, Position
from tests.networks import with_other_weights

SCRIPT = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np
import keras_spiking_bp as ksbp

folder, kill_at, output, goes_on = sys.argv[1], int(sys.argv[2]), sys.argv[3], "resume" in sys.argv
rng = np.random.default_rng(0)
images, labels = rng.uniform(0, 1, (60, 8, 8, 1)).astype("float32"), rng.integers(0, 3, 60)
model = ksbp.models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [12], num_steps=8, dropout=0.3, seed=1)
rate = keras.optimizers.schedules.CosineDecay(0.01, 18)
model.compile(keras.optimizers.SGD(rate, momentum=0.9), ksbp.losses.SparseSumSquaredError(), metrics=["accuracy"])

class Kill(keras.callbacks.Callback):
    seen = 0
    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == kill_at:
            os.kill(os.getpid(), 9)

if goes_on:
    model.set_weights([weight + 1 for weight in model.get_weights()])
batches = ksbp.datasets.Batches(images, labels, batch_size=10, seed=2)
validation = (images[:20], labels[:20])
history = ksbp.training.fit(model, batches, 3, folder, save_freq=2, callbacks=[Kill()], verbose=0,
                            validation_data=validation)
np.savez(output, *model.get_weights())
import json
print(json.dumps(history.history))
"""


def run(tmp_path, name, kill_at, *more):
    (tmp_path / "script.py").write_text(SCRIPT)
    output = tmp_path / f"{name}.npz"
    arguments = [sys.executable, tmp_path / "script.py", tmp_path / name, str(kill_at), output, *more]
    return subprocess.run(arguments, capture_output=True, text=True), output


@pytest.mark.slow
def test_a_killed_training_resumed_is_the_uninterrupted_one(tmp_path):
    whole, whole_weights = run(tmp_path, "whole", -1)
    assert whole.returncode == 0, whole.stderr[-2000:]
    for kill_at in (9, 7):  # in the middle of an epoch after a save; a batch after an epoch: that batch is lost
        name = f"killed-{kill_at}"
        killed, _ = run(tmp_path, name, kill_at)
        assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
        resumed, weights = run(tmp_path, name, -1, "resume")
        assert resumed.returncode == 0, resumed.stderr[-2000:]
        assert json.loads(resumed.stdout) == json.loads(whole.stdout)
        np.testing.assert_equal(dict(np.load(weights)), dict(np.load(whole_weights)))


def small_model(**kwargs):
    """Without spikes and graphs, which take seconds to trace: for what concerns the checkpoints alone."""
    dense = keras.layers.Dense(2, kernel_initializer=keras.initializers.GlorotUniform(seed=0), **kwargs)
    return compiled(keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), dense]), run_eagerly=True)


def averaging_model():
    """Its weights at the end are averages over the training."""
    model = small_model()
    model.compile(keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5), model.loss, run_eagerly=True)
    return model


def compiled(model, **kwargs):
    model.compile("sgd", ksbp.losses.SparseSumSquaredError(), metrics=["accuracy"], **kwargs)
    return model


def batches(seed=0, size=4):
    return ksbp.datasets.Batches(np.ones((8, 4, 4, 1), "float32"), np.zeros(8, "int32"), size, seed=seed)


def test_a_finished_training_is_not_trained_again(tmp_path):
    first, again, calls = averaging_model(), with_other_weights(averaging_model()), []
    history = ksbp.training.fit(first, batches(), 2, tmp_path, verbose=0)
    assert history.epoch == [0, 1] and history.model is first and first.history is history
    record = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: calls.append("begin"),
        on_train_batch_begin=lambda batch, logs: calls.append("batch"),
        on_train_end=lambda logs: calls.append("end"),
    )
    with pytest.warns(UserWarning, match="holds a finished training of 2 epochs: nothing is trained"):
        assert ksbp.training.fit(again, batches(), 2, tmp_path, callbacks=record, verbose=0).history == history.history
    assert calls == ["begin", "end"]
    np.testing.assert_equal(first.get_weights(), again.get_weights())


def test_an_interrupted_save_leaves_the_last_one(tmp_path, monkeypatch):
    ksbp.training.fit(small_model(), batches(), 1, tmp_path, verbose=0)

    def fails(*args, **kwargs):
        raise OSError("no space left")

    model = small_model()
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save_weights", fails)
        with pytest.raises(OSError, match="no space"):
            ksbp.training.fit(model, batches(), 2, tmp_path, verbose=0)
    model, seen = small_model(), []
    see = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(epoch))
    history = ksbp.training.fit(model, batches(), 2, tmp_path, callbacks=see, verbose=0)
    assert seen == [1] and history.epoch == [0, 1]  # it goes on from the checkpoint of the first epoch


def test_what_optimizers_carry_from_step_to_step_is_restored(tmp_path):
    """Accumulated gradients; the scale of a loss in `test_what_keras_does_not_save_goes_on`."""
    rng = np.random.default_rng(0)
    images, labels = rng.uniform(0, 1, (16, 4, 4, 1)).astype("float32"), rng.integers(0, 2, 16)

    def train(folder, callbacks=(), start=lambda model: model):
        model = small_model()
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=3)
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
        data, model = ksbp.datasets.Batches(images, labels, 4, seed=1), start(model)
        return model, ksbp.training.fit(model, data, 2, folder, callbacks=callbacks, verbose=0).history

    class StopAfterTwoBatches(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    assert train(tmp_path / "a", [StopAfterTwoBatches()])[1] == {}
    (resumed, history), (whole, expected) = train(tmp_path / "a", start=with_other_weights), train(tmp_path / "b")
    assert history == expected and history["loss"][0] != history["loss"][1]
    np.testing.assert_equal(resumed.get_weights(), whole.get_weights())
    for a, b in zip(resumed.optimizer.variables, whole.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_bad_batch_in_the_middle_of_an_epoch_leaves_the_rest_a_mean(tmp_path):
    """Else the loss would be NaN again after each resume, and `Health` stop again."""
    with_nan = ksbp.datasets.Batches(np.ones((8, 4, 4, 1), "float32"), np.zeros(8, "int32"), 2)
    losses, counts = [], []

    class SpoilOnce(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.metrics[0].variables[0].assign(np.nan)
                self.model.stop_training = True

    ksbp.training.fit(small_model(), with_nan, 1, tmp_path, callbacks=[SpoilOnce()], verbose=0)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0000-batch-000002"]
    again = with_other_weights(small_model())

    def record(batch, logs):
        losses.append(logs["loss"])
        counts.append(float(again.metrics[1].variables[1]))  # of the accuracy

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=record)
    ksbp.training.fit(again, with_nan, 1, tmp_path, callbacks=[callback], verbose=0)
    assert len(losses) == 2 and np.isfinite(losses).all()
    assert again.metrics[1].name == "compile_metrics" and counts[-1] == 8  # of all batches


@pytest.mark.slow
def test_the_history_has_metrics_of_each_class(tmp_path):
    labels = np.eye(2, dtype="float32")[np.arange(8) % 2]
    data = ksbp.datasets.Batches(np.ones((8, 4, 4, 1), "float32"), labels, 4)
    model = small_model()
    model.compile("sgd", ksbp.losses.SumSquaredError(), metrics=[keras.metrics.F1Score()], run_eagerly=True)
    ksbp.training.fit(model, data, 1, tmp_path, verbose=0)
    notes = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda _, logs: logs.update(ragged=[[1.0], [1.0, 2.0]], why="-")
    )
    history = ksbp.training.fit(model, data, 2, tmp_path, callbacks=[notes], verbose=0).history
    assert [len(values) for values in history["f1_score"]] == [2, 2] and isinstance(history["loss"][0], float)
    assert history.keys() == {"loss", "f1_score"}


def test_an_optimizer_that_is_not_finite_is_not_saved_and_a_warning_says_so(tmp_path):
    class Spoil(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.optimizer.variables[-1].assign(np.nan * self.model.optimizer.variables[-1])

    model, data = small_model(), batches(size=2)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, gradient_accumulation_steps=20)
    model.compile(optimizer, model.loss, run_eagerly=True)
    with pytest.warns(RuntimeWarning, match="no longer finite, and are not saved. The last checkpoint stays") as warned:
        ksbp.training.fit(model, data, 1, tmp_path, save_freq=1, callbacks=[Spoil()], verbose=0)
    assert len([w for w in warned if w.category is RuntimeWarning]) == 1
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0000-batch-000001"]


def test_validation_arrays_come_in_batches_of_the_training(tmp_path):
    """The loss is a sum over the batch."""
    model, data = small_model(), batches()
    examples = [np.concatenate([part.numpy() for part in parts]) for parts in zip(*data.epoch(0), strict=True)]
    model.optimizer.learning_rate = 0.0
    logs = ksbp.training.fit(model, data, 1, tmp_path, validation_data=tuple(examples), verbose=0).history
    assert logs["val_loss"] == pytest.approx(logs["loss"], rel=1e-6)


def test_a_save_that_was_killed_in_its_cleaning_up_is_restored(tmp_path, monkeypatch):
    """The last save is whole, the one before half removed."""
    model = small_model()
    ksbp.training.fit(model, batches(), 1, tmp_path, verbose=0)
    checkpoint = Checkpoint(tmp_path, batches())
    checkpoint.restore(model, next(iter(batches().epoch(0))))
    position = Position(2, 0)

    def killed(folder, **kwargs):
        if folder.name.startswith("epoch-") and folder.exists():
            (folder / "model.weights.h5").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("keras_spiking_bp.training.checkpoint.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(model, position)
    again = small_model()
    assert Checkpoint(tmp_path, batches()).restore(again, next(iter(batches().epoch(0)))) == position
    np.testing.assert_equal(again.get_weights(), model.get_weights())


def test_what_a_killed_process_has_half_removed_is_removed(tmp_path):
    ksbp.training.fit(small_model(), batches(), 1, tmp_path, verbose=0)
    (left,) = tmp_path.iterdir()
    half = left.rename(tmp_path / "epoch-0000-batch-000001")
    (half / "position.json").unlink()
    mine = ["epoch-01-batch-02.png", "epoch-0001-batch-000001-plots"]
    (tmp_path / mine[0]).write_text("mine")
    (tmp_path / mine[1]).mkdir()
    ksbp.training.fit(small_model(), batches(), 1, tmp_path, verbose=0)
    assert {path.name for path in tmp_path.iterdir()} == {"epoch-0001-batch-000000", *mine}


def test_a_folder_in_the_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    ksbp.training.fit(small_model(), batches(), 1, "~/mine", verbose=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_images_that_are_not_scaled_are_refused_where_xla_leaves_checks_out(tmp_path):
    model = ksbp.models.spiking_vgg((4, 4, 1), 2, [(2, 3)], [], num_steps=3, preset="paper")
    model.compile("sgd", ksbp.losses.SparseSumSquaredError(), jit_compile=True)
    pixels = ksbp.datasets.Batches(np.full((8, 4, 4, 1), 200, "float32"), np.zeros(8, "int32"), 4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="divide 8-bit images by 255"):
        ksbp.training.fit(model, pixels, 1, tmp_path, verbose=0)


def in_two_steps():
    model = small_model()
    model.compile("sgd", ksbp.losses.SparseSumSquaredError(), steps_per_execution=2)
    return model


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"model": lambda: compiled(keras.Sequential([keras.layers.Dense(2)]))}, ValueError, "`model` must be built"),
    ({"model": lambda: keras.Sequential([keras.Input((4, 4, 1))])}, ValueError, "and compiled"),
    ({"model": in_two_steps}, ValueError, "steps_per_execution=1.*Received: 2"),
    ({"data": lambda: batches().epoch(0)}, TypeError, "`data` must be keras_spiking_bp.datasets.Batches"),
    ({"backup_dir": lambda: "gs://mine"}, ValueError, "`backup_dir` must be in a file system of this machine"),
    ({"callbacks": lambda: [[keras.callbacks.BackupAndRestore("backup")]]}, ValueError, "no BackupAndRestore"),
])  # fmt: skip
def test_what_cannot_be_trained_is_refused(tmp_path, change, error, message):
    arguments = {
        "model": small_model, "data": batches, "epochs": lambda: 1, "backup_dir": lambda: tmp_path, **change
    }  # fmt: skip
    with pytest.raises(error, match=message):
        ksbp.training.fit(**{name: make() for name, make in arguments.items()})
    assert not list(tmp_path.iterdir())
