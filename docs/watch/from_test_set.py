"""What the page needs of the MNIST test set: ten digits to choose from, and how sure to be before an early exit.

python -m docs.watch.from_test_set [--data-dir FOLDER]

Writes `from_test_set.json` beside this file: the first image of each class, and for each margin what an early exit
costs on all 10,000 images (`AccuracyOverTime.early_exit`).
"""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

import numpy as np

import keras_spiking_bp as ksbp
from examples.experiments.report import write

PATH = Path(__file__).with_suffix(".json")
MARGINS = [round(0.1 * i, 1) for i in range(1, 11)]


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--output", type=Path, default=PATH)
    args = parser.parse_args(arguments)
    data = ksbp.datasets.load_images("mnist", args.data_dir)
    images, labels = data.test
    num_steps = ksbp.models.model_card("mnist")["recipe"]["num_steps"]
    model = ksbp.models.load_pretrained("mnist", num_steps=num_steps, seed=0)
    curve = ksbp.analysis.accuracy_over_time(model, data.test_batches(200))
    first = [int(np.argmax(labels == label)) for label in range(data.classes)]
    found = {
        "command": "python -m docs.watch.from_test_set",
        "samples": len(labels),
        "num_steps": num_steps,
        "seed": 0,
        "digits": [
            {"label": label, "index": i, "pixels": base64.b64encode(images[i].tobytes()).decode()}
            for label, i in enumerate(first)
        ],
        "early_exit": [{k: round(v, 4) for k, v in row.items()} for row in curve.early_exit(MARGINS).rows],
    }
    write(args.output, found)
    for row in found["early_exit"]:
        print(row)
    return found


if __name__ == "__main__":
    main()
