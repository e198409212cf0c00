"""N-MNIST: the digits of MNIST as an event camera saw them, binned into spikes file by file.

Not through the package `tonic`: it would be one more dependency, and wants its own download and its own zip files.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_spiking_bp.datasets.batches import Batches
from keras_spiking_bp.datasets.splits import Split, hold_out, one_hot
from keras_spiking_bp.validation import check_positive_int, check_positive_ints

#: The camera looks at each digit in three movements of 100 ms. Recordings end between 297 and 336 ms, most near 308 ms;
#: 0.25 % of the events come after 300 ms (counted in 1,100 recordings), and a longer window would end in empty steps.
DURATION_US = 300_000

_SIZE = 34
_EVENT_BYTES = 5
_SHIFT = 2
#: An event at this y is none: the camera's clock has started anew, and all later times lack 2^13 us. The Python
#: reader by the data set's first author allows for them; the 1,100 recordings of the small subset have none.
_OVERFLOW_Y, _OVERFLOW_US = 240, 2**13


@dataclasses.dataclass(frozen=True)
class EventSet:
    """Event recordings with labels, as `load_nmnist` gives them. Files are read batch by batch.

    Attributes:
        train, test: paths of the recordings (N,) and labels (N,) int32.
        num_steps: time steps T of the spikes.
        duration_us: what the T steps last together, in microseconds; later events fall away.
        classes: number of classes.
    """

    train: Split
    test: Split
    num_steps: int
    duration_us: int = DURATION_US
    classes: int = 10

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one time step, (34, 34, 2)."""
        return (_SIZE, _SIZE, 2)

    def with_validation(self, size: int, seed: int = 0) -> EventSet:
        """The same with `size` recordings of the training set, drawn by `seed`, in the place of the test set.

        For choosing hyper-parameters: the test set is not touched.
        """
        train, test = hold_out(self.train, size, seed)
        return dataclasses.replace(self, train=train, test=test)

    def batches(self, batch_size: int, augment: bool = False, seed: int = 0) -> Batches:
        """The training set in batches: spikes (B, T, 34, 34, 2) int8, labels one-hot (B, classes) float32.

        `augment` shifts each recording by up to 2 pixels, all its steps alike.
        """

        def prepare(path, random):
            events = _events(path)
            if augment:
                events = _shifted(events, random)
            return events_to_spikes(*events, self.num_steps, self.duration_us)

        paths, labels = self.train
        return Batches(paths, one_hot(labels, self.classes), batch_size, prepare, seed)

    def test_batches(self, batch_size: int) -> tf.data.Dataset:
        """The test set in order, as spikes, one-hot, the last batch smaller."""

        def prepare(path, label):
            return events_to_spikes(*_events(path), self.num_steps, self.duration_us), label

        paths, labels = self.test
        dataset = tf.data.Dataset.from_tensor_slices((paths, one_hot(labels, self.classes)))
        return dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def load_nmnist(data_dir: str | os.PathLike, num_steps: int, duration_us: int = DURATION_US) -> EventSet:
    """N-MNIST (Orchard et al., Frontiers in Neuroscience 9:437, 2015) from its files; nothing is downloaded.

    The files are at https://www.garrickorchard.com/datasets/n-mnist.

    Args:
        data_dir: folder with the official `Train/0..9/*.bin` and `Test/0..9/*.bin` (the unzipped archives), or with the
            subset of 1,000 and 100 recordings: `train1K.txt`, `test100.txt` (number and label a line) and `*.bs2`.
        num_steps: time steps T, at least 1.
        duration_us: what the T steps last together, in microseconds; later events fall away.

    Raises:
        ValueError: if `num_steps` or `duration_us` is out of range, or a recording is cut off.
        FileNotFoundError: if the folder or a recording is missing, or the folder has neither layout.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("Train/7/00001.bin", "Test/7/00002.bin"):
        ...         (Path(folder) / name).parent.mkdir(parents=True)
        ...         _ = (Path(folder) / name).write_bytes(bytes([3, 4, 128, 0, 200]))
        ...     events = load_nmnist(folder, num_steps=50)
        ...     spikes, labels = next(iter(events.batches(batch_size=1).epoch(0)))
        >>> spikes.shape, np.argmax(labels).item()
        (TensorShape([1, 50, 34, 34, 2]), 7)
    """
    num_steps = check_positive_int("num_steps", num_steps)
    duration_us = check_positive_int("duration_us", duration_us)
    folder = Path(data_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f"`data_dir` must be a folder that exists. Received: data_dir={str(data_dir)!r}")
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
    for path, _ in splits[0] + splits[1]:
        _check_recording(path)
    train, test = (
        (np.array([str(path) for path, _ in split]), np.array([label for _, label in split], "int32"))
        for split in splits
    )
    return EventSet(train, test, num_steps, duration_us)


def read_events(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The events of one recording, in the order of the file.

    Args:
        path: a `.bin` or `.bs2` file: 5 bytes an event.

    Returns:
        x, y (0 to 33), polarity (0: darker, 1: brighter) and time (microseconds), each (N,) int32.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if its size is no multiple of 5 bytes.
        tf.errors.InvalidArgumentError: if an event lies outside of the 34 x 34 pixels.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     recording = Path(folder) / "recording.bin"
        ...     _ = recording.write_bytes(bytes([3, 4, 128, 0, 200]) + bytes([33, 0, 1, 1, 2]))
        ...     x, y, polarity, time = read_events(recording)
        >>> x.tolist(), y.tolist(), polarity.tolist(), time.tolist()
        ([3, 33], [4, 0], [1, 0], [200, 65794])
    """
    _check_recording(Path(path))
    x, y, polarity, time = (column.numpy() for column in _events(tf.constant(os.fspath(path))))
    return x, y, polarity, time


def events_to_spikes(
    x: np.ndarray,
    y: np.ndarray,
    polarity: np.ndarray,
    time: np.ndarray,
    num_steps: int,
    duration_us: int = DURATION_US,
    sensor_size: tuple[int, int] = (_SIZE, _SIZE),
) -> tf.Tensor:
    """Events binned into equal time steps: a pixel spikes once or not at all in a step.

    Step t takes the times from `t * duration_us / num_steps` on, up to and without the next step's. Events outside of
    the window fall away. Runs inside tf.data too.

    Args:
        x, y: pixels (N,), integers: column and row, from 0 on.
        polarity: (N,), 0 or 1: the channel.
        time: (N,) in microseconds, integers.
        num_steps: time steps T, at least 1.
        duration_us: what the T steps last together, in microseconds.
        sensor_size: (height, width) of the sensor in pixels; (34, 34) is that of N-MNIST, (128, 128) that of a DVS128.

    Returns:
        Spikes (num_steps, height, width, 2) int8, each 0 or 1, at `[step, y, x, polarity]`.

    Raises:
        ValueError: if `num_steps`, `duration_us` or `sensor_size` is out of range.
        tf.errors.InvalidArgumentError: if an event, in the window or not, lies outside of the sensor; if a polarity is
            neither 0 nor 1 (on a CPU, and in tf.data).

    Example:
        >>> spikes = events_to_spikes([3, 3, 5], [4, 4, 0], [1, 1, 0], [0, 99, 100], num_steps=2, duration_us=200)
        >>> np.argwhere(spikes).tolist()
        [[0, 4, 3, 1], [1, 0, 5, 0]]
    """
    num_steps = check_positive_int("num_steps", num_steps)
    duration_us = check_positive_int("duration_us", duration_us)
    height, width = _checked_size(sensor_size)
    x, y, polarity, time = (tf.cast(column, tf.int64) for column in (x, y, polarity, time))
    (x_from, x_to), (y_from, y_to) = ((tf.reduce_min(column), tf.reduce_max(column)) for column in (x, y))
    message = tf.strings.format(
        f"`x` and `y` must lie on the sensor, 0 <= x < {width} and 0 <= y < {height} for sensor_size=({height}, "
        f"{width}), (height, width). Received: x from {{}} to {{}}, y from {{}} to {{}}",
        (x_from, x_to, y_from, y_to),
    )
    x, y = _asserted(_on_sensor(x, y, height, width), [message], x, y)
    step = time * num_steps // duration_us  # int64: the product does not fit in 32 bits
    indices = tf.boolean_mask(tf.stack([step, y, x, polarity], axis=1), (step >= 0) & (step < num_steps))
    shape = (num_steps, height, width, 2)
    return tf.tensor_scatter_nd_update(tf.zeros(shape, tf.int8), indices, tf.ones(tf.shape(indices)[:1], tf.int8))


def _checked_size(sensor_size: tuple[int, int]) -> tuple[int, int]:
    sizes = check_positive_ints("sensor_size", sensor_size)
    if len(sizes) != 2:
        raise ValueError(f"`sensor_size` must be (height, width). Received: sensor_size={sensor_size!r}")
    return sizes[0], sizes[1]


def _asserted(conditions: tf.Tensor, message: list, *tensors: tf.Tensor) -> list[tf.Tensor]:
    """`tensors`, not to be had before all `conditions` are found true (a graph keeps no order by itself)."""
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(conditions), message)]):
        return [tf.identity(tensor) for tensor in tensors]


def _on_sensor(x: tf.Tensor, y: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Which events lie on a sensor of this size."""
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def _shifted(events: list[tf.Tensor], random: tf.Tensor) -> list[tf.Tensor]:
    """The events of a recording, moved by up to 2 pixels; what leaves the sensor falls away."""
    x, y, polarity, time = events
    shift = tf.random.stateless_uniform([2], random, -_SHIFT, _SHIFT + 1, tf.int32)
    x, y = x + shift[0], y + shift[1]
    stays = _on_sensor(x, y, _SIZE, _SIZE)
    return [tf.boolean_mask(column, stays) for column in (x, y, polarity, time)]


def _events(path: tf.Tensor) -> list[tf.Tensor]:
    """x, y, polarity and time of a file. Bytes: x; y; polarity (1 bit) and time (23 bits, the highest first)."""
    record = tf.reshape(tf.io.decode_raw(tf.io.read_file(path), tf.uint8), (-1, _EVENT_BYTES))
    x, y, high, middle, low = tf.unstack(tf.cast(record, tf.int32), axis=1)
    overflow = y == _OVERFLOW_Y
    time = high % 128 * 2**16 + middle * 2**8 + low + _OVERFLOW_US * tf.cumsum(tf.cast(overflow, tf.int32))
    events = tf.boolean_mask(tf.stack([x, y, high // 128, time], axis=1), ~overflow)
    message = ["a recording with events outside of the 34 x 34 pixels:", path]
    return tf.unstack(*_asserted(events[:, :2] < _SIZE, message, events), axis=1)


def _check_recording(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"There is no recording {str(path)!r}")
    size = path.stat().st_size
    if size % _EVENT_BYTES:
        raise ValueError(
            f"The size of a recording must be a multiple of {_EVENT_BYTES} bytes. Received: {str(path)!r} of {size} "
            "bytes, which is cut off or something else"
        )


def _in_class_folders(folder: Path) -> list[tuple[Path, int]]:
    return [(path, label) for label in range(10) for path in sorted((folder / str(label)).glob("*.bin"))]


def _listed(folder: Path, name: str) -> list[tuple[Path, int]]:
    """The recordings of a list: number and label a line, `#` before remarks."""
    if not (folder / name).exists():
        return []
    lines = np.loadtxt(folder / name, dtype=int, comments="#", ndmin=2)
    return [(folder / f"{number}.bs2", int(label)) for number, label in lines]
