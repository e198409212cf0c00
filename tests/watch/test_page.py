"""The page in Chromium: the numbers of `predict`, a drawn digit, the keyboard, what it says of problems."""

import base64
import json

import numpy as np
import pytest

import keras_spiking_bp as ksbp
from docs.watch.chromium import open_page

pytestmark = pytest.mark.browser


def text(page, name):
    return page.find_element("id", name).text


def steps(page):
    return page.execute_script("return watch.page.run.steps")


def wait(page, condition, seconds=60):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(page, seconds, poll_frequency=0.1).until(lambda page: condition())


def fastest(page):
    page.execute_script(
        "const slider = document.getElementById('speed'); slider.value = 6;slider.dispatchEvent(new Event('input'))"
    )


def draw(page, *strokes, kind="mouse"):
    """Draws strokes, lists of points in [0, 1], on the pad."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    pad = page.find_element("id", "pad")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", pad)
    for stroke in strokes:
        actions = ActionChains(page, duration=20, devices=[PointerInput(kind, kind)])
        pointer = actions.w3c_actions.pointer_action
        for i, (x, y) in enumerate(stroke):
            pointer.move_to(pad, int((x - 0.5) * pad.size["width"]), int((y - 0.5) * pad.size["height"]))
            if i == 0:
                pointer.pointer_down()
        pointer.pointer_up()
        actions.perform()


def ring(number=24):
    angles = np.linspace(0, 2 * np.pi, number)
    return [(0.5 + 0.22 * np.sin(a), 0.5 - 0.33 * np.cos(a)) for a in angles]


SEVEN = [(0.25, 0.2), (0.5, 0.2), (0.75, 0.2), (0.62, 0.45), (0.5, 0.65), (0.42, 0.85)]
ONE = [(0.52, 0.15), (0.5, 0.4), (0.49, 0.6), (0.48, 0.85)]
#: Of input spikes with which the integers of the page move no spike (with most seeds, they move a few).
SEED = 77


@pytest.fixture(scope="module")
def images(folder):
    """The ten digits of the page."""
    about = json.loads((folder / "network.json").read_text())
    pixels = [np.frombuffer(base64.b64decode(d["pixels"]), "uint8") for d in about["test_set"]["digits"]]
    return np.stack(pixels).reshape(-1, 28, 28, 1).astype("float32") / 255


@pytest.fixture(scope="module")
def spikes(images):
    """Their spikes (10, T, 28, 28, 1), drawn by the library."""
    recipe = ksbp.models.model_card("mnist")["recipe"]
    return ksbp.export.poisson_spikes(images, recipe["num_steps"], SEED, recipe["scale"]).astype("float32")


@pytest.fixture(scope="module")
def network(spikes):
    """The network of the package, from spikes."""
    return ksbp.models.load_pretrained("mnist", num_steps=spikes.shape[1], encoder=None)


def test_the_numbers_of_the_library(page, images, spikes, network):
    expected = network.predict(spikes, verbose=0)
    done = ksbp.analysis.run(network, spikes, verbose=0)
    picojoules = ksbp.analysis.energy(done).rows[-1]
    for i in range(len(spikes)):
        given = page.execute_script("return watch.run(...arguments)", images[i].ravel().tolist(), SEED)
        np.testing.assert_array_equal(given["inputs"], spikes[i].reshape(len(spikes[i]), -1))
        np.testing.assert_allclose(given["outputs"][-1], expected[i], rtol=0, atol=1e-4)
        np.testing.assert_allclose(given["outputs"], done.outputs[i], rtol=0, atol=1e-4)
        assert given["spikes"] == {name: of[i].sum() for name, of in done.spikes.items()}
        assert given["accumulates"] == done.so_far()["accumulates"][i, -1]
    of_ann = 1000 * picojoules["ann_energy_nj"] / done.num_steps  # one pass
    assert page.execute_script("return watch.page.network.energyOfAnn") == pytest.approx(of_ann)


def test_the_early_exit_of_the_library(page, spikes, network):
    curve = ksbp.analysis.accuracy_over_time(network, spikes, np.arange(10), verbose=0)
    call = """const [outputs, margin, done] = arguments;
        import('./decision.js').then(({certainAfter, largest}) => done(outputs.map((history) => {
          const step = certainAfter(history, margin) || history.length;
          return [step, largest(history[step - 1])]})))"""
    for margin in (0.0, 0.3, 0.8, 5.0):
        given = np.array(page.execute_async_script(call, curve.run.outputs.tolist(), margin))
        (row,) = curve.early_exit([margin]).rows
        assert given[:, 0].mean() == pytest.approx(row["steps"])
        assert (given[:, 1] == np.arange(10)).mean() == pytest.approx(row["accuracy"])


@pytest.mark.parametrize(
    "kind, strokes, digit", [("mouse", [SEVEN], "7"), ("touch", [ring()], "0"), ("mouse", [ONE], "1")]
)
def test_a_drawn_digit(page, kind, strokes, digit):
    fastest(page)
    draw(page, *strokes, kind=kind)
    wait(page, lambda: steps(page) == 25)  # by itself, when the pen has rested
    decision = page.execute_script("return document.getElementById('verdict').className")
    assert "certain" in decision and text(page, "digit") == digit and text(page, "headline") == f"It is a {digit}"
    assert (
        page.find_element("id", "announcement")
        .get_attribute("textContent")
        .startswith(f"It is a {digit}. Certain after")
    )
    assert "nJ up to the decision" in text(page, "ratio")
    assert int(text(page, "spikes").replace(",", "")) > 1000
    assert not [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"]


def test_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    fastest(page)
    page.execute_script("document.querySelector('h1').scrollIntoView()")
    body = page.find_element("tag name", "body")
    body.send_keys(Keys.TAB * 3)  # past the tabs
    pad = page.switch_to.active_element
    assert pad.get_attribute("id") == "pad"
    pad.send_keys(Keys.ARROW_UP * 9 + " " + Keys.ARROW_DOWN * 18 + Keys.ENTER)
    wait(page, lambda: steps(page) == 25)
    assert text(page, "headline") == "It is a 1"
    pad.send_keys(Keys.DELETE)
    assert steps(page) == 0 and text(page, "headline") == "No digit yet"
    for name in ("run", "step", "reset", "clear"):
        assert page.find_element("id", name).get_attribute("disabled")


def test_what_a_page_loads(browser, address):
    call = "return performance.getEntries().reduce((sum, entry) => sum + (entry.encodedBodySize ?? 0), 0)"
    loaded = [open_page(browser, address + name).execute_script(call) for name in ("index.html", "speech.html")]
    assert min(loaded) > 300_000 and max(loaded) < 700_000
