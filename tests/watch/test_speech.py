"""The page of spoken digits in Chromium: the numbers of `log_mel` and `predict`, and the microphone."""

import base64
import json
import wave

import numpy as np
import pytest

import keras_spiking_bp as ksbp
from docs.watch.chromium import chromium, open_page
from keras_spiking_bp.datasets import log_mel
from tests.watch.test_page import text, wait

pytestmark = pytest.mark.browser
PLAY = "const [i, done] = arguments; watch.page.play(watch.page.recordings[i], Infinity).then(done)"

DECIDED = """const [done] = arguments, {page} = watch, {frames} = page.layers.rows[0].raster;
    const look = () => page.decided ? done([page.heard, frames.map((of) => [...of])]) : requestAnimationFrame(look);
    look()"""


@pytest.fixture(scope="module")
def recordings(folder):
    about = json.loads((folder / "speech.json").read_text())
    return [np.frombuffer(base64.b64decode(of["samples"]), "<i2") for of in about["recordings"]]


@pytest.fixture(scope="module")
def network():
    return ksbp.models.load_pretrained("spoken_digits")


@pytest.fixture
def page(browser, address):
    return open_page(browser, address + "speech.html")


def hear(page, audio, *chunk):
    return page.execute_script("return watch.hear(...arguments)", (audio / 2**15).tolist(), *chunk)


def test_the_numbers_of_the_library(page, recordings, network):
    page.get_log("browser")  # of other tests
    for i, audio in enumerate(recordings):
        frames = log_mel(audio)
        given = hear(page, audio)
        np.testing.assert_allclose(given["frames"], frames, rtol=0, atol=1e-5)
        done = ksbp.analysis.run(network, frames[None], verbose=0)
        expected = network.predict(frames[None], verbose=0)[0]
        atol = 1e-4 * np.abs(done.outputs).max()
        np.testing.assert_allclose(given["outputs"], done.outputs[0], rtol=0, atol=atol)
        np.testing.assert_allclose(given["outputs"][-1], expected, rtol=0, atol=atol)
        page.execute_async_script(PLAY, i)
        assert text(page, "digit") == str(expected.argmax())
        spikes = sum(of.sum() for of in done.spikes.values())
        assert page.execute_script("return watch.page.counts.word") == {"frames": len(frames), "spikes": spikes}
        assert page.execute_script("return watch.page.counts.silence.frames") == 150 - len(frames)
    assert not [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"]


def test_chunks_of_any_size(page, recordings):
    whole = hear(page, recordings[0])
    for frames in (1, 7, 32):
        assert hear(page, recordings[0], 80 * frames) == whole


def test_without_a_microphone(page):
    page.find_element("id", "listen").click()
    wait(page, lambda: "got no microphone" in text(page, "problem"))
    page.find_element("css selector", "#recordings button:last-child").click()
    wait(page, lambda: text(page, "headline").startswith("It is a"))
    assert not page.find_element("id", "problem").is_displayed()


def test_the_microphone(address, recordings, tmp_path):
    path = tmp_path / "word.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.pad(recordings[0], 8000).tobytes())  # a second of silence on both sides
    fake = ("device-for-media-stream", "ui-for-media-stream")
    with chromium(*(f"--use-fake-{name}" for name in fake), f"--use-file-for-fake-audio-capture={path}") as driver:
        page = open_page(driver, address + "speech.html")
        page.find_element("id", "listen").click()
        heard, frames = page.execute_async_script(DECIDED)
        expected = log_mel(np.pad(recordings[0], (8000, 2000)))  # a word ends after 0.25 s of quiet
        loud, expected = (np.array([frame for frame in of if np.std(frame) > 0.1]) for of in (frames, expected))
        assert 0.6 < heard / len(log_mel(recordings[0])) < 1.5  # a busy machine loses sound
        assert 0.6 < len(loud) / len(expected) < 1.5
        within = slice(38)  # the last bands lie where the filters of both resamplings begin
        assert np.corrcoef(loud.mean(0)[within], expected.mean(0)[within])[0, 1] > 0.99
        page.find_element("id", "listen").click()
        assert text(page, "headline") == "Nothing heard yet"
