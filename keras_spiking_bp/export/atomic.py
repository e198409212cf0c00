"""Whole files only: a failure leaves nothing behind, and no existing file is overwritten by accident."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: What TensorFlow and Keras write.
_OF_SAVED_MODEL = {"saved_model.pb", "keras_metadata.pb", "fingerprint.pb", "variables", "assets"}


@contextlib.contextmanager
def written_whole(path: str | os.PathLike, overwrite: bool = False, folder: bool = False) -> Iterator[Path]:
    """A path beside `path` to write a file (or a `folder`) to, moved to `path` at the end of the block if it succeeds.

    What is at `path` is replaced only with `overwrite`, and a folder if it holds a SavedModel and nothing else.
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
    if "saved_model.pb" not in names or names - _OF_SAVED_MODEL:
        raise FileExistsError(
            f"`path` must be a folder of a SavedModel alone to be replaced. Received: {str(path)!r}, with "
            f"{sorted(names - _OF_SAVED_MODEL)}"
        )
