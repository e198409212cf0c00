"""Writes `docs/models.md` from the model cards of the packaged weights and `docs/zoo.json`.

python -m docs.build.zoo_page

`python -m examples.experiments.zoo --data-dir FOLDER` measures the files.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.markdown import table
from docs.build.titles import TITLES
from keras_spiking_bp.models import model_card
from keras_spiking_bp.models.pretrained import PRETRAINED

ORDER = ("Keras", "SavedModel", "LiteRT", "LiteRT, 8-bit weights", "ONNX", "NIR, read by this library")
REPORT, PAGE = Path("docs/zoo.json"), Path("docs/models.md")
INTRO = """# Trained networks

```python
import keras_spiking_bp as ksbp

digits = ksbp.models.load_pretrained("mnist", num_steps=25)
things = ksbp.models.load_pretrained("cifar10", num_steps=4)
words = ksbp.models.load_pretrained("spoken_digits")
print(ksbp.models.model_card("cifar10")["input"])  # how to scale images
```

The weights come with the package, as 8-bit integers; computations are in float32. Accuracy on all 10,000 test images,
by the number of time steps T, or on all 250 test recordings.
"""
FILES = """## As files

[Exported](export.md): size, accuracy on all 10,000 test images, and milliseconds of an image, all T steps, with one
thread, without the encoder: the median of {timed} images, in brackets the 10th and 90th percentile.
"""
NOTES = """LiteRT and ONNX: the file of one step, called T times. All formats get the same input spikes.
{cpu}, with other work beside; `python -m examples.experiments.zoo --data-dir FOLDER`, {versions}.
"""
LINKS = """New classes: [fine-tune](howto/fine-tune.md). How they were trained: [log of runs](log/runs.md). Phones and
microcontrollers: [deploy](howto/devices.md).
"""


def page(rows: list[dict]) -> str:
    """The page as Markdown."""
    rows = sorted(rows, key=lambda row: ORDER.index(row["format"]))
    timed = max(row["timed"] for row in rows if "timed" in row)
    machines = [row["machine"] for row in rows]
    versions = dict.fromkeys(f"TensorFlow {one['tensorflow']}, Keras {one['keras']}" for one in machines)
    notes = NOTES.format(cpu="; ".join(dict.fromkeys(one["cpu"] for one in machines)), versions="; ".join(versions))
    parts = [INTRO, _networks(), FILES.format(timed=timed)]
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        found = [row for row in rows if row["dataset"] == dataset and "refused" not in row]
        parts.append(f"### {_title(dataset)}, T = {found[0]['num_steps']}\n")
        parts.append(table(["format", "MB", "accuracy, %", "ms an image"], map(_row, found)))
        for row in rows:
            if row["dataset"] == dataset and "refused" in row:
                parts.append(f"{row['format'].split(',')[0]} is not possible: {row['refused']}.\n")
    return "\n".join([*parts, notes, LINKS])


def _networks() -> str:
    rows = []
    for dataset in PRETRAINED:
        card = model_card(dataset)
        tests = card.get("test_by_num_steps", {}).items()
        reached = ", ".join(f"{100 * test['accuracy']:.2f} (T = {steps})" for steps, test in tests)
        encoder = card["settings"].get("encoder", {"kind": "none: `log_mel`"})["kind"]
        rows.append([_title(dataset), reached or f"{100 * card['test']['accuracy']:.1f}", encoder, card["use"]])
    return table(["network", "accuracy, %", "encoder", "for"], rows, left=4)


def _title(dataset: str) -> str:
    return f"{TITLES[model_card(dataset)['network']]} on {TITLES[dataset]}"


def _row(row: dict) -> list[str]:
    low, middle, high = row["ms"]
    return [
        row["format"],
        f"{row['bytes'] / 1e6:.2f}",
        f"{100 * row['accuracy']:.2f}",
        f"{middle:.1f} ({low:.1f} to {high:.1f})",
    ]


def main() -> None:
    PAGE.write_text(page(json.loads(REPORT.read_text())))
    print(PAGE)


if __name__ == "__main__":
    main()
