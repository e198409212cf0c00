"""Makes the weights that come with the package of a trained network, and measures what they reach.

python -m examples.pretrained --model MODEL.keras --report report.json [--data-dir FOLDER]

`MODEL.keras` and `report.json` are what `examples.reproduce --network lenet --dataset mnist` wrote. Writes the weights
(int8) and their model card into the package; the accuracy on the card is that of
`models.spiking_lenet(weights="mnist")` on the whole test set.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_spiking_bp as ksbp
from examples.reproduce import test
from keras_spiking_bp.models.pretrained import quantised

FOLDER = Path(ksbp.models.__file__).parent / "weights"


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--num-steps", type=int, nargs="+", default=[25, 100], help="measure with so many time steps")
    args = parser.parse_args(arguments)
    report = json.loads(args.report.read_text())
    arrays = {}
    for i, variable in enumerate(keras.saving.load_model(args.model, compile=False).trainable_weights):
        arrays[f"int8_{i}"], arrays[f"scale_{i}"] = quantised(variable.numpy())
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(FOLDER / "lenet_mnist.npz", **arrays)

    data = ksbp.datasets.load_images("mnist", args.data_dir)
    accuracy = {}
    for steps in args.num_steps:
        model = ksbp.models.spiking_lenet(num_steps=steps, weights="mnist", seed=0)
        accuracy[str(steps)] = test(model, data.test_batches(200), verbose=1)
    card = {
        "network": report["recipe"]["network"],
        "dataset": "MNIST (60,000 training images; tested on all 10,000 of the test set)",
        "precision": "int8 with one scale for each output channel; float32 when loaded",
        "input": "images (28, 28, 1) in [0, 1]; PoissonEncoder(scale=0.5)",
        "use": "digits as in MNIST: centred, white on black, 28x28. Nothing else was tested.",
        "trained_by": report["command"],
        "recipe": report["recipe"],
        "seed": report["seed"],
        "accuracy_before_quantisation": report["test"]["accuracy"],
        "test_by_num_steps": accuracy,
        "licence": "Apache-2.0 (the weights); MNIST by LeCun, Cortes and Burges",
    }
    (FOLDER / "lenet_mnist.json").write_text(json.dumps(card, indent=1) + "\n")
    print({steps: result["accuracy"] for steps, result in accuracy.items()})
    return card


if __name__ == "__main__":
    main()
