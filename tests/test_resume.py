"""A killed training, resumed, equals the uninterrupted one."""

import json
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from keras_spiking_bp.training.checkpoint import Checkpoint

SCRIPT = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np
import keras_spiking_bp as ksbp

folder, kill_at, output = sys.argv[1], int(sys.argv[2]), sys.argv[3]
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

batches = ksbp.datasets.Batches(images, labels, batch_size=10, seed=2)
validation = (images[:20], labels[:20])
curve = ksbp.training.fit(model, batches, 3, folder, save_every=2, callbacks=[Kill()], verbose=0,
                          validation_data=validation)
np.savez(output, *model.get_weights())
import json
print(json.dumps(curve))
"""


def run(tmp_path, name, kill_at):
    (tmp_path / "script.py").write_text(SCRIPT)
    output = tmp_path / f"{name}.npz"
    arguments = [sys.executable, tmp_path / "script.py", tmp_path / name, str(kill_at), output]
    return subprocess.run(arguments, capture_output=True, text=True), output


def test_a_killed_training_resumed_is_the_uninterrupted_one(tmp_path):
    whole, whole_weights = run(tmp_path, "whole", -1)
    assert whole.returncode == 0, whole.stderr[-2000:]
    for kill_at in (9, 7):  # in the middle of an epoch after a save; a batch after an epoch: that batch is lost
        name = f"killed-{kill_at}"
        killed, _ = run(tmp_path, name, kill_at)
        assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
        resumed, weights = run(tmp_path, name, -1)
        assert resumed.returncode == 0, resumed.stderr[-2000:]
        assert json.loads(resumed.stdout) == json.loads(whole.stdout)
        for a, b in zip(np.load(whole_weights).values(), np.load(weights).values(), strict=True):
            np.testing.assert_array_equal(a, b)


def plain_model(optimizer, **kwargs):
    """No spikes: what is tested with it is Keras' own, and quick."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_initializer="ones")])
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), **kwargs)
    return model


def plain_batches(reverse=False, change=0.0):
    examples = np.random.default_rng(0).uniform(size=(24, 4)).astype("float32")
    examples[-1, -1] += change
    labels = np.arange(24) % 3
    return ksbp.datasets.Batches(examples, labels[::-1] if reverse else labels, 4)  # 6 in an epoch


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


def adam(**kwargs):
    return keras.optimizers.Adam(0.05, **kwargs)


def averaging():
    return adam(use_ema=True, ema_momentum=0.5)


def reduce_on_plateau():
    return keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=10, factor=0.5, cooldown=1)


class WarmUp(keras.callbacks.Callback):
    """Starts a training with a small rate; the next epoch has the usual one."""

    def on_train_begin(self, logs=None):
        self.model.optimizer.learning_rate = 0.001

    def on_epoch_end(self, epoch, logs=None):
        self.model.optimizer.learning_rate = 0.05


CALLBACKS = {
    "none": lambda folder: [],
    "decay": lambda folder: [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate if epoch < 1 else rate / 2)
    ],
    "plateau": lambda folder: [reduce_on_plateau()],
    "early": lambda folder: [
        keras.callbacks.EarlyStopping("loss", min_delta=10, patience=3, restore_best_weights=True),
    ],
    "best": lambda folder: [
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.weights.h5", "loss", 0, True, True, mode="max"),
    ],
    "swap": lambda folder: [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
    "warm-up": lambda folder: [WarmUp()],
}


@pytest.mark.parametrize(
    ("optimizer", "callbacks", "after", "politely", "save_every"),
    [
        (averaging, "none", 9, False, 2),
        (adam, "decay", 9, False, 2),
        (adam, "plateau", 14, False, None),  # in the epoch after the rate was reduced
        (adam, "plateau", 9, True, None),
        (adam, "early", 20, False, 1),
        (adam, "best", 9, False, 1),
        (averaging, "swap", 14, False, None),
        (adam, "warm-up", 14, False, None),
        (adam, "warm-up", 9, False, 2),
    ],
)
def test_averages_and_callbacks_go_on_exactly(tmp_path, optimizer, callbacks, after, politely, save_every):
    def train(name, *more):
        (tmp_path / name).mkdir(exist_ok=True)
        how = {"save_every": save_every, "callbacks": [CALLBACKS[callbacks](tmp_path / name), *more], "verbose": 0}
        model = plain_model(optimizer(), metrics=["accuracy"])
        return ksbp.training.fit(model, plain_batches(), 5, tmp_path / name / "checkpoint", **how), model

    curve, whole = train("whole")
    with nullcontext() if politely else pytest.raises(KeyboardInterrupt):
        train("resumed", Interrupt(after, politely))
    resumed_curve, resumed = train("resumed")
    assert resumed_curve == curve
    for a, b in zip(
        [*whole.get_weights(), *whole.optimizer.variables],
        [*resumed.get_weights(), *resumed.optimizer.variables],
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    files = [sorted(path.name for path in (tmp_path / name).glob("*.h5")) for name in ("whole", "resumed")]
    assert files[0] == files[1]


def test_callbacks_of_a_resumed_epoch_see_its_batches_and_one_training(tmp_path):
    class Record(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seen, self.beginnings = [], []

        def on_train_begin(self, logs=None):
            self.beginnings.append("training")

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_begin(self, batch, logs=None):
            self.seen.append((self.epoch, "begin", batch))

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append((self.epoch, "end", batch))

        def on_epoch_end(self, epoch, logs=None):
            self.seen.append((epoch, self.model.stop_training))

    def train(name, *callbacks):
        how = {"save_every": 2, "callbacks": callbacks, "verbose": 0, "validation_data": (np.ones((4, 4)), np.zeros(4))}
        ksbp.training.fit(plain_model("sgd"), plain_batches(), 3, tmp_path / name, **how)

    whole, resumed = Record(), Record()
    train("whole", whole)
    with pytest.raises(KeyboardInterrupt):
        train("resumed", Interrupt(9))
    train("resumed", resumed)
    assert resumed.seen == whole.seen[whole.seen.index((1, "begin", 2)) :]
    assert resumed.beginnings == ["training"]


def test_a_finished_training_called_again_has_the_averaged_weights(tmp_path):
    def train(epochs):
        model = plain_model(averaging())
        ksbp.training.fit(model, plain_batches(), epochs, tmp_path, verbose=0)
        return model

    for a, b in zip(train(2).get_weights(), train(2).get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_training_that_early_stopping_ended_goes_on_with_more_patience_only(tmp_path):
    def epochs(*callbacks):
        return len(ksbp.training.fit(plain_model("sgd"), plain_batches(), 6, tmp_path, callbacks=callbacks, verbose=0))

    def patience(patience):
        return keras.callbacks.EarlyStopping("loss", min_delta=10, patience=patience)

    assert [epochs(patience(1)), epochs(patience(1)), epochs(patience(3)), epochs()] == [2, 2, 4, 6]


def small_model():
    model = ksbp.models.spiking_vgg((4, 4, 1), 2, [(2, 3)], [], num_steps=3, seed=0)
    model.compile("sgd", ksbp.losses.SparseSumSquaredError(), metrics=["accuracy"])
    return model


def batches(seed=0, size=4):
    return ksbp.datasets.Batches(np.ones((8, 4, 4, 1), "float32"), np.zeros(8, "int32"), size, seed=seed)


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    ksbp.training.fit(small_model(), batches(), 1, tmp_path, verbose=0)
    with pytest.raises(ValueError, match="belongs to another training: .*'seed': 0.*'seed': 1"):
        ksbp.training.fit(small_model(), batches(seed=1), 2, tmp_path, verbose=0)


@pytest.mark.parametrize("other", [{"change": 1e-6}, {"reverse": True}], ids=["examples", "labels"])
def test_a_checkpoint_of_other_values_is_refused(tmp_path, other):
    ksbp.training.fit(plain_model("sgd"), plain_batches(), 1, tmp_path, verbose=0)
    with pytest.raises(ValueError, match="`batches` must have the data of the checkpoint"):
        ksbp.training.fit(plain_model("sgd"), plain_batches(**other), 2, tmp_path, verbose=0)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    ksbp.training.fit(plain_model("sgd"), plain_batches(), 1, tmp_path, verbose=0)
    with pytest.raises(ValueError, match=r"`model` must have the optimizer .*\['SGD', .* Received: .*\['Adam', "):
        ksbp.training.fit(plain_model("adam"), plain_batches(), 2, tmp_path, verbose=0)
    wider = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
    wider.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=r"`model` must have the weights .*\[4, 3\].* Received: .*\[4, 5\]"):
        ksbp.training.fit(wider, plain_batches(), 2, tmp_path, verbose=0)


def test_other_metrics_are_refused_in_the_middle_of_an_epoch_only(tmp_path):
    ksbp.training.fit(plain_model("sgd"), plain_batches(), 1, tmp_path, verbose=0)
    curve = ksbp.training.fit(plain_model("sgd", metrics=["accuracy"]), plain_batches(), 2, tmp_path, verbose=0)
    assert [set(logs) for logs in curve] == [{"loss"}, {"loss", "accuracy"}]
    how = {"epochs": 3, "folder": tmp_path, "verbose": 0}
    ksbp.training.fit(plain_model("sgd"), plain_batches(), callbacks=[Interrupt(2, politely=True)], **how)
    with pytest.raises(ValueError, match=r"`model` must have the metrics .*loss/total.* Received: .*accuracy/total"):
        ksbp.training.fit(plain_model("sgd", metrics=["accuracy"]), plain_batches(), **how)


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    ksbp.training.fit(plain_model("sgd"), plain_batches(), 1, tmp_path, verbose=0)
    (position,) = tmp_path.glob("*/position.json")
    state = json.loads(position.read_text())
    del state["format"]  # as before there was one
    position.write_text(json.dumps(state))
    with pytest.raises(ValueError, match="`folder` must have a checkpoint of this version of the library"):
        ksbp.training.fit(plain_model("sgd"), plain_batches(), 2, tmp_path, verbose=0)


def test_two_outputs_are_refused(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [keras.layers.Dense(3)(inputs), keras.layers.Dense(3)(inputs)])
    model.compile("sgd", ["mse", "mse"])
    with pytest.raises(ValueError, match="`model` must have one output, .* Received: a model with 2 outputs"):
        ksbp.training.fit(model, plain_batches(), 1, tmp_path)


def test_a_finished_training_is_not_trained_again(tmp_path):
    curve = ksbp.training.fit(small_model(), batches(), 2, tmp_path, verbose=0)
    model = small_model()
    before = model.get_weights()
    assert ksbp.training.fit(model, batches(), 2, tmp_path, verbose=0) == curve
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))  # the trained weights


def test_an_interrupted_save_leaves_the_last_one(tmp_path, monkeypatch):
    ksbp.training.fit(small_model(), batches(), 1, tmp_path, verbose=0)

    def fails(*args, **kwargs):
        raise OSError("no space left")

    model = small_model()
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save_weights", fails)
        with pytest.raises(OSError, match="no space"):
            ksbp.training.fit(model, batches(), 2, tmp_path, verbose=0)
    curve = ksbp.training.fit(small_model(), batches(), 2, tmp_path, verbose=0)
    assert len(curve) == 2


def test_an_epoch_that_a_callback_stopped_is_gone_on_with(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    stopped = small_model()
    assert ksbp.training.fit(stopped, batches(), 1, tmp_path / "a", callbacks=[Stop()], verbose=0) == []
    resumed, whole = small_model(), small_model()
    curve = ksbp.training.fit(resumed, batches(), 1, tmp_path / "a", verbose=0)
    assert curve == ksbp.training.fit(whole, batches(), 1, tmp_path / "b", verbose=0)
    for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nan_does_not_replace_a_good_checkpoint(tmp_path):
    good = small_model()
    ksbp.training.fit(good, batches(), 1, tmp_path, verbose=0)

    class Spoil(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.trainable_weights[-1].assign(np.nan * self.model.trainable_weights[-1])

    ksbp.training.fit(small_model(), batches(), 2, tmp_path, callbacks=[Spoil()], verbose=0)
    again = small_model()
    position = Checkpoint(tmp_path, batches()).restore(again, next(iter(batches().epoch(0))))
    assert position.epoch == 1
    for a, b in zip(again.get_weights(), good.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_that_broke_in_the_saved_step_do_not_replace_a_good_checkpoint(tmp_path):
    """The loss does not tell yet: it is of the weights before that step."""

    class Spoil(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 1:
                self.model.optimizer.learning_rate = np.inf

    model, data = small_model(), batches(size=2)
    ksbp.training.fit(model, data, 1, tmp_path, save_every=1, callbacks=[Spoil()], verbose=0)
    assert not all(np.isfinite(w).all() for w in model.get_weights())
    position = Checkpoint(tmp_path, data).restore(small_model(), next(iter(data.epoch(0))))
    assert (position.epoch, position.batch) == (0, 1)


def test_a_model_that_a_callback_stopped_trains_again(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    model = small_model()
    assert len(ksbp.training.fit(model, batches(), 3, tmp_path, callbacks=[Stop()], verbose=0)) == 1
    assert len(ksbp.training.fit(model, batches(), 3, tmp_path, verbose=0)) == 3


def test_the_same_place_saved_twice_is_never_without_a_checkpoint(tmp_path, monkeypatch):
    model = small_model()
    ksbp.training.fit(model, batches(), 1, tmp_path, verbose=0)
    checkpoint = Checkpoint(tmp_path, batches())
    position = checkpoint.restore(model, next(iter(batches().epoch(0))))
    rename, seen = Path.rename, []

    def watched(path, target):
        seen.append(len(checkpoint._finished()))
        rename(path, target)
        seen.append(len(checkpoint._finished()))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", watched)
        checkpoint.save(model, position)
    assert seen and min(seen) >= 1
    assert len(checkpoint._finished()) == 1 and len(list(tmp_path.iterdir())) == 1


def test_a_save_that_was_killed_in_its_cleaning_up_is_restored(tmp_path, monkeypatch):
    """The last save is whole, the one before half removed."""
    model = small_model()
    ksbp.training.fit(model, batches(), 1, tmp_path, verbose=0)
    checkpoint = Checkpoint(tmp_path, batches())
    position = checkpoint.restore(model, next(iter(batches().epoch(0))))

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
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_several_steps_in_one_execution_are_refused(tmp_path):
    model = small_model()
    model.compile("sgd", ksbp.losses.SparseSumSquaredError(), steps_per_execution=2)
    with pytest.raises(ValueError, match="steps_per_execution=1.*Received: 2"):
        ksbp.training.fit(model, batches(), 1, tmp_path)


def test_a_dataset_is_refused(tmp_path):
    with pytest.raises(TypeError, match="`batches` must be keras_spiking_bp.datasets.Batches"):
        ksbp.training.fit(small_model(), batches().epoch(0), 1, tmp_path)


@pytest.mark.parametrize("argument", ["epochs", "save_every"])
def test_bad_numbers(tmp_path, argument):
    with pytest.raises(ValueError, match=f"`{argument}` must be an integer of at least 1"):
        ksbp.training.fit(small_model(), batches(), **{"epochs": 1, "folder": tmp_path, argument: 0})


def test_an_uncompiled_model(tmp_path):
    model = ksbp.models.spiking_vgg((4, 4, 1), 2, [(2, 3)], [], num_steps=3)
    with pytest.raises(ValueError, match=r"model.compile\("):
        ksbp.training.fit(model, batches(), 1, tmp_path)
