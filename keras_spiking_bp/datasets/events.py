"""Recordings of events, binned into spikes batch by batch."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_spiking_bp.datasets.batches import Batches, Split, hold_out, one_hot
from keras_spiking_bp.utils.validation import asserted, check_choice, check_positive_int, check_positive_ints

_SHIFT = 2
_COLUMNS = ("x", "y", "polarity", "time")


@dataclasses.dataclass(frozen=True)
class EventSet:
    """Event recordings with labels, from `load_nmnist` or `from_tonic`. Recordings are read batch by batch.

    Attributes:
        train, test: recordings (N,), as `read` accepts them, and labels (N,) int32, below `classes`.
        read: from one recording, a path or a number, to x, y, polarity and time of its events. Runs inside tf.data.
        num_steps, duration_us, sensor_size, polarities: as in `events_to_spikes`.
    """

    train: Split
    test: Split
    num_steps: int
    read: Callable[[tf.Tensor], list[tf.Tensor]]
    duration_us: int
    classes: int
    sensor_size: tuple[int, int]
    polarities: int = 2

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one time step, (height, width, polarities)."""
        return (*self.sensor_size, self.polarities)

    def with_validation(self, size: int, seed: int = 0) -> "EventSet":
        """For choosing hyper-parameters: a copy with `size` recordings of the training set in place of the test set."""
        train, test = hold_out(self.train, size, seed)
        return dataclasses.replace(self, train=train, test=test)

    def batches(self, batch_size: int, augment: bool = False, seed: int = 0) -> Batches:
        """The training set in batches: spikes (B, T, height, width, polarities) int8, labels (B, classes), one-hot.

        `augment` shifts each recording by up to 2 pixels, equally at all steps; an axis of one pixel is not shifted.
        """

        def transform(recording, random):
            events = self.read(recording)
            return self._spikes(_shifted(events, random, *self.sensor_size) if augment else events)

        recordings, labels = self.train
        return Batches(recordings, one_hot(labels, self.classes), batch_size, transform, seed)

    def test_batches(self, batch_size: int) -> tf.data.Dataset:
        """The test set in order: spikes, one-hot labels, last batch smaller."""
        recordings, labels = self.test
        dataset = tf.data.Dataset.from_tensor_slices((recordings, one_hot(labels, self.classes)))
        dataset = dataset.map(lambda x, y: (self._spikes(self.read(x)), y), num_parallel_calls=tf.data.AUTOTUNE)
        return dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    def _spikes(self, events: list[tf.Tensor]) -> tf.Tensor:
        return _binned(events, self.num_steps, self.duration_us, self.sensor_size, self.polarities)


def events_to_spikes(
    x: np.ndarray,
    y: np.ndarray,
    polarity: np.ndarray,
    time: np.ndarray,
    num_steps: int,
    duration_us: int = 300_000,
    sensor_size: tuple[int, int] = (34, 34),
    polarities: int = 2,
) -> tf.Tensor:
    """Bins events into equal time steps: in a step, a pixel spikes at most once.

    Step t covers the times from `t * duration_us / num_steps` up to, but excluding, the next step's. Events outside the
    window are dropped. Runs inside tf.data too.

    Args:
        x, y: pixels (N,), integers: column and row, from 0.
        polarity: (N,), the channel, 0 or 1; 0 if there is only one.
        time: (N,) in microseconds, integers, from the start of the recording: pass `time - time.min()` if a camera
            gives those of its clock.
        num_steps: time steps T, at least 1.
        duration_us: total duration of the T steps, in microseconds; the default is that of N-MNIST.
        sensor_size: (height, width) of the sensor in pixels; (34, 34) is that of N-MNIST, (128, 128) that of a DVS128.
        polarities: number of channels, 1 or 2.

    Returns:
        Spikes (num_steps, height, width, polarities) int8, each 0 or 1, at `[step, y, x, polarity]`.

    Raises:
        TypeError: if a column has numbers that are not whole, such as times in seconds; in a graph, if its dtype is
            floating.
        tf.errors.InvalidArgumentError: if an event, in the window or not, lies outside the sensor, a polarity is not a
            channel, or all events come after the window.

    Example:
        >>> spikes = events_to_spikes([3, 3, 5], [4, 4, 0], [1, 1, 0], [0, 99, 100], num_steps=2, duration_us=200)
        >>> np.argwhere(spikes).tolist()
        [[0, 4, 3, 1], [1, 0, 5, 0]]
    """
    spikes = _binned((x, y, polarity, time), num_steps, duration_us, sensor_size, polarities)
    time = _integers("time", time)
    message = (
        "`time` must be microseconds from the start of the recording, such as time - time.min(), not all after "
        f"`duration_us`, {duration_us} (for a window of a longer recording, pass earlier events too, or only those in "
        "it). Received: times from, and to,"
    )
    first = tf.reduce_min(time)
    known = (first < duration_us) | (tf.size(time) == 0)
    return asserted(known, [message, first, tf.reduce_max(time)], spikes)[0]


def _binned(
    events: Sequence[Any], num_steps: int, duration_us: int, sensor_size: tuple[int, int], polarities: int
) -> tf.Tensor:
    """`events_to_spikes`, also of recordings without an event in the window."""
    num_steps = check_positive_int("num_steps", num_steps)
    duration_us = check_positive_int("duration_us", duration_us)
    height, width = check_positive_ints("sensor_size", sensor_size)
    check_choice("polarities", polarities, (1, 2))
    x, y, polarity, time = _on_sensor(events, height, width)
    channels = (
        f"`polarity` must be {'0 or 1' if polarities == 2 else '0, the only channel'}: of events with -1 and 1, give "
        "polarity > 0. Received: polarity from, and to,"
    )
    limits = tf.reduce_min(polarity), tf.reduce_max(polarity)
    (polarity,) = asserted((polarity >= 0) & (polarity < polarities), [channels, *limits], polarity)
    step = time * num_steps // duration_us  # int64: the product does not fit in 32 bits
    indices = tf.boolean_mask(tf.stack([step, y, x, polarity], axis=1), (step >= 0) & (step < num_steps))
    shape = (num_steps, height, width, polarities)
    return tf.tensor_scatter_nd_update(tf.zeros(shape, tf.int8), indices, tf.ones(tf.shape(indices)[:1], tf.int8))


def _integers(name: str, column: Any) -> tf.Tensor:
    column = tf.convert_to_tensor(column if tf.is_tensor(column) else np.asarray(column))  # floats in 64 bits
    whole = not column.dtype.is_floating or (tf.executing_eagerly() and bool(tf.reduce_all(column == tf.floor(column))))
    if not whole:
        raise TypeError(
            f"`{name}` must be integers{' (microseconds)' if name == 'time' else ''}. Received: {name} of dtype "
            f"{column.dtype.name}"
        )
    return tf.ensure_shape(tf.cast(column, tf.int64), (None,))  # a tf.numpy_function gives no shape


def _on_sensor(events: Sequence[Any], height: int, width: int) -> list[tf.Tensor]:
    """The columns as integers, available only after it is verified that all events lie on the sensor."""
    x, y, *others = (_integers(name, column) for name, column in zip(_COLUMNS, events, strict=True))
    (x_from, x_to), (y_from, y_to) = ((tf.reduce_min(column), tf.reduce_max(column)) for column in (x, y))
    message = tf.strings.format(
        f"`x` and `y` must lie on the sensor, 0 <= x < {width} and 0 <= y < {height} for sensor_size=({height}, "
        f"{width}), (height, width). Received: x from {{}} to {{}}, y from {{}} to {{}}",
        (x_from, x_to, y_from, y_to),
    )
    return [*asserted(_lie_on(x, y, height, width), [message], x, y), *others]


def _lie_on(x: tf.Tensor, y: tf.Tensor, height: int, width: int) -> tf.Tensor:
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def _shifted(events: list[tf.Tensor], random: tf.Tensor, height: int, width: int) -> list[tf.Tensor]:
    """The events of a recording, moved by up to 2 pixels; what leaves the sensor is dropped."""
    x, y, *others = _on_sensor(events, height, width)
    shift = tf.cast(tf.random.stateless_uniform([2], random, -_SHIFT, _SHIFT + 1, tf.int32), x.dtype)
    x, y = (x + shift[0] if width > 1 else x), (y + shift[1] if height > 1 else y)
    stays = _lie_on(x, y, height, width)
    return [tf.boolean_mask(column, stays) for column in (x, y, *others)]
