"""A file is there whole or not at all, and none is replaced by accident."""

import functools
from pathlib import Path

import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.export.atomic import written_whole
from tests.export.networks import small
from tests.networks import with_other_weights

EXPORTS = {
    "saved_model": ksbp.export.export_saved_model,
    "step.tflite": functools.partial(ksbp.export.export_litert, form="step"),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_what_fails_leaves_nothing_behind(tmp_path, monkeypatch, name):
    model = small(encoder=None)
    with monkeypatch.context() as broken, pytest.raises(OSError, match="disk"):
        save = tf.saved_model.save

        def fail(*args, **kwargs):
            save(*args, **kwargs)
            raise OSError("the disk is full")

        broken.setattr(tf.saved_model, "save", fail)
        EXPORTS[name](model, tmp_path / name)
    assert not list(tmp_path.iterdir())

    EXPORTS[name](model, tmp_path / name)
    before = _contents(tmp_path)
    with pytest.raises(FileExistsError, match="is there already.*overwrite=True"):
        EXPORTS[name](model, tmp_path / name)
    with monkeypatch.context() as broken, pytest.raises(OSError, match="disk"):
        broken.setattr(tf.saved_model, "save", fail)
        EXPORTS[name](model, tmp_path / name, overwrite=True)
    assert _contents(tmp_path) == before

    EXPORTS[name](with_other_weights(model), tmp_path / name, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [name] and _contents(tmp_path) != before


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_appears_meanwhile_is_kept(tmp_path, overwrite):
    with (
        pytest.raises(FileExistsError, match="is no SavedModel" if overwrite else "is there already"),
        written_whole(tmp_path / "out", overwrite, folder=True) as part,
    ):
        part.mkdir()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "results.csv").write_text("1")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "results.csv").read_text() == "1"


def test_files_of_the_user_in_a_replaced_saved_model_stay(tmp_path):
    out = tmp_path / "out"
    for version in ("old", "new"):
        with written_whole(out, overwrite=True, folder=True) as part:
            (part / "variables").mkdir(parents=True)
            (part / "saved_model.pb").write_text(version)
            (part / "variables" / f"{version}.data").touch()
        if version == "old":
            (out / "labels.txt").write_text("cat")
            (out / "assets.extra").mkdir()
            (out / "assets.extra" / "requests").touch()
            (out / "latest").symlink_to("nowhere")
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    assert found == [
        "assets.extra", "assets.extra/requests", "labels.txt", "latest", "saved_model.pb", "variables",
        "variables/new.data",
    ]  # fmt: skip
    assert (out / "labels.txt").read_text() == "cat" and (out / "saved_model.pb").read_text() == "new"


def test_what_cannot_be_replaced_is_kept(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "saved_model.pb").write_text("old")
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "out", overwrite=True, folder=True):
        pass  # nothing is written
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "saved_model.pb"]


def test_a_link_to_nothing_is_kept(tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError, match="is there already"), written_whole(tmp_path / "out"):
        pass
    with pytest.raises(FileExistsError, match="a link to nothing"), written_whole(tmp_path / "out", True, folder=True):
        pass
    assert (tmp_path / "out").is_symlink()


def test_an_onnx_file_is_replaced_by_the_new_network(tmp_path):
    pytest.importorskip("tf2onnx")
    model, file = small(encoder=None), tmp_path / "step.onnx"
    ksbp.export.export_onnx(model, file)
    before = file.read_bytes()
    with pytest.raises(FileExistsError, match="is there already.*overwrite=True"):
        ksbp.export.export_onnx(with_other_weights(model), file)
    assert file.read_bytes() == before
    ksbp.export.export_onnx(model, file, overwrite=True)
    assert file.read_bytes() != before


def _contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_folder_and_another_folder(tmp_path):
    model = small(num_steps=5)
    with pytest.raises(FileNotFoundError, match="`path` must lie in a folder that is there"):
        ksbp.export.export_saved_model(model, tmp_path / "missing" / "saved_model")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="no SavedModel, and is not replaced"):
        ksbp.export.export_saved_model(model, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_a_file_and_a_folder_do_not_replace_each_other(tmp_path):
    model = small(num_steps=5)
    (tmp_path / "network").write_text("a network")
    with pytest.raises(FileExistsError, match="`path` is a file, and is not replaced by a folder: .*network'"):
        ksbp.export.export_saved_model(model, tmp_path / "network", overwrite=True)
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").write_text("a graph")
    with pytest.raises(FileExistsError, match="`path` is a folder, and is not replaced by a file: .*saved_model'"):
        ksbp.export.export_litert(model, tmp_path / "saved_model", form="step", overwrite=True)
    assert {file.read_text() for file in tmp_path.rglob("*") if file.is_file()} == {"a network", "a graph"}


def test_an_interrupt_while_a_folder_is_replaced(tmp_path, monkeypatch):
    EXPORTS["saved_model"](small(encoder=None), out := tmp_path / "model")
    before, rename = _contents(tmp_path), Path.rename

    def interrupted(path, to):
        done = rename(path, to)
        if path == out:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), written_whole(out, overwrite=True, folder=True) as part:
        part.mkdir()
    assert _contents(tmp_path) == before


@pytest.mark.parametrize("path", [None, "", 3])
@pytest.mark.parametrize("name", EXPORTS)
def test_what_is_no_path(name, path):
    with pytest.raises(ValueError, match=f"`path` must be a path. Received: path={path!r}"):
        EXPORTS[name](small(encoder=None), path)
