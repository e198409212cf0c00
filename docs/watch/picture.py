"""The pictures of the pages in the documentation: a digit is drawn and recognised, and one is heard.

python -m docs.watch.picture [--output docs/images/watch.webp]

Writes a moving picture, and beside it that of its last step (`.png`) and of a spoken digit (`-speech.png`). Needs
Chromium and chromedriver, and pip install '.[browser]'.
"""

from __future__ import annotations

import argparse
import base64
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from docs.watch.__main__ import build
from docs.watch.chromium import chromium, look, open_page, served

PATH = Path(__file__).parents[1] / "images" / "watch.webp"
STEPS = 18
MARGIN = 14
WIDTH = 900  # of the moving picture, in pixels
STROKES, STROKE_MS, STEP_MS, LAST_MS = 16, 60, 220, 3000  # pictures of the drawing; how long each picture is shown


def three() -> list[list[float]]:
    """A drawn 3: points of one stroke, from 0 to 1."""
    above, below = np.linspace(-2.6, 1.45, 40), np.linspace(-1.45, 2.5, 40)
    x = [0.47 + 0.19 * np.cos(above), 0.47 + 0.23 * np.cos(below)]
    y = [0.32 + 0.15 * np.sin(above), 0.65 + 0.18 * np.sin(below)]
    return np.stack([np.concatenate(x), np.concatenate(y)], axis=1).tolist()


def shot(driver: Any) -> Image.Image:
    """The page as it is now."""
    box = driver.find_element("id", "page").rect
    clip = {name: box[name] - MARGIN for name in ("x", "y")} | {"scale": 1}
    clip |= {name: box[name] + 2 * MARGIN for name in ("width", "height")}
    how = {"format": "png", "captureBeyondViewport": True, "clip": clip}
    png = base64.b64decode(driver.execute_cdp_cmd("Page.captureScreenshot", how)["data"])
    return Image.open(io.BytesIO(png)).convert("RGB")


def recorded(driver: Any) -> tuple[list[Image.Image], list[int]]:
    """Pictures while a digit is drawn, and after each time step; the milliseconds of each."""
    stroke, pictures = three(), []
    for part in range(STROKES + 1):
        points = stroke[: part * len(stroke) // STROKES]
        driver.execute_script(
            "const {page} = window.watch; page.pad.strokes = arguments[0]; page.pad.draw(); page.show()",
            [points] if points else [],
        )
        pictures.append(shot(driver))
    driver.execute_script("const {page} = window.watch; page.pad.dispatchEvent(new Event('rest')); page.pause()")
    for _ in range(STEPS):
        driver.execute_script("window.watch.page.step()")
        pictures.append(shot(driver))
    return pictures, [STROKE_MS] * (STROKES + 1) + [STEP_MS] * (STEPS - 1) + [LAST_MS]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=PATH)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, chromium() as driver:
        build(Path(folder))
        with served(Path(folder)) as address:
            look(open_page(driver, address), width=1280, height=900)
            pictures, milliseconds = recorded(driver)
            open_page(driver, f"{address}speech.html").execute_async_script(
                "const {page} = window.watch; page.play(page.recordings[0], Infinity).then(arguments[0])"
            )
            spoken = shot(driver)
    still, speech = args.output.with_suffix(".png"), args.output.with_name(f"{args.output.stem}-speech.png")
    for path, picture in ((still, pictures[-1]), (speech, spoken)):
        picture.quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)
    height = pictures[-1].height  # the page grows with what it says
    frames = []
    for picture in pictures:
        frame = Image.new("RGB", (picture.width, height), picture.getpixel((0, 0)))
        frame.paste(picture)
        frames.append(frame.resize((WIDTH, height * WIDTH // picture.width), Image.Resampling.LANCZOS))
    options = {"quality": 75, "method": 6, "loop": 0}
    frames[0].save(args.output, save_all=True, append_images=frames[1:], duration=milliseconds, **options)
    for path in (args.output, still, speech):
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
