"""N-MNIST: the digits of MNIST as an event camera saw them, binned into spikes file by file."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_spiking_bp.datasets.events import EventSet
from keras_spiking_bp.utils.validation import asserted

#: Three movements of the camera of 100 ms. Most recordings end a few ms later: a longer window has empty steps.
DURATION_US = 300_000

_SIZE = 34
_EVENT_BYTES = 5
#: An event at this y is a marker: the camera's clock has restarted, and all later times lack 2^13 us.
_OVERFLOW_Y, _OVERFLOW_US = 240, 2**13


def load_nmnist(data_dir: str | os.PathLike, num_steps: int, duration_us: int = DURATION_US) -> EventSet:
    """N-MNIST (Orchard et al., Frontiers in Neuroscience 9:437, 2015) from its files; nothing is downloaded.

    The files are at https://www.garrickorchard.com/datasets/n-mnist.

    Args:
        data_dir: folder with the official `Train/0..9/*.bin` and `Test/0..9/*.bin` (the unzipped archives), or with the
            subset of 1,000 and 100 recordings: `train1K.txt`, `test100.txt` (number and label per line) and `*.bs2`.
        num_steps, duration_us: as in `events_to_spikes`.

    Example:
        >>> events = load_nmnist("N-MNIST", num_steps=50)  # doctest: +SKIP
        >>> spikes, labels = next(iter(events.batches(batch_size=32).epoch(0)))  # doctest: +SKIP
    """
    folder = Path(data_dir)
    if (folder / "train1K.txt").exists():
        splits = [_listed(folder, name) for name in ("train1K.txt", "test100.txt")]
    else:
        splits = [_in_class_folders(folder / name) for name in ("Train", "Test")]
    if not all(splits):
        raise FileNotFoundError(
            "`data_dir` must have recordings as `Train/0..9/*.bin` and `Test/0..9/*.bin`, or listed in `train1K.txt` "
            f"and `test100.txt`. Received: data_dir={str(data_dir)!r}, with {len(splits[0])} recordings for training "
            f"and {len(splits[1])} for the test"
        )
    paths_and_labels = (zip(*split, strict=True) for split in splits)
    train, test = ((np.array([str(p) for p in paths]), np.array(labels, "int32")) for paths, labels in paths_and_labels)
    return EventSet(train, test, num_steps, _events, duration_us, classes=10, sensor_size=(_SIZE, _SIZE))


def read_events(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The events of one recording, in file order.

    Args:
        path: a `.bin` or `.bs2` file: 5 bytes per event.

    Returns:
        x, y (0 to 33), polarity (0: darker, 1: brighter) and time (microseconds), each (N,) int32. An event outside of
            the 34 x 34 pixels is a `tf.errors.InvalidArgumentError`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     recording = Path(folder) / "recording.bin"
        ...     _ = recording.write_bytes(bytes([3, 4, 128, 0, 200]) + bytes([33, 0, 1, 1, 2]))
        ...     x, y, polarity, time = read_events(recording)
        >>> x.tolist(), y.tolist(), polarity.tolist(), time.tolist()
        ([3, 33], [4, 0], [1, 0], [200, 65794])
    """
    x, y, polarity, time = (column.numpy() for column in _events(tf.constant(os.fspath(path))))
    return x, y, polarity, time


def _events(path: tf.Tensor) -> list[tf.Tensor]:
    """x, y, polarity and time of a file. Bytes: x; y; polarity (1 bit) and time (23 bits, the highest first)."""
    record = tf.reshape(tf.io.decode_raw(tf.io.read_file(path), tf.uint8), (-1, _EVENT_BYTES))
    x, y, high, middle, low = tf.unstack(tf.cast(record, tf.int32), axis=1)
    overflow = y == _OVERFLOW_Y
    time = high % 128 * 2**16 + middle * 2**8 + low + _OVERFLOW_US * tf.cumsum(tf.cast(overflow, tf.int32))
    events = tf.boolean_mask(tf.stack([x, y, high // 128, time], axis=1), ~overflow)
    message = ["a recording with events outside of the 34 x 34 pixels:", path]
    return tf.unstack(*asserted(events[:, :2] < _SIZE, message, events), axis=1)


def _in_class_folders(folder: Path) -> list[tuple[Path, int]]:
    return [(path, label) for label in range(10) for path in sorted((folder / str(label)).glob("*.bin"))]


def _listed(folder: Path, name: str) -> list[tuple[Path, int]]:
    """The recordings of a list: number and label per line, `#` for comments."""
    if not (folder / name).exists():
        return []
    lines = np.loadtxt(folder / name, dtype=int, comments="#", ndmin=2)
    return [(folder / f"{number}.bs2", int(label)) for number, label in lines]
