"""examples/reproduce.py on a few made-up images."""

import csv
import json
import shutil
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from examples import reproduce
from examples.report import command, wilson_interval
from keras_spiking_bp.recipes import Recipe
from tests.networks import made_up_images

FILES = ["checkpoint", "curve.csv", "model.keras", "recipe.json", "report.json", "tensorboard"]


def run(output, *arguments, epochs=2):
    return reproduce.main(
        f"--network lenet --dataset mnist --epochs {epochs} --num-steps 5 --test-steps 4 --batch-size 8 "
        f"--dropout 0.1 --kappa 8 --verbose 0 --output {output}".split()
        + list(arguments)
    )


def rows_of(output):
    return list(csv.DictReader((output / "curve.csv").open()))


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A training of two epochs: its folder and its report."""
    folder = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ksbp.datasets, "load_images", lambda name, data_dir=None: made_up_images())
        return folder, run(folder)


@pytest.fixture
def finished(once, few_images, tmp_path):
    """A copy of that."""
    folder, report = once
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return report


@pytest.mark.parametrize(("right", "samples", "low", "high"), [(95, 100, 0.8882, 0.9785), (10, 10, 0.7225, 1.0)])
def test_the_interval_of_an_accuracy(right, samples, low, high):
    """Its ends solve |accuracy - p| = 1.96 sqrt(p (1 - p) / samples)."""
    interval = wilson_interval(right / samples, samples)
    assert interval == pytest.approx([low, high], abs=5e-5)
    for p in interval:
        assert abs(right / samples - p) == pytest.approx(1.96 * np.sqrt(p * (1 - p) / samples), abs=1e-9)


def test_it_trains_and_reports_and_goes_on(finished, tmp_path):
    report = finished
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(report))
    assert report["recipe"]["num_steps"] == 5 and report["recipe"]["dropout"] == 0.1
    assert report["data"] == {"name": "mnist", "training_samples": 24, "tested_on": "test set", "note": ""}
    assert report["test"]["samples"] == 10
    assert report["test"]["interval_95"] == wilson_interval(report["test"]["accuracy"], 10)
    assert report["test"]["spikes_per_sample"].keys() == report["test"]["spikes_per_neuron"].keys() != set()
    model = keras.saving.load_model(tmp_path / "model.keras")
    done = ksbp.analysis.run(model, made_up_images().test_batches(200), verbose=0)
    neurons = sum(done.neurons[layer] for layer in report["test"]["spikes_per_sample"])
    spikes = sum(report["test"]["spikes_per_sample"].values())
    assert report["test"]["firing_rate"] == pytest.approx(spikes / neurons / 4) and spikes > 0
    counted = ksbp.analysis.operations(done).rows[-1]
    assert report["test"]["operations_per_sample"].items() <= counted.items()
    assert report["machine"]["strategy"] == "one" and report["machine"]["devices"] == 1
    rows = rows_of(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert set(rows[0]) == {"epoch", "accuracy", "loss", "learning_rate", "seconds"}
    assert report["curve"] == rows
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])

    assert run(tmp_path) == report  # nothing is left to train
    assert rows_of(tmp_path) == rows

    with pytest.raises(SystemExit, match="another recipe: epochs 2 -> 3"):
        run(tmp_path, epochs=3)


@pytest.mark.slow
def test_a_restart_prolongs_a_training(finished, tmp_path):
    before = rows_of(tmp_path)
    for restart in ("1", "3"):  # within the finished epochs, or after epochs that were not trained
        with pytest.raises(SystemExit, match=f"another recipe: epochs 2 -> 4, restart \\[\\] -> \\[{restart}\\]"):
            run(tmp_path, "--restart", restart, epochs=4)
    prolonged = run(tmp_path, "--restart", "2", epochs=4)
    assert rows_of(tmp_path)[:2] == before and len(rows_of(tmp_path)) == 4
    at_once = run(tmp_path / "at_once", "--restart", "2", epochs=4)
    assert at_once["test"] == prolonged["test"] and at_once["recipe"] == prolonged["recipe"]
    rates = [float(row["learning_rate"]) for row in prolonged["curve"]]  # of the step after each epoch
    assert rates == [pytest.approx(0.001), 0.0, pytest.approx(0.001), 0.0]
    for row, other in zip(prolonged["curve"], at_once["curve"], strict=True):
        assert (row["loss"], row["accuracy"]) == (other["loss"], other["accuracy"])
    with pytest.raises(SystemExit, match=r"another recipe: epochs 4 -> 6, restart \[2\] -> \[4\]"):
        run(tmp_path, "--restart", "4", epochs=6)  # its first restart was after epoch 2
    twice = run(tmp_path, "--restart", "2", "4", epochs=6)
    assert len(rows_of(tmp_path)) == 6 and twice["curve"][:4] == prolonged["curve"]


@pytest.mark.slow
def test_more_epochs_prolong_a_training_whose_learning_rate_does_not_depend_on_them(few_images, tmp_path):
    paper = ["--recipe", "paper", "--gradient", "accumulated"]
    first = run(tmp_path, *paper, epochs=1)
    second = run(tmp_path, *paper, epochs=2)
    assert second["curve"][0] == first["curve"][0] and second["recipe"]["epochs"] == len(second["curve"]) == 2
    with pytest.raises(SystemExit, match="another recipe: epochs 2 -> 1"):
        run(tmp_path, *paper, epochs=1)


@pytest.mark.slow
def test_statistics_are_taken_anew_before_the_test(few_images, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "take_statistics", lambda model, batches: None)
    how = ["--normalization", "batch", "--encoder", "constant"]
    moving = run(tmp_path, *how, epochs=1)["test"]
    assert moving.pop("accuracy_with_moving_statistics") == moving["accuracy"]
    before = keras.saving.load_model(tmp_path / "model.keras").get_weights()
    monkeypatch.undo()
    monkeypatch.setattr(ksbp.datasets, "load_images", lambda name, data_dir=None: made_up_images())

    again = run(tmp_path, *how, epochs=1)["test"]
    assert again["accuracy_with_moving_statistics"] == moving["accuracy"]
    model = keras.saving.load_model(tmp_path / "model.keras")
    changed = {v.name for v, old in zip(model.weights, before, strict=True) if not np.array_equal(v, old)}
    assert changed == {"moving_mean", "moving_variance"}
    assert reproduce.test(model, made_up_images().test_batches(200)).items() <= again.items()  # the tested network
    convolution, norm = model.get_layer("time").cell.cells[0].synapse.layers
    images = np.concatenate([x for x, _ in made_up_images().batches(8, True, 0).epoch(0)])
    currents = convolution(0.5 * images).numpy()  # at each step; the factor is that of the encoder
    np.testing.assert_allclose(norm.moving_mean, currents.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, currents.var((0, 1, 2)), rtol=1e-3)

    def of_network(num_steps):
        fields = json.loads((tmp_path / "report.json").read_text())["recipe"]
        other = Recipe.from_dict(fields).build(images.shape[1:], 10, num_steps, seed=0)
        other.set_weights(model.get_weights())
        ksbp.training.update_statistics(other, images)
        return other.get_layer("time").cell.cells[2].synapse.layers[1].moving_mean

    saved = model.get_layer("time").cell.cells[2].synapse.layers[1].moving_mean
    np.testing.assert_allclose(of_network(4), saved, rtol=1e-4, atol=1e-5)  # the steps of the test
    assert np.abs(of_network(5) - saved).max() > 1e-3


class StopInSecondEpoch(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 1):
            self.model.stop_training = True


@pytest.mark.slow
def test_a_stopped_training_is_gone_on_with_and_its_time_counts(few_images, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ksbp.callbacks, "Health", lambda *args, **kwargs: StopInSecondEpoch())
        with pytest.raises(SystemExit, match="stopped after 1 of 2 epochs"):
            run(tmp_path)
    assert not (tmp_path / "report.json").exists() and [row["epoch"] for row in rows_of(tmp_path)] == ["1"]
    ((epoch, seconds),) = json.loads((tmp_path / "seconds.json").read_text()).items()
    assert epoch == "1" and 0 < seconds < 500
    (tmp_path / "seconds.json").write_text(json.dumps({"1": 1000.0}))
    report = run(tmp_path)
    assert [row["epoch"] for row in report["curve"]] == ["1", "2"]
    assert 1000 < float(report["curve"][1]["seconds"]) < 1500 and report["training_seconds"] > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


@pytest.mark.slow
def test_a_training_that_broke_down_is_not_reported(few_images, tmp_path):
    with pytest.raises(SystemExit, match="The training broke down"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(tmp_path, "--learning-rate", "1e30", "--strategy", "mirrored", "--gradient", "bptt")
    assert not (tmp_path / "report.json").exists()


def test_a_recipe_written_before_an_option_was_there(finished, tmp_path):
    written = json.loads((tmp_path / "recipe.json").read_text())
    del written["initial_membrane"]
    (tmp_path / "recipe.json").write_text(json.dumps(written))
    run(tmp_path)
    with pytest.raises(SystemExit, match=r"initial_membrane 0\.0 -> 0\.5"):
        run(tmp_path, "--initial-membrane", "0.5")


def test_options_of_the_recipe_and_the_validation_split(few_images, tmp_path, monkeypatch):
    options = "--firing-rate 0.1 --encoder constant --augment --weight-decay 0 --momentum 0.5 --validation 6"
    trained, augmented, fit, of = [], [], ksbp.training.fit, ksbp.datasets.ImageSet.batches

    class Seen(Exception):
        pass

    def spy(model, *args, **kwargs):
        trained.append(model)
        return fit(model, *args, **kwargs)

    def spy_on_batches(self, batch_size, augment, seed):
        augmented.append(augment)
        if len(augmented) == 2:
            raise Seen  # the second training would show nothing more
        return of(self, batch_size, augment, seed)

    monkeypatch.setattr(ksbp.training, "fit", spy)
    monkeypatch.setattr(ksbp.datasets.ImageSet, "batches", spy_on_batches)
    report = run(tmp_path, *options.split(), "--data-note", "made up", epochs=1)
    with pytest.raises(Seen):
        run(tmp_path / "other", "--no-augment", epochs=1)
    assert augmented == [True, False]
    model = trained[0]
    assert type(model.layers[1]) is ksbp.ConstantEncoder and model.optimizer.momentum == 0.5
    assert not model.optimizer.weight_decay
    changed = {
        name: report["recipe"][name] for name in ("firing_rate", "encoder", "augment", "weight_decay", "momentum")
    }
    assert changed == {
        "firing_rate": 0.1, "encoder": "constant", "augment": True, "weight_decay": 0.0, "momentum": 0.5
    }  # fmt: skip
    assert report["test"]["samples"] == 6
    assert report["data"] == {
        "name": "mnist",
        "training_samples": 18,
        "tested_on": "6 samples of the training set",
        "note": "made up",
    }


@pytest.mark.parametrize("option", ["--pooling nearest", "--threshold -1", "--batch-size 99999"])
def test_options_that_cannot_be_trained_with_leave_no_recipe(few_images, tmp_path, option):
    with pytest.raises(ValueError, match=option.split()[0][2:].replace("-", "_")):
        run(tmp_path, *option.split())
    assert not (tmp_path / "recipe.json").exists()


def test_a_surrogate_or_none():
    for options, expected in (("", "triangle"), ("--surrogate none", None), ("--surrogate atan", "atan")):
        asked = reproduce.parse(f"--network resnet20 --dataset cifar10 {options}".split())
        assert reproduce.recipe_of(asked).surrogate == expected


def test_another_optimizer_has_no_momentum_unless_asked_for():
    def momentum(options):
        return reproduce.recipe_of(reproduce.parse(f"--network lenet --dataset mnist {options}".split())).momentum

    assert momentum("") == momentum("--optimizer sgd") == 0.9 and momentum("--optimizer adam") == 0.0
    with pytest.raises(ValueError, match="`momentum` needs optimizer='sgd'. Received: momentum=0.5"):
        momentum("--optimizer adam --momentum 0.5")


@pytest.mark.slow
def test_mirrored(once, few_images, tmp_path):
    _, one = once
    mirrored = run(tmp_path, "--strategy", "mirrored")
    assert mirrored["machine"]["strategy"] == "mirrored"
    if mirrored["machine"]["devices"] == 1:
        assert mirrored["test"] == one["test"]


def test_workers_that_are_not_the_chief_report_nothing(few_images, tmp_path, monkeypatch):
    monkeypatch.setattr(type(tf.distribute.get_strategy().extended), "should_checkpoint", False)
    assert run(tmp_path, epochs=1) == {}
    assert not list(tmp_path.iterdir())


def test_the_command_of_the_report_names_no_folder():
    given = ["--network", "lenet", "--data-dir", "/home/me", "--output", "/tmp", "--verbose", "2", "--data-note", "a b"]
    assert command(given, "examples.reproduce") == (
        "python -m examples.reproduce --network lenet --data-dir FOLDER --data-note 'a b'"
    )
    assert command(["--output=/tmp", "--data-dir=/home/me", "--epochs=3"], "examples.reproduce") == (
        "python -m examples.reproduce --data-dir FOLDER --epochs 3"
    )
