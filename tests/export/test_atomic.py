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
        pytest.raises(FileExistsError, match="of a SavedModel alone" if overwrite else "is there already"),
        written_whole(tmp_path / "out", overwrite, folder=True) as part,
    ):
        part.mkdir()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "results.csv").write_text("1")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "results.csv").read_text() == "1"


def test_what_cannot_be_replaced_is_kept(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "saved_model.pb").write_text("old")
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "out", overwrite=True, folder=True):
        pass  # nothing is written
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "saved_model.pb"]


@pytest.mark.parametrize("mine", ["letter.txt", "link", "variables", "saved_model.pb/letter.txt"])
@pytest.mark.parametrize("folder", [False, True])
def test_what_is_of_the_user_is_kept(tmp_path, mine, folder):
    """A folder without a SavedModel, or with other files beside it; a link."""
    out = tmp_path / "out"
    if mine == "link":
        out.symlink_to(tmp_path / "elsewhere")
    else:
        for name in mine.split("/"):
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).write_text("dear")
    with pytest.raises(OSError), written_whole(out, overwrite=mine != "link", folder=folder) as part:
        part.mkdir() if folder else part.write_text("a network")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert out.is_symlink() if mine == "link" else (out / mine.split("/")[-1]).read_text() == "dear"


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
