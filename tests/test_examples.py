"""The examples run, on fewer digits and steps."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import keras_spiking_bp as ksbp
from examples import calibrate_vgg9, compare_gradients, convert, demo, export_all, half_width, pretrained, tune
from examples.short_trainings import neuron_settings
from tests.pages import ROOT


def test_demo(few_digits, monkeypatch, tmp_path, capsys):
    arguments = ["demo", "--epochs", "1", "--num-steps", "4", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    demo.main()
    printed = capsys.readouterr().out
    assert re.search(r"test accuracy: 0\.\d{3} ", printed)
    assert re.search(r"conv1 +\d+\.\d +\(\d\.\d\d per neuron\)", printed)
    assert "time per epoch" in printed
    assert (tmp_path / "spiking_lenet.keras").stat().st_size > 1e6
    assert (tmp_path / "demo.png").stat().st_size > 1e4


def in_a_process(*arguments, **environment):
    """Runs Python on the sources; what it wrote goes into pipes, not to a terminal."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"} | environment
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment)


@pytest.mark.parametrize("fails", [False, True])
def test_the_import_of_tensorflow_is_quiet_unless_it_fails(fails, tmp_path):
    lines = ["import os", "os.write(2, b'from C++')", "raise ImportError('no AVX')" if fails else ""]
    (tmp_path / "tensorflow.py").write_text("\n".join(lines))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = in_a_process("-c", "import examples; print(examples.PROGRESS)", PYTHONPATH=path)
    if fails:
        assert "from C++" in done.stderr and "no AVX" in done.stderr
    else:
        assert (done.stdout, done.stderr) == ("2\n", "")


@pytest.mark.slow
def test_the_log_of_the_demo_can_be_read(tmp_path):
    arguments = ["--epochs", "2", "--num-steps", "2", "--output", str(tmp_path)]
    done = in_a_process("-m", "examples.demo", *arguments)
    assert done.stderr == "" and done.returncode == 0
    assert re.search(r"^125/125 - \d+s - .*accuracy: 0\.\d+", done.stdout, re.MULTILINE)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout)  # but the ends of lines


@pytest.mark.slow
def test_compare_gradients_goes_on_where_it_was(few_digits, monkeypatch, tmp_path):
    page = tmp_path / "gradients.md"
    arguments = ["--seeds", "1", "--epochs", "1", "--output", str(page)]
    monkeypatch.setattr(compare_gradients, "NUM_STEPS", 3)
    compare_gradients.main(arguments)
    first = page.read_text()
    assert "| `accumulated` | 0." in first and "| `bptt` | 0." in first
    monkeypatch.setattr(compare_gradients, "train", None)  # nothing is left to train
    compare_gradients.main(arguments)
    assert page.read_text() == first


def test_a_page_of_fewer_seeds_shows_these_alone(monkeypatch, tmp_path):
    """As after a comparison of more seeds that was interrupted in the last one."""
    runs = json.loads((ROOT / "docs/gradients.json").read_text())
    (tmp_path / "page.json").write_text(json.dumps(runs[:-1]))
    monkeypatch.setattr(compare_gradients, "train", None)
    compare_gradients.main(["--seeds", "2", "--output", str(tmp_path / "page.md")])
    (made_by,) = re.findall("Made by `([^`]*)`", page := (tmp_path / "page.md").read_text())
    assert page == compare_gradients.table(runs[:4], 5, made_by)


@pytest.mark.parametrize("main, arguments, match", [
    (compare_gradients.main, ["--seeds", "1", "--output", str(ROOT / "docs/new.md")], "give another --output than"),
    (compare_gradients.main, ["--epochs", "1", "--output", str(ROOT / "docs/new.md")], "give another --output than"),
    (calibrate_vgg9.main, ["--steps", "50", "--output", str(ROOT / "docs/new.md")], "give another --output than"),
    (calibrate_vgg9.main, ["--steps", "20", "--output", "page.md"], "must be a multiple of 50. Received: 20"),
    (calibrate_vgg9.main, ["--steps", "0", "--output", "page.md"], "must be a multiple of 50. Received: 0"),
    (pretrained.main, ["--dataset", "mnist", "--output", "weights"], "needs --model and --report"),
    (convert.main, ["--hybrid-epochs", "3"], "give --hybrid-steps, too"),
    (half_width.main, ["--ann", "--num-steps", "8"], "--ann has no spiking neurons"),
])  # fmt: skip
def test_what_would_be_lost_or_ignored_is_refused(main, arguments, match, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(arguments)
    assert match in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_surrogate_is_scaled_to_the_threshold():
    args = half_width.TRAININGS.parse(["--surrogate", "triangle", "--scale-surrogate", "--threshold", "3"])
    assert repr(neuron_settings(args)["surrogate"]) == "Triangle(width=3)"
    args = half_width.TRAININGS.parse(["--surrogate", "triangle", "--threshold", "3"])
    assert repr(neuron_settings(args)["surrogate"]) == "Triangle(width=1)"


def test_the_committed_pages_are_made_from_the_committed_runs():
    for name, made_by, page in (
        ("gradients", "examples.compare_gradients", lambda runs, by: compare_gradients.table(runs, 5, by)),
        (
            "calibration",
            "examples.calibrate_vgg9 --data-dir FOLDER",
            lambda runs, by: calibrate_vgg9.page(runs, 150, by),
        ),
    ):
        runs = json.loads((ROOT / "docs" / f"{name}.json").read_text())
        assert page(runs, f"python -m {made_by}") == (ROOT / "docs" / f"{name}.md").read_text()


@pytest.mark.parametrize("arguments, match", [
    (["--training-samples", "60", "--held-out", "10"], "together at most 64: 60, 10"),
    (["--held-out", "0"], "must be at least 1"),
])  # fmt: skip
def test_tuning_needs_enough_digits(few_digits, tmp_path, capsys, arguments, match):
    with pytest.raises(SystemExit):
        tune.main([*arguments, "--output", str(tmp_path / "tune")])
    assert match in capsys.readouterr().err and not (tmp_path / "tune").exists()


def test_export_all_refuses_before_it_begins(tmp_path):
    bfloat16 = ksbp.models.spiking_vgg((6, 6, 1), 2, [(2, 3)], [], num_steps=3, dtype="mixed_bfloat16", preset="paper")
    free = ksbp.models.spiking_vgg((6, 6, 1), 2, [(2, 3)], [], num_steps=None, encoder=None, preset="paper")
    for model, match in (
        (bfloat16, "must compute in float32 for LiteRT and ONNX"),
        (free, "`num_steps` must be given"),
    ):
        with pytest.raises(ValueError, match=match):
            export_all.export_all(model, tmp_path / "files")
        assert not (tmp_path / "files").exists()


def test_export_all_says_what_is_missing_before_it_begins(monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit), monkeypatch.context() as patch:
        patch.setattr(export_all.importlib.util, "find_spec", lambda name: None)
        export_all.main(["--model", "model.keras", "--output", str(tmp_path)])
    assert "pip install 'keras-spiking-bp[export]'" in capsys.readouterr().err
    pytest.importorskip("tf2onnx")
    (tmp_path / "step.onnx").touch()
    with pytest.raises(SystemExit):
        export_all.main(["--model", "model.keras", "--output", str(tmp_path)])
    assert "has step.onnx already" in capsys.readouterr().err


def small_vgg(input_shape, classes, **kwargs):
    """As silent as VGG9, by weights so small."""
    return ksbp.models.spiking_vgg(
        input_shape, classes, [(8, 3), "pool", (16, 3)], [32], kappa=0.5, **kwargs, preset="paper"
    )


@pytest.mark.slow
@pytest.mark.parametrize("factory", [small_vgg, ksbp.models.spiking_vgg9])
def test_calibrate_vgg9(factory, monkeypatch, tmp_path):
    monkeypatch.setattr(ksbp.models, "spiking_vgg9", factory)
    rng = np.random.default_rng(0)
    split = rng.integers(0, 256, (64, 8, 8, 3), "uint8"), rng.integers(0, 10, 64).astype("int32")
    images = ksbp.datasets.ImageSet("cifar10", split, split, mean=(0.5,) * 3, scale=(0.5,) * 3, classes=10)
    monkeypatch.setattr(ksbp.datasets, "load_images", lambda name, data_dir: images)
    for name, value in {"NUM_STEPS": 8, "PART": 1, "BATCH_SIZE": 16}.items():
        monkeypatch.setattr(calibrate_vgg9, name, value)
    with pytest.warns(ksbp.callbacks.HealthWarning, match="Layer 'fc1' is silent"):
        calibrate_vgg9.main(["--steps", "2", "--output", str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text()
    assert "| not calibrated, before | 0." in page and "| calibrated, after | 0." in page
    silent, speaking = json.loads((tmp_path / "page.json").read_text())
    assert silent["rates_before"]["fc1"] < 0.01 and 0.05 < speaking["rates_before"]["fc1"] < 0.2
    assert len(speaking["accuracy"]) == 2


def test_export_all(tmp_path, capsys):
    pytest.importorskip("tf2onnx", reason="needs tf2onnx to write ONNX files")
    ksbp.models.spiking_vgg((6, 6, 1), 2, [(2, 3)], [], encoder=None, seed=0, preset="paper").save(tmp_path / "x.keras")
    arguments = ["--model", str(tmp_path / "x.keras"), "--output", str(tmp_path / "made"), "--num-steps", "5"]
    export_all.main(arguments)
    printed = capsys.readouterr().out
    names = ["saved_model", "step.onnx", *(f"{f}_{w}.tflite" for f in ("step", "window") for w in ("float32", "int8"))]
    assert {path.name for path in (tmp_path / "made").iterdir()} == set(names)
    for name in names:
        assert re.search(rf"{name}  \d+\.\d\d MB", printed)
    with pytest.raises(SystemExit):
        export_all.main(arguments)
    assert str(tmp_path / "made") in capsys.readouterr().err


@pytest.mark.slow
def test_export_all_writes_all_or_none(tmp_path, monkeypatch):
    """Not files of two networks."""
    pytest.importorskip("tf2onnx", reason="needs tf2onnx to write ONNX files")
    first, second = (
        ksbp.models.spiking_vgg((6, 6, 1), 2, [(2, 3)], [], num_steps=5, encoder=None, seed=seed, preset="paper")
        for seed in (0, 1)
    )

    def files():
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    export_all.export_all(first, tmp_path)
    before = files()

    def fails(*args, **kwargs):
        raise ValueError("ONNX has no such layer")

    with monkeypatch.context() as patch:
        patch.setattr(ksbp.export, "export_onnx", fails)
        with pytest.raises(ValueError, match="ONNX has no such layer"):
            export_all.export_all(second, tmp_path, overwrite=True)
    assert files() == before
    export_all.export_all(second, tmp_path, overwrite=True)
    changed = {path.name for path, content in files().items() if content != before.get(path)}
    assert {"step.onnx", "window_float32.tflite", "step_int8.tflite", "variables.data-00000-of-00001"} <= changed
