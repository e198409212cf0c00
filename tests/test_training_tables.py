"""The tables of docs/training.md are those of the kept reports; short trainings fill theirs."""

import json
import re

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from examples import deep_residual, half_width, rounding, training_tables
from examples.short_trainings import ShortTrainings
from tests.pages import ROOT


def test_the_page_has_the_tables_of_the_reports():
    page = (ROOT / "docs/training.md").read_text()
    assert training_tables.page_text(page) == page
    for name, surrogate in (("accumulated", None), ("bounded", "bounded"), ("rate_penalty", "bounded")):
        report = json.loads((ROOT / f"docs/training/few_steps/{name}.json").read_text())
        rate = report["test"]["spikes_per_sample"]["conv1"] / (28 * 28 * 20) / 8
        assert f"| {100 * report['test']['accuracy']:.1f} % | {rate:.2f}, " in page
        recipe = report["recipe"]
        assert (recipe["epochs"], recipe["test_steps"], recipe["surrogate"]) == (1, 8, surrogate)
        assert report["data"]["tested_on"] == "5000 samples of the training set"


@pytest.mark.parametrize("example", [half_width, deep_residual, rounding])
def test_the_page_has_the_rows_of_short_trainings(example):
    lines = (ROOT / "docs/training.md").read_text().splitlines()
    report = json.loads((ROOT / f"docs/training/{example.__name__.split('.')[-1]}.json").read_text())
    assert {row["options"]: row["network"] for row in report} == example.TABLE
    for row in report:
        (line,) = (line for line in lines if line.startswith(f"| {row['network']} | `{row['options']}` |"))
        shown = [float(number) for number in line.split("|")[3].replace("%", "").split(",")]
        assert shown == pytest.approx([100 * training["accuracy"] for training in row["trainings"]], abs=0.0501)


def test_the_table_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    done = []

    def trained(self, args):
        if len(done) == 3:
            done.append(None)
            raise KeyboardInterrupt
        done.append((args.seeds, args.data_dir, args.verbose))
        return {"accuracy": 0.5}

    monkeypatch.setattr(ShortTrainings, "measure", trained)
    with pytest.raises(KeyboardInterrupt):
        half_width.TRAININGS.fill(tmp_path / "table.json", "data", 0)
    half_width.TRAININGS.fill(tmp_path / "table.json", "data", 0)
    rows = json.loads((tmp_path / "table.json").read_text())
    assert [row["options"] for row in rows] == list(half_width.TABLE) and rows[-1]["accuracy"] == 0.5
    assert done[0] == (3, "data", 0) and len(done) == len(rows) + 1


def test_the_table_takes_no_options_of_its_rows(tmp_path, capsys):
    with pytest.raises(SystemExit):
        half_width.main(["--table", str(tmp_path / "table.json"), "--seeds", "2"])
    assert "--table has the options of its rows" in capsys.readouterr().err


@pytest.mark.parametrize("example", [half_width, deep_residual, rounding])
def test_the_options_of_all_rows_are_known(example):
    for options in example.TABLE:
        example.TRAININGS.parse(options.split())


@pytest.mark.slow
def test_the_deep_networks_have_the_layers_that_the_page_names():
    page = (ROOT / "docs/training.md").read_text()
    shallow, deep = map(
        int, re.search(r"has (\d+) layers with weights, or (\d+) layers with `--blocks 6`", page).groups()
    )
    for options, layers in (("--residual current", shallow), ("", shallow), ("--blocks 6", deep)):
        model = deep_residual.network(deep_residual.TRAININGS.parse(options.split()), seed=0)
        assert sum(len(weight.shape) > 1 for weight in model.trainable_weights) == layers
    named = ksbp.models.spiking_resnet20(num_steps=4, normalization="batch", pooling="average", preset="paper")
    model = deep_residual.network(deep_residual.TRAININGS.parse([]), seed=0)
    assert [w.shape for w in named.trainable_weights] == [w.shape for w in model.trainable_weights]


@pytest.mark.parametrize("arguments, message", [
    (["--blocks", "0"], "argument --blocks: must be at least 1. Received: 0"),
    (["--seeds", "0"], "argument --seeds: must be at least 1. Received: 0"),
    (["--residual", "sum"], "argument --residual: invalid choice"),
])  # fmt: skip
def test_bad_options(arguments, message, capsys):
    with pytest.raises(SystemExit):
        deep_residual.main(arguments)
    assert message in capsys.readouterr().err


def test_layers_on_sequences_have_no_ann():
    for option in ("--ann", "--rounded"):
        with pytest.raises(SystemExit, match="--ann and --rounded are of cells: --residual current or spikes"):
            deep_residual.network(deep_residual.TRAININGS.parse(["--residual", "sequences", option]), seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("options", ["", "--ann", "--rounded", "--residual sequences", "--shift 2"])
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
    if options in ("", "--shift 2"):  # cells, which `analysis` counts
        assert 0 < first["firing_rate"] < 1 and first["accumulates"] > 0
        assert first["macs"] == pytest.approx(2 * 32 * 94**2 * 3, rel=0.01)  # 2 steps, 3x3 windows padded with zeros


def test_layers_on_sequences_are_the_same_network():
    """With the same weights and moving statistics, the outputs of both are equal; they start alike."""
    options = ["--blocks", "1", "--gradient", "bptt", "--surrogate", "atan", "--policy", "float32"]
    cells = deep_residual.network(deep_residual.TRAININGS.parse(options), seed=0)
    layers = deep_residual.network(deep_residual.TRAININGS.parse([*options, "--residual", "sequences"]), seed=0)
    assert layers.count_params() == cells.count_params()

    def weighted(model):  # in the order in which they were made
        kinds = (keras.layers.Conv2D, keras.layers.BatchNormalization, keras.layers.Dense)
        return [
            sorted((part for part in model._flatten_layers() if isinstance(part, kind)), key=number_of)
            for kind in kinds
        ]

    def number_of(layer):
        return int(layer.name.rpartition("_")[2]) if layer.name[-1].isdigit() and "_" in layer.name else 0

    rng = np.random.default_rng(0)
    for ours, theirs in zip(weighted(cells), weighted(layers), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.compute_dtype == other.compute_dtype
            if hasattr(one, "kernel"):
                np.testing.assert_array_equal(other.kernel, one.kernel)
            if isinstance(one, keras.layers.BatchNormalization):
                one.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in one.weights])
            other.set_weights(one.get_weights())
    images = rng.normal(size=(2, 32, 32, 3)).astype("float32")
    outputs = cells.predict(images, verbose=0)
    assert np.abs(outputs).max() > 0.01
    np.testing.assert_allclose(layers.predict(images, verbose=0), outputs, atol=1e-4)
