"""examples/compare.py and the examples on conversion on a few made-up images."""

import json

import numpy as np
import pytest

import keras_spiking_bp as ksbp
from examples import compare, comparison_section, conversion_page, convert, convert_applications, few_steps, reproduce
from examples.report import wilson_interval
from examples.training import trained


@pytest.mark.slow
def test_the_comparison_has_all_networks_and_goes_on(few_images, tmp_path):
    options = (
        "--network lenet --dataset mnist --ann-epochs 1 --ann-batch-size 8 --converted-steps 6 --hybrid-steps 3 "
        "--hybrid-batch-size 8 --samples 8 --batch-size 4 --verbose 0 --data-note few "
        f"--direct {tmp_path}/direct/model.keras --output {tmp_path}"
    ).split()
    reproduce.main(
        f"--network lenet --dataset mnist --epochs 1 --num-steps 5 --test-steps 4 --batch-size 8 --kappa 8 --verbose 0 "
        f"--output {tmp_path}/direct".split()
    )
    report = compare.main(options)
    full = {row["network"]: row for row in report["rows"] if row["at"] == "full length"}
    assert list(full) == ["ANN", "converted", "direct", "hybrid"]
    assert [full[name]["steps"] for name in full] == [1, 6, 4, 3]
    assert report["samples"] == 8 and report["note"] == "few" and report["direct_recipe"]["kappa"] == 8
    assert len(report["curves"]["converted"]) == 6 and len(report["early_exit"]["direct"]) == 5
    assert "--direct MODEL" in report["command"] and str(tmp_path) not in report["command"]
    assert json.loads((tmp_path / "comparison.json").read_text()) == json.loads(json.dumps(report))
    assert (tmp_path / "comparison.png").stat().st_size > 10_000
    again = {row["network"]: row for row in compare.main(options)["rows"] if row["at"] == "full length"}
    for name in ("ANN", "converted", "hybrid"):  # nothing is trained anew, nothing random is in them
        assert again[name] == full[name]
    with pytest.raises(SystemExit, match="ann.keras was made with other settings"):
        compare.main([*options, "--ann-epochs", "2"])
    with pytest.raises(SystemExit, match="report.json is of lenet on mnist, not of vgg7 on mnist"):
        compare.main([*options, "--network", "vgg7"])
    with pytest.raises(SystemExit):
        compare.main(["--direct", str(tmp_path / "nowhere.keras"), "--output", str(tmp_path)])


@pytest.mark.slow
def test_the_ann_is_trained_by_the_recipe_of_logits_and_tests_are_kept(few_images, tmp_path, monkeypatch):
    reproduce.main(
        "--network lenet --dataset mnist --epochs 2 --num-steps 3 --test-steps 3 --batch-size 8 --kappa 8 --verbose 0 "
        "--loss cross_entropy --label-smoothing 0.1 --optimizer adam --weight-decay 0.01 "
        f"--output {tmp_path}/direct".split()
    )
    options = (
        "--network lenet --dataset mnist --converted-steps 4 --hybrid-steps 3 --hybrid-augment --direct-steps 5 "
        "--hybrid-batch-size 8 "
        "--initial-membrane 0.5 --calibrate-biases --samples 8 --batch-size 4 --verbose 0 "
        f"--direct {tmp_path}/direct/model.keras --output {tmp_path}"
    ).split()
    finished = ksbp.analysis.compare
    with monkeypatch.context() as patch:
        patch.setattr(ksbp.analysis, "compare", None)  # cut off there
        with pytest.raises(TypeError):
            compare.main(options)
    monkeypatch.setattr(ksbp.analysis, "run", None)  # nothing is tested anew
    assert ksbp.analysis.compare is finished
    report = compare.main(options)
    own = report["ann_recipe"]
    assert (own["epochs"], own["label_smoothing"], own["weight_decay"]) == (2, 0.1, 0.01) and own["batch_size"] == 8
    assert [len(report["curves"][name]) for name in ("converted", "direct", "hybrid")] == [4, 5, 3]
    assert not list(tmp_path.glob("*.run"))
    assert "The ANN was trained for 2 epochs (adam" in "\n".join(comparison_section.lines(report, ""))


def test_the_comparison_takes_the_weights_of_the_package(few_images, tmp_path, capsys):
    args = compare.parse(["--packaged", "--direct-steps", "3", "--output", str(tmp_path)])
    model, chosen = compare.packaged(args)
    expected = ksbp.models.spiking_lenet(weights="mnist", num_steps=3)
    assert model.get_layer("time").input.shape[1] == 3 and chosen.test_steps == 100
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(SystemExit):
        compare.parse(["--network", "vgg7", "--packaged"])
    assert "the package has no weights of vgg7 on mnist" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        compare.parse(["--packaged", "--direct", __file__])
    assert "the network of the package, or --direct another one" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        compare.parse(["--direct-report", __file__])
    assert "must be given too" in capsys.readouterr().err


def test_settings_that_nothing_can_be_trained_with_are_not_kept(few_images, tmp_path):
    data = ksbp.datasets.load_images("mnist")
    ann = convert.lenet(data.input_shape, data.classes)
    with pytest.raises(ValueError, match="`batch_size` must be at most the number of examples, 24"):
        trained(ann, data, 1, tmp_path / "ann.keras", batch_size=25)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("network", ["lenet", "vgg_bn"])
def test_conversion_curves(few_images, tmp_path, network):
    options = f"--network {network} --epochs 1 --batch-size 8 --num-steps 4 --hybrid-steps 3 --samples 6 --verbose 0"
    report = convert.main([*options.split(), "--output", str(tmp_path)])
    *names, hybrid = report["curves"]
    assert names == list(convert.METHODS) and hybrid.endswith("then trained for 3 steps")
    assert [len(rows) for rows in report["curves"].values()] == [4, 4, 4, 3]
    assert json.loads((tmp_path / f"{network}-mnist.json").read_text()) == report


@pytest.mark.slow
def test_few_steps(few_images, tmp_path):
    options = "--network vgg_bn --steps 2 3 --samples 6 --sample-images 6 --train 8 --batch-size 8 --verbose 0"
    report = few_steps.main([*options.split(), "--output", str(tmp_path)])
    assert list(report["accuracies"]) == list(report["errors"]) == list(few_steps.METHODS)
    assert all(len(figures) == 2 for figures in report["errors"].values())
    assert json.loads((tmp_path / "vgg_bn-mnist.json").read_text()) == report
    table = "\n".join(conversion_page.few_steps([report]))
    low, high = (100 * bound for bound in wilson_interval(report["ann_accuracy"], 6))
    assert f"(95 %: {low:.1f} to {high:.1f})." in table
    assert "### VGG with batch normalisation, half as wide, on MNIST" in table and table.count("| least error") == 2


def test_the_error_of_a_converted_network_is_relative():
    expected = np.array([[1.0, -1.0], [2.0, -2.0]])
    assert few_steps.relative_error(expected + 0.5, expected) == pytest.approx(0.5 / np.sqrt(2.5))


def test_from_how_many_steps_on_the_accuracy_is_near():
    enough = conversion_page.enough
    assert enough([0.9, 0.895, 0.9], [8, 16, 32], 0.9) == "from 8"
    assert enough([0.9, 0.89, 0.9], [8, 16, 32], 0.9) == "from 32"  # once is not enough
    assert enough([0.9, 0.89, 0.8], [8, 16, 32], 0.9) == "later"


def test_how_far_an_accuracy_may_be_off():
    right = np.random.default_rng(0).binomial(400, 0.8, 100_000) / 400
    covered = [low <= 0.8 <= high for low, high in (wilson_interval(p, 400) for p in np.unique(right))]
    shares = [np.mean(right == p) for p in np.unique(right)]
    assert np.dot(covered, shares) == pytest.approx(0.95, abs=0.01)


def test_a_network_of_keras_applications(tmp_path):
    report = convert_applications.main(["--networks", "MobileNetV3Small", "--output", str(tmp_path)])
    (row,) = report["rows"]
    assert "'hard_silu'" in row["refused"] and "cell" not in row
    assert json.loads((tmp_path / "applications.json").read_text()) == report
    assert "| MobileNetV3Small |" in "\n".join(conversion_page.applications(report))
    assert "| refused: The layer" in "\n".join(conversion_page.applications(report))
