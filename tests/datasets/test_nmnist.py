"""Event recordings, against a decoding by a plain Python loop."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_bp.datasets import events_to_spikes, load_nmnist, read_events
from tests.real_data import NMNIST, needs


def recording(*events):
    """Bytes of events (x, y, polarity, time)."""
    return b"".join(bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for x, y, p, t in events)


def decoded(data):
    """The events of a recording, byte by byte."""
    events, late = [], 0
    for i in range(0, len(data), 5):
        x, y, a, b, c = data[i : i + 5]
        if y == 240:
            late += 8192
        else:
            events.append((x, y, a >> 7, (a & 127) * 65536 + b * 256 + c + late))
    return events


def binned(events, num_steps, duration_us):
    """Spikes of events, step by step: a step takes the times from its start to before its end."""
    spikes = np.zeros((num_steps, 34, 34, 2), "int8")
    for x, y, p, time in events:
        for step in range(num_steps):
            if step * duration_us <= time * num_steps < (step + 1) * duration_us:
                spikes[step, y, x, p] = 1
    return spikes


def random_recording(n, seed):
    """Any bytes, but for pixels on the sensor; now and then the clock runs over."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (n, 5))
    data[:, :2] %= 34
    data[rng.random(n) < 0.05, 1] = 240
    return data.astype("uint8").tobytes()


def digits(n, seed, until=300_000):
    """A recording with times inside of the usual window."""
    rng = np.random.default_rng(seed)
    columns = [rng.integers(0, high, n) for high in (34, 34, 2, until)]
    return recording(*np.stack(columns, 1).tolist())


@pytest.fixture
def official(tmp_path):
    """Two recordings a class for training, one for the test."""
    for split, numbers in (("Train", (7, 31)), ("Test", (4,))):
        for label, number in itertools.product(range(10), numbers):
            path = tmp_path / split / str(label) / f"{number:05d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(digits(60, seed=100 * number + label))
    return tmp_path


@pytest.fixture
def subset(tmp_path):
    (tmp_path / "train1K.txt").write_text("#sample #class\n1\t5\n2\t0\n10\t5\n")
    (tmp_path / "test100.txt").write_text("#sample #class\n60001\t7\n")
    for number in (1, 2, 3, 10, 60001):
        (tmp_path / f"{number}.bs2").write_bytes(digits(20, seed=number))
    return tmp_path


def test_random_bytes(tmp_path):
    """Times to 8.4 seconds: times the number of steps they leave 32 bits."""
    path = tmp_path / "a.bin"
    path.write_bytes(random_recording(400, seed=0))
    events = decoded(path.read_bytes())
    columns = read_events(path)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == events
    assert {column.dtype for column in columns} == {np.dtype("int32")}
    assert 0 < len(events) < 400 and max(time for *_, time in events) * 300 > 2**31
    spikes = events_to_spikes(*columns, num_steps=300, duration_us=8_400_000)
    assert spikes.dtype == tf.int8
    np.testing.assert_array_equal(spikes, binned(events, 300, 8_400_000))


@pytest.mark.parametrize("num_steps, duration_us, steps", [(3, 10, "0000111222"), (1, 4, "0000")])
def test_edges_of_the_bins(num_steps, duration_us, steps):
    """One event a microsecond, each at its own pixel; those after the window, or before it, fall away."""
    time = np.arange(-1, 15)
    spikes = events_to_spikes(np.arange(16), np.zeros(16, int), np.ones(16, int), time, num_steps, duration_us)
    expected = [[int(step), 0, x, 1] for x, step in enumerate(steps, start=1)]
    assert np.argwhere(spikes).tolist() == expected


def test_a_pixel_spikes_once_in_a_step():
    """300 events would be 44 in an int8."""
    ones = np.ones(300, int)
    spikes = events_to_spikes(3 * ones, 5 * ones, 0 * ones, 2 * ones, 2, 10)
    assert np.argwhere(spikes).tolist() == [[0, 5, 3, 0]] and spikes.numpy().max() == 1


def test_the_official_layout(official):
    data = load_nmnist(official, num_steps=3)
    assert data.input_shape == (34, 34, 2) and data.classes == 10 and data.num_steps == 3
    for (paths, labels), split, names in (
        (data.train, "Train", ["00007.bin", "00031.bin"]),
        (data.test, "Test", ["00004.bin"]),
    ):
        assert paths.tolist() == [str(official / split / str(i) / name) for i in range(10) for name in names]
        assert labels.tolist() == np.repeat(np.arange(10), len(names)).tolist() and labels.dtype == "int32"
    assert len(data.with_validation(6).test[0]) == 6


def test_the_layout_of_the_small_subset(subset):
    data = load_nmnist(subset, num_steps=3)
    assert data.train[0].tolist() == [str(subset / f"{number}.bs2") for number in (1, 2, 10)]
    assert data.train[1].tolist() == [5, 0, 5]
    assert data.test[0].tolist() == [str(subset / "60001.bs2")] and data.test[1].tolist() == [7]


def expected_of(paths, num_steps, duration_us=300_000):
    return np.array([binned(decoded(Path(path).read_bytes()), num_steps, duration_us) for path in paths])


def test_test_batches_are_in_order_and_whole(official):
    data = load_nmnist(official, num_steps=4, duration_us=200_000)
    batches = list(data.test_batches(4))
    assert [len(x) for x, _ in batches] == [4, 4, 2]
    spikes, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    np.testing.assert_array_equal(spikes, expected_of(data.test[0], 4, 200_000))
    np.testing.assert_array_equal(labels, np.eye(10))
    assert spikes.sum() < expected_of(data.test[0], 4).sum()  # events after the window fell away


def test_a_file_is_read_when_its_batch_comes(subset):
    batches = load_nmnist(subset, num_steps=2).batches(3)
    for number in (1, 2, 10):
        (subset / f"{number}.bs2").write_bytes(recording((number, 0, 1, 0)))
    spikes, _ = next(iter(batches.epoch(0)))
    assert sorted(np.argwhere(spikes)[:, 3]) == [1, 2, 10]


def test_augmentation_shifts_all_steps_alike(subset):
    """Each augmented recording is found among all shifts of the originals, made in NumPy."""
    data = load_nmnist(subset, num_steps=3)
    padded = np.pad(expected_of(data.train[0], 3), ((0, 0), (0, 0), (2, 2), (2, 2), (0, 0)))
    shifted = {(i, j): padded[:, :, i : i + 34, j : j + 34] for i in range(5) for j in range(5)}
    batches = data.batches(3, augment=True, seed=4)
    found = []
    for batch in batches.epochs(0, 12):
        for spikes, label in zip(*batch, strict=True):
            matches = [
                (shift, data.train[1][k])
                for shift, originals in shifted.items()
                for k in range(3)
                if (originals[k] == spikes.numpy()).all()
            ]
            assert [label_of for _, label_of in matches] == [np.argmax(label)]
            found += [shift for shift, _ in matches]
    rows, columns = zip(*found, strict=True)
    assert set(rows) == set(columns) == set(range(5))
    assert len(set(found)) > 12  # rows and columns are drawn apart


def test_events_of_another_camera(subset):
    path = subset / "60001.bs2"
    batches = load_nmnist(subset, 2).test_batches(1)
    path.write_bytes(recording((1, 1, 1, 1), (0, 34, 1, 1)))
    for reads in (lambda: list(batches), lambda: read_events(path)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"outside of the 34 x 34 pixels(?s:.*)60001\.bs2"):
            reads()


def test_times_that_do_not_count_from_the_start_are_refused():
    """The spikes would be zeros; in tf.data too."""
    message = "`time` must be microseconds from the start of the recording, .* after `duration_us`, 300000 .*Received"
    times = [300_000, 400_000]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        events_to_spikes([0, 1], [0, 1], [0, 1], times, num_steps=10)
    dataset = tf.data.Dataset.from_tensors(tf.constant(times, tf.int64))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        list(dataset.map(lambda time: events_to_spikes([0, 1], [0, 1], [0, 1], time, num_steps=10)))
    quiet = [-5, 300_000]  # a window of a longer recording
    assert not np.any(events_to_spikes([0, 1], [0, 1], [0, 1], quiet, num_steps=10))


def test_a_larger_sensor():
    """The events of the right half of a DVS128, each at its pixel; height and width are told apart."""
    rng = np.random.default_rng(0)
    x, y, polarity = rng.integers(64, 128, 200), rng.integers(0, 100, 200), rng.integers(0, 2, 200)
    time = rng.integers(0, 400, 200)
    spikes = events_to_spikes(x, y, polarity, time, num_steps=2, duration_us=300, sensor_size=(100, 128)).numpy()
    expected = np.zeros((2, 100, 128, 2), "int8")
    for event in zip(time // 150, y, x, polarity, strict=True):
        if event[0] < 2:
            expected[event] = 1
    np.testing.assert_array_equal(spikes, expected)


@pytest.mark.parametrize("x, y, size", [(-1, 1, (34, 34)), (5, 3, (6, 5))])
def test_events_outside_of_the_sensor(x, y, size):
    """Refused at any time, also after the window."""
    message = rf"sensor_size=\({size[0]}, {size[1]}\).*Received: x from {min(x, 1)} to {max(x, 1)}, y from 1 to {y}"
    for time in (0, 10**6):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            events_to_spikes([1, x], [1, y], [0, 0], [0, time], 2, sensor_size=size)


@needs(NMNIST)
def test_real_recordings():
    data = load_nmnist(NMNIST, num_steps=20)
    assert (len(data.train[0]), len(data.test[0])) == (1000, 100)
    path = data.test[0][0]
    events = decoded(Path(path).read_bytes())
    assert list(zip(*(column.tolist() for column in read_events(path)), strict=True)) == events
    spikes, labels = next(iter(data.test_batches(1)))
    np.testing.assert_array_equal(spikes[0], binned(events, 20, 300_000))
    assert path.endswith("60001.bs2") and np.argmax(labels) == 7
    assert np.mean([time < 300_000 for *_, time in events]) > 0.98  # the window keeps all three movements


@pytest.mark.parametrize(("change", "error", "argument"), [
    ({"duration_us": 2.5}, ValueError, "`duration_us`"),
    ({"sensor_size": (0, 34)}, ValueError, "`sensor_size`"),
    ({"polarities": 3}, ValueError, "`polarities`"),
    ({"time": [0.05, 0.25]}, TypeError, "`time`"),
    ({"polarity": [1, -1]}, tf.errors.InvalidArgumentError, "`polarity`"),
    ({"polarities": 1}, tf.errors.InvalidArgumentError, "`polarity`"),
])  # fmt: skip
def test_refused(change, error, argument):
    """Times in seconds, rounded down, would all be in the first step."""
    with pytest.raises(error, match=argument):
        events_to_spikes(**{"x": [0, 1], "y": [0, 0], "polarity": [0, 1], "time": [0, 5], "num_steps": 2, **change})


def test_missing_data():
    with pytest.raises(FileNotFoundError, match=r"Train/0..9/\*.bin.*train1K.txt.*0 recordings for training and 0 for"):
        load_nmnist("no", 2)
