"""Whole files only: a failure leaves nothing behind, and no existing file is overwritten by accident."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from keras_spiking_bp.utils.validation import check_path

#: What TensorFlow and Keras write.
_OF_SAVED_MODEL = ("saved_model.pb", "keras_metadata.pb", "fingerprint.pb", "variables", "assets")


@contextlib.contextmanager
def written_whole(path: str | os.PathLike, overwrite: bool = False, folder: bool = False) -> Iterator[Path]:
    """A path beside `path` to write a file (or a `folder`) to, moved to `path` at the end of the block if it succeeds.

    The folder of that path is temporary.

    Raises:
        ValueError: if `path` is no path.
        FileExistsError: if something is at `path`, unless `overwrite`; a file is replaced by a file only, and a folder,
            which must be a SavedModel, by a folder. What else is in that folder stays there.
        FileNotFoundError: if the folder of `path` is missing.
    """
    path = Path(check_path("path", path))
    _check(path, overwrite, folder)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"`path` must lie in a folder that is there. Received: path={str(path)!r}")
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        written, replaced = temporary / path.name, temporary / f"{path.name}-replaced"
        yield written
        _check(path, overwrite, folder)  # again: it took time
        _keep_other_files(path, written)
        try:
            if path.is_dir():  # a folder can only be moved to a free name
                path.rename(replaced)
            written.replace(path)
        except BaseException:
            if replaced.exists():
                replaced.rename(path)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _keep_other_files(path: Path, written: Path) -> None:
    """Copies what the user has put into a SavedModel at `path`, such as `assets.extra` for TensorFlow Serving."""
    for other in path.iterdir() if path.is_dir() else ():
        if other.name in _OF_SAVED_MODEL or (written / other.name).exists():
            continue
        if other.is_dir() and not other.is_symlink():
            shutil.copytree(other, written / other.name, symlinks=True)
        else:
            shutil.copy2(other, written / other.name, follow_symlinks=False)


def _check(path: Path, overwrite: bool, folder: bool) -> None:
    """Rejects a path that something else is at."""
    if os.path.lexists(path) and not overwrite:  # a link to nothing, too
        raise FileExistsError(f"`path` is there already: {str(path)!r}. Give overwrite=True to replace it")
    if folder and path.is_symlink() and not path.exists():
        raise FileExistsError(f"`path` is a link to nothing, and is not replaced by a folder: {str(path)!r}")
    if path.exists() and path.is_dir() != folder:
        kinds = ("file", "folder") if folder else ("folder", "file")
        raise FileExistsError(f"`path` is a {kinds[0]}, and is not replaced by a {kinds[1]}: {str(path)!r}")
    if path.is_dir() and not (path / "saved_model.pb").exists():
        raise FileExistsError(f"`path` is a folder that is no SavedModel, and is not replaced: {str(path)!r}")
