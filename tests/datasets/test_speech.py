"""Spoken digits: features against NumPy's, in a stream, the split on recordings by hand and on the real ones."""

import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_bp.datasets import LogMel, load_spoken_digits, log_mel
from tests.real_data import TFDS, needs


def recording(samples, seed=0):
    """16 bits: a tone that rises over noise, after a while of digital silence."""
    rng, time = np.random.default_rng(seed), np.arange(samples) / 8000
    sound = 9000 * np.sin(2 * np.pi * (200 + 1500 * time) * time) + rng.normal(0, 30, samples)
    return np.where(time < 0.1, 0, sound).astype("int16")


def by_hand(samples):
    """NumPy's frames of floats, in the definition of the mel scale of HTK."""

    def mel(hertz):
        return 1127 * np.log(1 + hertz / 700)

    edges = np.linspace(mel(20), mel(4000), 42)
    filters = [np.interp(mel(np.linspace(0, 4000, 129)), edges[i : i + 3], [0, 1, 0]) for i in range(40)]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(200) / 200)
    frames = np.lib.stride_tricks.sliding_window_view(samples, 200)[::80]
    power = np.abs(np.fft.rfft(frames * window, 256)) ** 2
    bands = np.log(1 + power @ np.transpose(filters) / 1e-4) / 5
    means = [sum(0.05 * 0.95 ** (t - i) * bands[i] for i in range(t + 1)) for t in range(len(bands))]
    return bands - means - np.mean(bands - means, -1, keepdims=True)


def in_chunks(samples, sizes):
    """The frames of a stream."""
    stream, (*ends, end) = LogMel(), np.cumsum(sizes)
    assert end >= len(samples)
    return np.concatenate([stream(chunk) for chunk in np.split(samples, ends)])


def test_the_frames_are_those_of_numpy():
    samples = recording(9000)
    frames = log_mel(samples)
    assert frames.shape == ((9000 - 200) // 80 + 1, 40) and frames.dtype == "float32"
    np.testing.assert_allclose(frames, by_hand(samples / 32768), rtol=1e-6, atol=1e-6)
    assert not frames[0].any() and frames.max() > 0.5  # silence is 0


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64"])
def test_the_same_sound_in_other_numbers(dtype):
    samples = recording(3000)
    others = (samples / 32768).astype(dtype) if dtype.startswith("float") else samples.astype(dtype)
    np.testing.assert_array_equal(log_mel(others), log_mel(samples))


@pytest.mark.parametrize("sizes", [[80] * 115, [7 * 80] * 17, [32 * 80] * 4, "ragged"], ids=["1", "7", "32", "ragged"])
def test_a_stream_has_the_frames_of_the_recording_to_the_last_bit(sizes):
    samples = recording(9137)
    if sizes == "ragged":
        sizes = [1, 199, 1, 0, *np.random.default_rng(1).integers(1, 900, 60)]
    np.testing.assert_array_equal(in_chunks(samples, sizes), log_mel(samples))


def test_less_than_a_frame():
    samples = recording(1200)[-200:]
    assert log_mel(samples).shape == (1, 40)
    for length in (0, 199):
        assert log_mel(samples[:length]).shape == (0, 40)


@pytest.mark.parametrize(("audio", "error", "message"), [
    (np.zeros((2, 800)), ValueError, r"samples of one recording, of one channel. Received: .* shape \(2, 800\)"),
    (np.zeros(800, "uint8"), TypeError, "16-bit integers, or floats from -1 to 1. Received: .* dtype uint8"),
    (np.full(800, 8000.0), ValueError, "floats from -1 to 1. Received: .* float64, from 8000.0 to 8000.0"),
    (np.full(800, 2**30), ValueError, "must be 16-bit integers.* int64, from 1073741824 to"),
    (np.full(800, np.nan), ValueError, "from nan to nan"),
])  # fmt: skip
def test_what_is_no_recording(audio, error, message):
    with pytest.raises(error, match=message):
        log_mel(audio)


def test_split_padding_and_mask(monkeypatch):
    """On recordings by hand: too short for a frame, of 11 frames, and longer than a second."""
    tfds = pytest.importorskip("tensorflow_datasets")
    names = ["3_ann_4.wav", "7_bob_5.wav", "0_ann_0.wav", "3_bob_49.wav", "9_ann_12.wav"]
    audio = [recording(n, seed=n).astype("int64") for n in (9000, 1000, 1079, 100, 9137)]
    examples = [
        {"audio": a, "audio/filename": name, "label": int(name[0])} for a, name in zip(audio, names, strict=True)
    ]
    types = {"audio": tf.TensorSpec([None], "int64"), "audio/filename": tf.TensorSpec([], "string")}
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(examples), output_signature={**types, "label": tf.TensorSpec([], "int64")}
    )
    monkeypatch.setattr(tfds, "load", lambda name, split, data_dir: dataset)
    train, test = load_spoken_digits()
    assert test.labels.tolist() == [3, 0] and test.speakers.tolist() == ["ann", "ann"]
    assert train.labels.tolist() == [7, 3, 9] and train.speakers.tolist() == ["bob", "bob", "ann"]
    assert train.labels.dtype == "int32" and train.series.dtype == "float32"
    for split, chosen, lengths in ((test, [0, 2], [100, 11]), (train, [1, 3, 4], [11, 0, 100])):
        assert split.series.shape == (len(chosen), 100, 40)
        assert split.mask.tolist() == [[t < length for t in range(100)] for length in lengths]
        for i, j in enumerate(chosen):
            assert split.audio[i].dtype == "int16" and split.audio[i].tolist() == audio[j].tolist()
            np.testing.assert_array_equal(split.series[i][split.mask[i]], log_mel(audio[j])[: lengths[i]])
            assert (split.series[i][~split.mask[i]] == -1).all()


@pytest.mark.slow
@needs(TFDS / "spoken_digit")
def test_the_real_recordings():
    train, test = load_spoken_digits(TFDS)
    for split, each in ((train, 45), (test, 5)):
        words, counts = np.unique([split.labels.astype(str), split.speakers], axis=1, return_counts=True)
        assert words.shape == (2, 50) and set(counts) == {each}
    assert not {samples.tobytes() for samples in train.audio} & {samples.tobytes() for samples in test.audio}
    for samples in test.audio[::50]:
        np.testing.assert_array_equal(in_chunks(samples, [80] * (len(samples) // 80 + 1)), log_mel(samples))
