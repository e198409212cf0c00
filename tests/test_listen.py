"""A stream of spoken digits, in a process without TensorFlow, is the window of the model; what the program prints."""

import subprocess
import sys
import wave

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from examples import listen
from tests.pages import ROOT
from tests.real_data import TFDS, needs

pytest.importorskip("ai_edge_litert", reason="needs pip install 'keras-spiking-bp[export]'")

#: Hears each recording in chunks of three sizes, as a machine would that has listen.py and the two files.
STREAMS = """
import sys
import numpy as np
import listen
constants, found = dict(np.load("digits.npz")), {}
for name, samples in np.load("recordings.npz").items():
    found[f"{name} frames"] = list(listen.LogMel(constants)(samples))
    for frames in (1, 7, 32):
        chunks = np.split(samples, range(80 * frames, len(samples), 80 * frames))
        found[f"{name} outputs {frames}"], _ = zip(*listen.hear("digits.tflite", constants, chunks))
np.savez("found.npz", **found)
assert not {"tensorflow", "keras", "keras_spiking_bp", "examples"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("listen")
    (folder / "listen.py").write_text((ROOT / "examples" / "listen.py").read_text())
    listen.main(["--export", str(folder / "digits.tflite")])
    return folder


def made_up(lengths):
    """Tones with noise that swell and fade, after some digital silence."""
    rng = np.random.default_rng(0)
    for length in lengths:
        time = np.arange(length) / 8000
        tone = np.sin(2 * np.pi * (300 + 1500 * time) * time) + rng.normal(0, 0.1, length)
        yield (9000 * tone * np.sin(np.pi * time / time[-1]) * (time > rng.uniform(0, 0.1))).astype("int16")


def window_of(recordings):
    """`log_mel` of each, the model's predictions, and its `analysis.run`."""
    features = [ksbp.datasets.log_mel(samples) for samples in recordings]
    series = keras.utils.pad_sequences(features, dtype="float32", padding="post", value=-1)
    model = ksbp.models.load_pretrained("spoken_digits")
    masked = keras.Model(model.inputs, model.get_layer("time")(keras.layers.Masking(-1.0)(model.inputs[0])))
    return features, masked.predict(series, verbose=0), ksbp.analysis.run(masked, series, verbose=0)


def assert_streams_are_windows(folder, recordings):
    np.savez(folder / "recordings.npz", *recordings)
    subprocess.run([sys.executable, "-c", STREAMS], check=True, cwd=folder)
    found = np.load(folder / "found.npz")
    features, predictions, run = window_of(recordings)
    for i, frames in enumerate(features):
        np.testing.assert_allclose(found[f"arr_{i} frames"], frames, rtol=0, atol=1e-5)
        for size in (1, 7, 32):
            outputs = found[f"arr_{i} outputs {size}"]
            np.testing.assert_allclose(outputs, run.outputs[i, : len(frames)], rtol=0, atol=1e-5)
            np.testing.assert_allclose(outputs[-1], predictions[i], rtol=0, atol=1e-5)
            assert outputs[-1].argmax() == predictions[i].argmax()


def test_streams_are_windows(folder):
    assert_streams_are_windows(folder, list(made_up([300, 4111, 5000])))


@pytest.mark.slow
@needs(TFDS / "spoken_digit")
def test_streams_of_the_real_recordings_are_windows(folder):
    assert_streams_are_windows(folder, ksbp.datasets.load_spoken_digits(TFDS)[1].audio)


def write(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", None))
        file.writeframes(samples.astype("<i2").tobytes())
    return str(path)


def test_what_is_printed(folder, capsys):
    recordings = list(made_up([3000, 5000]))
    files = [write(folder / f"{i}.wav", samples) for i, samples in enumerate(recordings)]
    features, predictions, run = window_of(recordings)
    second, first = np.sort(run.outputs, -1)[..., -2:].transpose(2, 0, 1)
    margin = float(np.median(first - second))
    listen.main([str(folder / "digits.tflite"), *files, "--margin", str(margin)])
    _, *rows = capsys.readouterr().out.splitlines()
    exits = []
    for i, row in enumerate(rows):
        guess, after, at_the_end, length, median, slow, file = row.split()
        exits.append(round((float(after) - 0.025) * 100) + 1)
        assert int(guess) == run.outputs[i, exits[-1] - 1].argmax() and int(at_the_end) == predictions[i].argmax()
        assert length == f"{(len(features[i]) * 80 + 120) / 8000:.3f}" and 0 < float(median) <= float(slow)
        assert file == files[i]
    labels = predictions.argmax(1)
    early = ksbp.analysis.accuracy_over_time(run, labels=labels).early_exit([margin]).rows[0]
    assert np.mean(exits) == early["steps"]
