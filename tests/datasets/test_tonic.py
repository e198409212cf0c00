"""Data sets of tonic: synthetic events in its dtypes, binned by a plain Python loop; no test needs tonic itself."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_bp.datasets import from_tonic

CAMERA = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])  # as of DVSGesture
AUDIO = np.dtype([("x", np.int64), ("t", np.int64), ("p", np.int64)])  # as of SHD


class Recordings:
    """As a data set of tonic: made anew at each access, as from a file."""

    def __init__(self, number, dtype, sensor_size=None, seed=0, start=1_000_000):
        self.number, self.dtype, self.seed, self.start = number, dtype, seed, start
        if sensor_size is not None:
            self.sensor_size = sensor_size

    def __len__(self):
        return self.number

    def __getitem__(self, i):
        if not 0 <= i < self.number:
            raise IndexError(i)
        rng = np.random.default_rng([self.seed, i])
        events = np.zeros(40 + i, self.dtype)
        events["x"] = rng.integers(0, 9, len(events))
        if "y" in self.dtype.names:
            events["y"] = rng.integers(0, 7, len(events))
        events["t"] = self.start + np.sort(rng.integers(0, 5000, len(events)))
        events["p"] = rng.integers(0, 2, len(events))
        return events, i % 3


def binned(events, num_steps, duration_us, shape):
    spikes = np.zeros((num_steps, *shape), "int8")
    for event in events:
        step = int(event["t"] - events["t"][0]) * num_steps // duration_us
        if step < num_steps:
            y = event["y"] if "y" in events.dtype.names else 0
            spikes[step, y, event["x"], int(event["p"]) if shape[-1] == 2 else 0] = 1
    return spikes


@pytest.mark.parametrize(
    ("dtype", "sensor_size", "shape", "duration_us"),
    [(CAMERA, (9, 7, 2), (7, 9, 2), None), (AUDIO, (9, 1, 1), (1, 9, 1), 3000)],
)
def test_spikes_and_labels(dtype, sensor_size, shape, duration_us):
    train, test = Recordings(10, dtype, sensor_size), Recordings(5, dtype, sensor_size, seed=1)
    data = from_tonic(train, test, num_steps=8, duration_us=duration_us)
    assert (data.input_shape, data.classes) == (shape, 3)
    longest = max(int(np.ptp(train[i][0]["t"])) for i in range(10)) + 1
    assert data.duration_us == (longest if duration_us is None else duration_us)

    spikes, labels = next(iter(data.test_batches(5)))
    expected = [binned(test[i][0], 8, data.duration_us, shape) for i in range(5)]
    np.testing.assert_array_equal(spikes, expected)
    np.testing.assert_array_equal(labels, np.eye(3)[[0, 1, 2, 0, 1]])

    seen = [(x.numpy(), y.numpy()) for x, y in data.batches(5, seed=3).epoch(2)]
    again = [(x.numpy(), y.numpy()) for x, y in data.batches(5, seed=3).epoch(2, first_batch=1)]
    np.testing.assert_array_equal(again[0][0], seen[1][0])
    of_train = {binned(train[i][0], 8, data.duration_us, shape).tobytes(): i % 3 for i in range(10)}
    drawn = [of_train[x.tobytes()] == y.argmax() for xs, ys in seen for x, y in zip(xs, ys, strict=True)]
    assert len(drawn) == 10 and all(drawn)
    assert len({x.tobytes() for xs, _ in seen for x in xs}) == 10


def test_events_beyond_the_sensor_are_refused():
    recordings = Recordings(6, CAMERA, (9, 7, 2))
    data = dataclasses.replace(from_tonic(recordings, recordings, 8), sensor_size=(7, 5))
    with pytest.raises(tf.errors.InvalidArgumentError, match="`x` and `y` must lie on the sensor"):
        next(iter(data.batches(6, augment=True).epoch(0)))


def test_audio_is_shifted_along_its_channels_only():
    data = from_tonic(Recordings(6, AUDIO, (9, 1, 1)), Recordings(2, AUDIO, (9, 1, 1)), num_steps=8)
    plain, shifted = (next(iter(data.batches(6, augment).epoch(0)))[0].numpy() for augment in (False, True))
    assert shifted.shape == plain.shape and (shifted != plain).any()
    for before, after in zip(plain, shifted, strict=True):
        assert any(
            np.array_equal(after[:, 0, max(s, 0) : 9 + min(s, 0)], before[:, 0, max(-s, 0) : 9 - max(s, 0)])
            for s in range(-2, 3)
        )


GOOD = Recordings(4, CAMERA, (9, 7, 2))


def in_seconds():
    """A recording with times that are no integers."""
    return [(GOOD[0][0].astype([(name, "float32" if name == "t" else CAMERA[name]) for name in CAMERA.names]), 0)]


@pytest.mark.parametrize(("train", "change", "error", "message"), [
    (in_seconds(), {}, TypeError, "item 0 with `t` of dtype float32"),
])  # fmt: skip
def test_what_is_no_such_data_set(train, change, error, message):
    size = {"sensor_size": (7, 9), "polarities": 2} if isinstance(train, list) else {}
    with pytest.raises(error, match=message):
        from_tonic(train, GOOD, **{"num_steps": 5, **size, **change})


def test_tonic_itself():
    """Its own class of data sets and its own dtype, where it is installed; it would download recordings."""
    tonic = pytest.importorskip("tonic", reason="needs tonic")

    class Few(tonic.dataset.Dataset):
        sensor_size, dtype, ordering = (9, 7, 2), CAMERA, CAMERA.names

        def __getitem__(self, i):
            return Recordings(4, CAMERA)[i]

        def __len__(self):
            return 4

        def _check_exists(self):
            return True

    data = from_tonic(Few("nowhere"), Few("nowhere"), num_steps=8)
    expected = [binned(Recordings(4, CAMERA)[i][0], 8, data.duration_us, (7, 9, 2)) for i in range(4)]
    np.testing.assert_array_equal(next(iter(data.test_batches(4)))[0], expected)
