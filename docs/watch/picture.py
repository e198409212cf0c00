"""The picture of the page in the documentation: a drawn digit, some steps after the decision.

python -m docs.watch.picture [--output docs/images/watch.png]

Needs npm, Chromium and chromedriver, and pip install '.[browser]'.
"""

from __future__ import annotations

import argparse
import base64
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from docs.watch.__main__ import build
from docs.watch.chromium import chromium, look, open_page, served

PATH = Path(__file__).parents[1] / "images" / "watch.png"
STEPS = 18
MARGIN = 14


def three() -> list[list[float]]:
    """A drawn 3: points of one stroke, from 0 to 1."""
    above, below = np.linspace(-2.6, 1.45, 40), np.linspace(-1.45, 2.5, 40)
    x = [0.47 + 0.19 * np.cos(above), 0.47 + 0.23 * np.cos(below)]
    y = [0.32 + 0.15 * np.sin(above), 0.65 + 0.18 * np.sin(below)]
    return np.stack([np.concatenate(x), np.concatenate(y)], axis=1).tolist()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=PATH)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, chromium() as driver:
        build(Path(folder))
        with served(Path(folder)) as address:
            look(open_page(driver, address), width=1280, height=900)
            driver.execute_async_script(
                """const [stroke, steps, done] = arguments, {page} = window.watch;
                page.pad.strokes = [stroke];
                page.pad.draw();
                page.pad.dispatchEvent(new Event('rest'));
                page.pause();
                (async () => { for (let i = 0; i < steps; i++) await page.step(); })().then(done)""",
                three(),
                STEPS,
            )
            box = driver.find_element("id", "page").rect
            clip = {name: box[name] - MARGIN for name in ("x", "y")} | {"scale": 1}
            clip |= {name: box[name] + 2 * MARGIN for name in ("width", "height")}
            shot = {"format": "png", "captureBeyondViewport": True, "clip": clip}
            png = base64.b64decode(driver.execute_cdp_cmd("Page.captureScreenshot", shot)["data"])
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(96, dither=Image.Dither.NONE).save(args.output, optimize=True)
    print(f"{args.output}  {args.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
