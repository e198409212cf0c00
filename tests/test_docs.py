"""The Python snippets of the documentation run, page by page; the API pages are complete."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from tests.pages import DOCS, run, site, snippets

PAGES = {path.relative_to(DOCS).as_posix(): path.read_text() for path in sorted(DOCS.rglob("*.md"))}
#: Pages that commands write, outside of the navigation.
LOG = "log/"
#: Pages whose snippets are run by tests of their own: they need packages that not everybody has, or are quick.
ELSEWHERE = {"nir.md", "export.md", "index.md"}
WITH_CODE = [name for name in PAGES if snippets(DOCS / name) and name not in ELSEWHERE]


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_CODE)
def test_snippets(name, few_digits, few_recordings, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run(DOCS / name)


def test_weights_of_snntorch_compute_the_same_here():
    """The expressions of the page, for a layer behind a flattened (C, H, W) and for a convolution."""
    rng = np.random.default_rng(0)
    of_dense, of_conv = (
        re.search(rf"`({start}[^`]*)`", PAGES["from-snntorch.md"])[1]
        for start in (r"weight\.T\.reshape", r"weight\.transpose\(2")
    )
    C, H, W = 2, 3, 4
    images = rng.normal(size=(5, C, H, W))
    weight = rng.normal(size=(6, C * H * W))
    kernel = eval(of_dense, {"weight": weight, "C": C, "H": H, "W": W})
    expected = images.reshape(5, -1) @ weight.T
    np.testing.assert_allclose(images.transpose(0, 2, 3, 1).reshape(5, -1) @ kernel, expected)
    weight = rng.normal(size=(6, C, 3, 2))  # out, in, height, width
    conv = keras.layers.Conv2D(6, (3, 2), use_bias=False)
    conv.build((None, H, W, C))
    conv.set_weights([eval(of_conv, {"weight": weight})])
    found = conv(images.transpose(0, 2, 3, 1).astype("float32"))
    for column in range(W - 1):
        patch = images[:, :, :, column : column + 2]
        np.testing.assert_allclose(found[:, 0, column], np.einsum("bchw,ochw->bo", patch, weight), rtol=1e-4, atol=1e-5)


def test_every_page_is_in_the_navigation():
    navigation = (DOCS.parent / "mkdocs.yml").read_text()
    missing = [
        name
        for name in PAGES
        if not (name.startswith(LOG) or re.search(rf"[ :]{re.escape(name)}$", navigation, re.MULTILINE))
    ]
    assert not missing


def test_the_site_is_short():
    assert sum(site().values()) <= 22_000


def test_every_public_name_is_on_an_api_page():
    shown = re.findall(r"^::: keras_spiking_bp\.(\S+)$", "\n".join(PAGES.values()), re.MULTILINE)
    package = Path(ksbp.__path__[0])
    modules = {name for name in shown if (package / f"{name.replace('.', '/')}.py").exists()}
    assert modules == {"analysis.pictures"}  # else a function is hidden by the module of its name
    shown = {re.sub(r"\.(\w+)\.\1$", r".\1", name) for name in shown}  # run.run: a function in a module of its name
    public = {name for name in ksbp.__all__ if not hasattr(getattr(ksbp, name), "__path__")} - {"__version__"}
    for module in ("analysis", "callbacks", "datasets", "export", "kernels", "models", "training"):
        place = getattr(ksbp, module).__name__.removeprefix("keras_spiking_bp.")
        public |= {f"{place}.{name}" for name in getattr(ksbp, module).__all__ if name[0].isalpha()}
    for module in (ksbp.losses, ksbp.optimizers, ksbp.regularizers, ksbp.surrogates):
        name = module.__name__.removeprefix("keras_spiking_bp.")
        public.remove(name.rpartition(".")[2])
        public |= {
            f"{name}.{own}"
            for own, what in vars(module).items()
            if getattr(what, "__module__", "") == module.__name__ and own[0] != "_"
        }
    assert {"losses.SumSquaredError", "regularizers.FiringRate", "gradients.surrogates.Triangle"} <= public
    assert public - shown == set()
