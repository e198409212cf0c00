"""Data sets of the library tonic, brought by the user: nothing here imports it."""

import operator
import threading
from typing import Any

import numpy as np
import tensorflow as tf

from keras_spiking_bp.datasets.events import EventSet


def from_tonic(
    train: Any,
    test: Any,
    num_steps: int,
    duration_us: int | None = None,
    sensor_size: tuple[int, int] | None = None,
    polarities: int | None = None,
) -> EventSet:
    """Event recordings of a data set of the library tonic, or of a similar one, as from `load_nmnist`.

    Both are read once for labels and durations, then recording by recording as batches need them.

    Args:
        train, test: anything with a length whose items are pairs `(events, label)`: events is a structured array with
            the fields `x`, `t` (microseconds), `p` and, except for audio, `y`, as in `tonic.datasets.NMNIST(...)` or
            `SHD(...)` without a `transform`. Times count from the first event of each recording.
        num_steps, duration_us: as in `events_to_spikes`; None: the duration of the longest recording of `train`.
        sensor_size: (height, width) in pixels. None: that of `train.sensor_size`, (width, height, polarities) in tonic.
        polarities: number of channels, 2, or 1 to ignore `p`. None: that of `train.sensor_size`.

    Example:
        >>> fields = [("x", "i2"), ("y", "i2"), ("t", "i4"), ("p", "?")]
        >>> recordings = [(np.array([(i, 0, 5, True), (3, 2, 90, False)], fields), i % 2) for i in range(4)]
        >>> events = from_tonic(recordings, recordings[:2], num_steps=10, sensor_size=(3, 4), polarities=2)
        >>> spikes, labels = next(iter(events.batches(batch_size=4).epoch(0)))
        >>> spikes.shape, labels.shape
        (TensorShape([4, 10, 3, 4, 2]), TensorShape([4, 2]))
    """
    if sensor_size is None:
        sensor_size = (int(train.sensor_size[1]), int(train.sensor_size[0]))
    if polarities is None:
        polarities = int(train.sensor_size[2])
    surveys = (_survey(name, data) for name, data in (("train", train), ("test", test)))
    labels, durations = zip(*surveys, strict=True)
    if duration_us is None:
        duration_us = int(durations[0].max()) + 1
    one_at_a_time = threading.Lock()  # reading their files may not be thread-safe

    def columns(number: np.ndarray) -> list[np.ndarray]:
        data, i = (train, int(number)) if number < len(train) else (test, int(number) - len(train))
        with one_at_a_time:
            events = data[i][0]
        time = np.asarray(events["t"], "int64")
        y = events["y"] if "y" in events.dtype.names else np.zeros(len(events))
        p = np.asarray(events["p"]) > 0 if polarities == 2 else np.zeros(len(events))
        start = time.min() if len(time) else 0
        return [*(np.asarray(column, "int32") for column in (events["x"], y, p)), time - start]

    def read(number: tf.Tensor) -> list[tf.Tensor]:
        x_y_p_t = tf.numpy_function(columns, [number], [tf.int32, tf.int32, tf.int32, tf.int64])
        return [tf.ensure_shape(column, (None,)) for column in x_y_p_t]

    numbers = np.arange(len(train) + len(test))
    training, testing = (numbers[: len(train)], labels[0]), (numbers[len(train) :], labels[1])
    classes = int(np.concatenate(labels).max()) + 1
    return EventSet(training, testing, num_steps, read, duration_us, classes, sensor_size, polarities)


def _survey(name: str, data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels and durations of all recordings."""
    labels, durations = [], []
    for i in range(len(data)):
        events, label = data[i]
        for field in {"x", "y", "t"} & set(events.dtype.names or ()):
            if not np.issubdtype(events.dtype[field], np.integer):
                raise TypeError(
                    f"`{name}` must have recordings with integers x, y and t (in us). Received: item {i} with "
                    f"`{field}` of dtype {events.dtype[field]}"
                )
        labels.append(operator.index(label))
        durations.append(int(np.ptp(events["t"])) if len(events) else 0)
    return np.array(labels, "int32"), np.array(durations)
