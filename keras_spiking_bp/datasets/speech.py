"""Spoken digits as log-mel series, and the features of any other recording."""

import os
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

#: Samples a second; of a frame, 25 ms; from one frame to the next, 10 ms.
_RATE, _FRAME, _HOP = 8000, 200, 80
_FFT, _BANDS = 256, 40
#: Power of a band that counts as silence, about that of noise of 8 of 2^15, and what the logarithms are divided by.
_FLOOR, _SCALE = 1e-4, 5.0
#: How much of a frame enters the running mean: of the last 200 ms.
_ADAPTATION = 0.05
#: Frames of a padded series: a second. Four training recordings are longer, and none of the test set.
_LENGTH = 100


class Recordings(NamedTuple):
    """Spoken words with labels, from `load_spoken_digits`. `series[chosen]`, `labels[chosen]`, ... select among them.

    Attributes:
        series: (N, 100, 40) float32, the `log_mel` of each recording, cut after a second, or -1 from its end on.
        mask: (N, 100), True where the recording has a frame.
        labels: (N,) int32.
        speakers: (N,) strings.
        audio: (N,) arrays, the samples of each recording, int16 at 8 kHz.
    """

    series: np.ndarray
    mask: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    audio: np.ndarray


def load_spoken_digits(data_dir: str | os.PathLike | None = None) -> tuple[Recordings, Recordings]:
    """The Free Spoken Digit Dataset by `tensorflow_datasets`: 2,500 recordings of 0 to 9 by five speakers.

    By Zohar Jackson and contributors, https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0. The test
    set is its own: the first five recordings of each digit by each speaker.

    Args:
        data_dir: folder with prepared TFDS data; None for TFDS' own choice (`TFDS_DATA_DIR`, or the home folder).
            Missing data is downloaded.

    Returns:
        2,250 `Recordings` for training and 250 for the test.

    Example:
        >>> train, test = load_spoken_digits()  # doctest: +SKIP
        >>> train.series.shape, test.series.shape  # doctest: +SKIP
        ((2250, 100, 40), (250, 100, 40))
        >>> others = train.series[train.speakers != "theo"]  # doctest: +SKIP
    """
    import tensorflow_datasets as tfds

    examples = list(tfds.as_numpy(tfds.load("spoken_digit", split="train", data_dir=data_dir)))
    names = [example["audio/filename"].decode().removesuffix(".wav").split("_") for example in examples]
    labels, speakers, numbers = (np.array(column) for column in zip(*names, strict=True))
    audio = np.empty(len(examples), object)
    audio[:] = [example["audio"].astype("int16") for example in examples]
    features = [log_mel(samples) for samples in audio]
    series = keras.utils.pad_sequences(features, _LENGTH, "float32", padding="post", truncating="post", value=-1)
    mask = np.arange(_LENGTH) < np.array([len(frames) for frames in features])[:, None]
    whole = Recordings(series, mask, labels.astype("int32"), speakers, audio)
    is_test = numbers.astype(int) < 5
    return Recordings(*(column[~is_test] for column in whole)), Recordings(*(column[is_test] for column in whole))


class LogMel:
    """`log_mel` of a stream: called with its chunks, of any size, one after the other.

    Example:
        >>> recording = np.random.default_rng(0).integers(-9000, 9000, 8000, dtype="int16")
        >>> stream = LogMel()
        >>> frames = [stream(chunk) for chunk in np.split(recording, range(300, 8000, 300))]
        >>> bool((np.concatenate(frames) == log_mel(recording)).all())
        True
    """

    def __init__(self) -> None:
        self._rest, self._background = np.zeros(0), np.zeros(_BANDS)

    def __call__(self, audio: Any) -> np.ndarray:
        """The frames, (frames, 40) float32, that are whole with these samples; `audio` as in `log_mel`."""
        self._rest = np.concatenate([self._rest, _checked(audio)])
        bands = log_bands(self._rest)
        self._rest = self._rest[_HOP * len(bands) :]
        frames, self._background = relative(bands, self._background)
        return frames


def log_mel(audio: Any) -> np.ndarray:
    """The frames of a recording as a network for spoken digits sees them: 100 a second, each from 25 ms of sound.

    In each of 40 mel bands `log(1 + power / 1e-4) / 5`, above its running mean `m += 0.05 * (value - m)`, less the mean
    of the bands. Frame t is made of the samples up to `80 * t + 199` alone: a stream, through `LogMel`, gives the
    frames of the recording, to the last bit.

    Args:
        audio: (samples,) at 8 kHz, one channel: 16-bit integers (int16, or a larger type), or floats from -1 to 1.

    Returns:
        (frames, 40) float32; no frame from less than 200 samples.

    Raises:
        TypeError: if the samples are neither floats nor signed integers of 16 bits or more.
        ValueError: if `audio` has another number of dimensions, or samples out of range.

    Source:
        Means as of cepstra: Atal, J. Acoust. Soc. Am. 55 (1974); running ones: Hermansky and Morgan, RASTA (1994).

    Example:
        >>> log_mel(np.zeros(8000, "int16")).shape
        (98, 40)
    """
    return LogMel()(audio)


def _checked(audio: Any) -> np.ndarray:
    """As float64 from -1 to 1."""
    audio = np.asarray(audio)
    if audio.ndim != 1:
        raise ValueError(
            f"`audio` must be the samples of one recording, of one channel. Received: audio of shape {audio.shape}"
        )
    if audio.dtype.kind not in "fi" or audio.dtype == "int8":
        raise TypeError(
            f"`audio` must be 16-bit integers, or floats from -1 to 1. Received: audio of dtype {audio.dtype}"
        )
    samples = audio.astype("float64") / (1 if audio.dtype.kind == "f" else 2**15)
    largest = np.abs(samples).max(initial=0)
    if not largest <= 2:  # resampled floats leave [-1, 1] by a little
        raise ValueError(
            "`audio` must be 16-bit integers, or floats from -1 to 1. Received: audio of dtype "
            f"{audio.dtype}, from {audio.min()} to {audio.max()}"
        )
    return samples


def log_bands(samples: np.ndarray) -> np.ndarray:
    """`log(1 + power / 1e-4) / 5`, (frames, 40), of samples from -1 to 1."""
    with tf.device("CPU:0"):
        return _log_bands(samples).numpy()


def relative(bands: np.ndarray, background: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What (..., frames, 40) have above their running mean, less the mean of the bands; and the new running mean."""
    frames = np.empty_like(bands)
    for t in range(bands.shape[-2]):
        background = background + _ADAPTATION * (bands[..., t, :] - background)
        frames[..., t, :] = bands[..., t, :] - background
    return (frames - frames.mean(-1, keepdims=True)).astype("float32"), background


def constants() -> dict[str, Any]:
    """What the frames are made with, for a program that computes them without TensorFlow."""
    filters = tf.signal.linear_to_mel_weight_matrix(_BANDS, _FFT // 2 + 1, _RATE, 20.0, _RATE / 2, tf.float64)
    window = tf.signal.hann_window(_FRAME, dtype=tf.float64)
    return {"window": window, "filters": filters, "floor": _FLOOR, "scale": _SCALE, "adaptation": _ADAPTATION}


@tf.function(input_signature=[tf.TensorSpec([None], tf.float64)], autograph=False)
def _log_bands(samples: tf.Tensor) -> tf.Tensor:
    """In float64: other libraries, and the browser, come to the same float32."""
    made_of = constants()
    frames = tf.signal.frame(samples, _FRAME, _HOP) * made_of["window"]
    spectrum = tf.signal.rfft(frames, [_FFT])
    power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
    # one product of all frames rounds by their number
    bands = tf.linalg.matvec(made_of["filters"], power, transpose_a=True)
    return tf.math.log1p(bands / _FLOOR) / _SCALE
