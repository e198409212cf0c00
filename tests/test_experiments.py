"""Trainings and studies of the documentation, on a few made-up images: their reports, and how they resume."""

import csv
import dataclasses
import json
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from examples.experiments import (
    compare,
    deep_residual,
    reproduce,
    rounding,
)
from examples.experiments.recipes import recipe
from examples.experiments.report import command, wilson_interval
from examples.experiments.rounded import RoundedReLU, rounded_counterpart
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


@pytest.mark.slow
def test_it_trains_and_reports_and_goes_on(few_images, tmp_path):
    report = run(tmp_path)
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
def test_statistics_are_taken_anew_for_other_steps_in_the_test(few_images, tmp_path):
    how = ["--preset", "deep"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproduce, "take_statistics", lambda *args: pytest.fail("the steps are the same"))
        run(tmp_path / "same", *how, "--test-steps", "5", epochs=1)
    run(tmp_path / "other", *how, epochs=1)
    model = keras.saving.load_model(tmp_path / "other/model.keras")
    convolution, norm = model.get_layer("time").cell.cells[0].synapse.layers
    images = np.concatenate([x for x, _ in made_up_images().batches(8, True, 0).epoch(0)])
    currents = convolution(images).numpy()  # at each step
    np.testing.assert_allclose(norm.moving_mean, currents.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, currents.var((0, 1, 2)), rtol=1e-3)


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


@pytest.mark.slow
def test_a_network_begins_with_the_weights_of_its_ann(few_images, tmp_path):
    ann = run(tmp_path / "ann", "--recipe", "deep", "--ann", epochs=1)
    start = ["--start", str(tmp_path / "ann/model.keras"), "--learning-rate", "0"]
    report = run(tmp_path / "spiking", "--recipe", "deep", *start, epochs=1)
    distilled = run(tmp_path / "distilled", "--recipe", "deep", *start, "--distill", epochs=1)
    assert distilled["test"] == report["test"] and distilled["curve"][0]["loss"] != report["curve"][0]["loss"]
    assert ann["ann"] and not report["ann"] and "spikes_per_neuron" not in ann["test"]
    assert report["start"] == {key: ann[key] for key in report["start"]} and "--start MODEL" in report["command"]
    before, after = (keras.saving.load_model(tmp_path / name / "model.keras") for name in ("ann", "spiking"))
    images, labels = made_up_images().test
    outputs = before.predict(made_up_images().normalised(images), verbose=0)
    assert ann["test"]["accuracy"] == (outputs.argmax(-1) == labels).mean() and ann["test"]["samples"] == len(labels)
    kernels = [[w for w in model.get_weights() if w.ndim > 1] for model in (before, after)]
    for one, other in zip(*kernels, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_validation_split_is_no_test_set(few_images, tmp_path):
    options = ["--validation", "6", "--data-note", "made up", "--momentum", "0.5"]
    report = run(tmp_path, *options, epochs=1)
    assert report["recipe"]["momentum"] == 0.5
    tested_on = "6 samples of the training set"
    assert report["data"] == {"name": "mnist", "training_samples": 18, "tested_on": tested_on, "note": "made up"}
    assert report["test"]["samples"] == 6


def test_the_command_of_the_report_names_no_folder():
    given = ["--network", "lenet", "--data-dir", "/home/me", "--output", "/tmp", "--verbose", "2", "--data-note", "a b"]
    assert command(given, "examples.experiments.reproduce") == (
        "python -m examples.experiments.reproduce --network lenet --data-dir FOLDER --data-note 'a b'"
    )
    assert command(["--output=/tmp", "--data-dir=/home/me", "--epochs=3"], "examples.experiments.reproduce") == (
        "python -m examples.experiments.reproduce --data-dir FOLDER --epochs 3"
    )


@pytest.mark.slow
def test_the_comparison_has_all_networks_and_goes_on(few_images, tmp_path, monkeypatch):
    chosen = dataclasses.replace(
        recipe("lenet", "mnist"), loss="cross_entropy", epochs=1, batch_size=8, test_steps=4, kappa=8
    )
    direct = chosen.build((12, 12, 1), 10, chosen.test_steps, seed=0)
    card = {"recipe": {"kappa": 8}, "trained_by": "", "mean": (0.5,), "scale": (2.0,)}
    monkeypatch.setattr(compare, "packaged", lambda args: (direct, card))
    monkeypatch.setattr(compare, "recipe", lambda *pair: chosen)
    small = {"ANN_RECIPE": {"epochs": 1, "batch_size": 8}, "HYBRID_STEPS": 3, "HYBRID_BATCH_SIZE": 8}
    for name, value in small.items():
        monkeypatch.setattr(compare, name, value)
    options = f"--converted-steps 6 --samples 8 --batch-size 4 --verbose 0 --output {tmp_path}".split()
    report = compare.main(options)
    full = {row["network"]: row for row in report["rows"] if row["at"] == "full length"}
    assert list(full) == ["ANN", "converted", "direct", "hybrid"]
    assert [full[name]["steps"] for name in full] == [1, 6, 4, 3]
    assert report["samples"] == 8 and report["direct_recipe"]["kappa"] == 8
    assert len(report["curves"]["converted"]) == 6 and len(report["early_exit"]["direct"]) == 5
    assert str(tmp_path) not in report["command"]
    assert json.loads((tmp_path / "comparison.json").read_text()) == json.loads(json.dumps(report))
    assert (tmp_path / "comparison.png").stat().st_size > 10_000
    again = {row["network"]: row for row in compare.main(options)["rows"] if row["at"] == "full length"}
    for name in ("ANN", "converted", "hybrid"):  # nothing is trained anew, nothing random is in them
        assert again[name] == full[name]
    with pytest.raises(SystemExit, match="hybrid.keras was made with other settings"):
        compare.main([*options, "--initial-membrane", "0.25"])


@pytest.mark.parametrize("num_steps, threshold, initial_membrane", [(4, 2.0, 0.5), (5, 0.75, 0.25)])
def test_a_rounded_relu_is_the_rate_of_neurons_with_a_constant_current(num_steps, threshold, initial_membrane):
    currents = np.random.default_rng(0).uniform(-1.5, 1.5, (50, 40)).astype("float32") * threshold
    currents[0, :3] = [0.0, threshold / 2, threshold]  # exactly on a bound
    cell = ksbp.LIFCell(
        keras.layers.Identity(),
        beta=1.0,
        threshold=threshold,
        initial_membrane=initial_membrane,
        reset_mechanism="subtract",
        surrogate="bounded",
    )
    spiking = ksbp.SpikingRNN(cell)
    rounded = RoundedReLU(num_steps, threshold, initial_membrane)
    rates, slopes = [], []
    for layer in (lambda x: spiking(tf.repeat(x[:, None], num_steps, 1), training=True), rounded):
        x = tf.Variable(currents)
        with tf.GradientTape() as tape:
            rate = layer(x)
        rates.append(rate.numpy())
        slopes.append(tape.gradient(rate, x).numpy())
    assert len(np.unique(rates[0])) == num_steps + 1
    assert 0.2 < np.mean(slopes[0] > 0) < 0.5
    np.testing.assert_allclose(rates[1], rates[0], atol=1e-6)
    np.testing.assert_allclose(slopes[1], slopes[0], atol=1e-6)


def test_the_rounded_network_has_the_weights_and_one_rounding_for_each_layer_of_neurons():
    model = deep_residual.network(rounding.TRAININGS.parse(["--blocks", "1"]), seed=0)
    rounded = rounded_counterpart(model, num_steps=4, threshold=2.0, initial_membrane=0.5)
    ann = ksbp.ann_counterpart(model)
    neurons = [neuron for neuron in model.layers[-1].cell.neurons() if isinstance(neuron, ksbp.LIFCell)]
    layers = [layer for layer in rounded.layers if isinstance(layer, RoundedReLU)]
    assert len(layers) == len(neurons) == 9  # a stem, two in each of three blocks, two on shortcuts
    assert not any(isinstance(layer, keras.layers.ReLU) for layer in rounded.layers)
    for mine, of_ann in zip(rounded.get_weights(), ann.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, of_ann)


@pytest.mark.slow
@pytest.mark.parametrize("options", ["--shift 2", "--ann", "--rounded"])
def test_a_short_training(options, monkeypatch):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 32, 32, 3), "uint8"), np.arange(40, dtype="int32") % 10
    data = ksbp.datasets.ImageSet("cifar10", (images, labels), (images, labels), (0.5,) * 3, (0.25,) * 3, 10)
    monkeypatch.setattr(ksbp.datasets, "load_images", lambda name, folder: data)
    common = "--blocks 1 --images 32 --test-images 20 --epochs 1 --num-steps 2 --batch-size 8 --seeds 2 --verbose 0"
    if "--ann" in options:
        common = common.replace("--num-steps 2 ", "")
    report = deep_residual.TRAININGS.measure(deep_residual.TRAININGS.parse([*options.split(), *common.split()]))
    first, second = report["trainings"]
    assert (first["seed"], second["seed"]) == (0, 1)
    assert report["accuracy"] == pytest.approx((first["accuracy"] + second["accuracy"]) / 2)
    assert 0 <= first["training_accuracy"] <= 1
    if options == "--shift 2":
        assert 0 < first["firing_rate"] < 1 and first["accumulates"] > 0
        assert first["macs"] == pytest.approx(2 * 32 * 94**2 * 3, rel=0.01)  # 2 steps, 3x3 windows padded with zeros
