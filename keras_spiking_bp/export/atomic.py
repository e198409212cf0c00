"""Whole files only: a failure leaves nothing behind, and no existing file is overwritten by accident."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: What TensorFlow and Keras write in the folder of a SavedModel, and `export_c` in its own.
_OF_SAVED_MODEL = {"saved_model.pb", "keras_metadata.pb", "fingerprint.pb", "variables", "assets"}
_OF_C = {"network.h", "network.c", "weights.h", "weights.c", "main.c", "README.md"}
_FOLDERS = {"saved_model.pb": _OF_SAVED_MODEL, "network.c": _OF_C}


@contextlib.contextmanager
def written_whole(path: str | os.PathLike, overwrite: bool = False, folder: bool = False) -> Iterator[Path]:
    """A path beside `path` to write a file (or a `folder`) to, moved to `path` at the end of the block if it succeeds.

    What is at `path` is replaced only with `overwrite`, and a folder if it holds an exported network and nothing else.
    """
    path = Path(path)
    _check(path, overwrite)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        written, replaced = temporary / path.name, temporary / f"{path.name}-replaced"
        yield written
        _check(path, overwrite)  # again: it took time
        try:
            if folder and path.is_dir():  # a folder can only be moved to a free name
                path.rename(replaced)
            written.replace(path)
        except BaseException:
            if replaced.exists():
                replaced.rename(path)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check(path: Path, overwrite: bool) -> None:
    """Rejects a path that something else is at."""
    if os.path.lexists(path) and not overwrite:  # a link to nothing, too
        raise FileExistsError(f"`path` is there already: {str(path)!r}. Give overwrite=True to replace it")
    names = {other.name for other in path.iterdir()} if path.is_dir() else {"saved_model.pb"}
    if not any(mark in names and names <= known for mark, known in _FOLDERS.items()):
        raise FileExistsError(
            "`path` must be a folder of a SavedModel alone, or of C files alone, to be replaced. Received: "
            f"{str(path)!r}, with {sorted(names - _OF_SAVED_MODEL - _OF_C)}"
        )
