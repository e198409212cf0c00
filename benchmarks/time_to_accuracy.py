"""Time to accuracy: VGG9 with batch normalisation on CIFAR-10, trained by this library, SpikingJelly and snnTorch.

python -m benchmarks.time_to_accuracy --data-dir FOLDER [--num-steps 4 16] [--targets 0.6 0.7 0.8] [--output FILE]

The same images, order, crops and flips, batch of 64, AdamW, learning rates and epochs for all; each network as its own
library's examples build one (ours: the recipe of VGG9). After every half epoch the accuracy on 5,000 training images
that are held out is measured; its time does not count. Each case runs in a process of its own, one after the other, and
stops when the last target is reached. `--output` is written after each case; cases that are in it already are not run
again. Leave the machine alone while it runs (many hours).
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.case import peak_rss

LIBRARIES = {"ours": "ours_vgg9", "spikingjelly": "peers.vgg9", "snntorch": "peers.vgg9"}
PRECISIONS = ("bf16", "fp32")
BATCH, HELD_OUT, LEARNING_RATE, WEIGHT_DECAY, PADDING = 64, 5000, 1.5e-3, 0.02, 4


def learning_rate(step: int, steps: int) -> float:
    """Rises for a tenth of the steps, then falls to 0 by a cosine."""
    rising = steps // 10
    if step < rising:
        return LEARNING_RATE * (step + 1) / rising
    return LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))


def batches(images: np.ndarray, labels: np.ndarray, epoch: int, seed: int = 0) -> Iterator[tuple]:
    """The batches of an epoch, shuffled, each image shifted by up to 4 pixels and flipped: the same for all."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(images))
    sides = ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))
    size = images.shape[1]
    for start in range(0, len(order) - BATCH + 1, BATCH):
        chosen = order[start : start + BATCH]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(images[chosen], sides), (size, size), axis=(1, 2))
        rows, columns = rng.integers(0, 2 * PADDING + 1, (2, BATCH))
        crops = windows[np.arange(BATCH), rows, columns].transpose(0, 2, 3, 1)  # (B, C, H, W) before
        flipped = rng.random(BATCH) < 0.5
        crops[flipped] = crops[flipped, :, ::-1]
        yield crops, labels[chosen]


def run_case(library: str, num_steps: int, precision: str, arguments: argparse.Namespace) -> dict:
    """One training, in this process."""
    data = np.load(arguments.arrays)
    images, labels, held_out, answers = (data[name] for name in ("images", "labels", "held_out", "answers"))
    steps_per_epoch = len(images) // BATCH
    steps = arguments.epochs * steps_per_epoch
    build = importlib.import_module(f"benchmarks.{LIBRARIES[library]}").build
    train, predict = build(library, num_steps, precision == "bf16", lambda step: learning_rate(step, steps))
    train_seconds, curve, step = 0.0, [], 0
    for epoch in range(arguments.epochs):
        for i, (x, y) in enumerate(batches(images, labels, epoch)):
            start = time.perf_counter()
            train(x, y, step)
            train_seconds += time.perf_counter() - start
            step += 1
            if i + 1 in (steps_per_epoch // 2, steps_per_epoch):
                found = np.concatenate([predict(held_out[j : j + 200]) for j in range(0, len(held_out), 200)])
                curve.append(
                    {
                        "epoch": round(epoch + (i + 1) / steps_per_epoch, 2),
                        "seconds": round(train_seconds, 1),
                        "accuracy": float((found == answers).mean()),
                    }
                )
                print(library, num_steps, precision, curve[-1], file=sys.stderr, flush=True)
        if curve[-1]["accuracy"] >= max(arguments.targets):
            break
    return {"curve": curve, "step_seconds": train_seconds / step, "peak_bytes": peak_rss()}


def reached(curve: list[dict], target: float) -> float | None:
    """Seconds of training until the accuracy was first at `target`; None if never."""
    return next((row["seconds"] for row in curve if row["accuracy"] >= target), None)


def prepared(data_dir: str | None, limit: int | None) -> dict[str, np.ndarray]:
    """The normalised images of CIFAR-10, in a process that may load TensorFlow."""
    from keras_spiking_bp import datasets

    data = datasets.load_images("cifar10", data_dir)
    data = data.with_validation(HELD_OUT)
    (images, labels), (held_out, answers) = data.train, data.test
    return {
        "images": data.normalised(images[:limit]),
        "labels": labels[:limit].astype("int64"),
        "held_out": data.normalised(held_out[:limit]),
        "answers": answers[:limit].astype("int64"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--num-steps", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--targets", type=float, nargs="+", default=[0.6, 0.7, 0.8])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--limit", type=int, help="use so many images only: does everything run?")
    parser.add_argument("--output", type=Path, default=Path("docs/time_to_accuracy.json"))
    parser.add_argument("--arrays", type=Path, help=argparse.SUPPRESS)  # of a case in its own process
    args = parser.parse_args()
    if args.arrays is not None:
        print(json.dumps(run_case(args.libraries[0], args.num_steps[0], args.precisions[0], args)))
        return
    report = json.loads(args.output.read_text()) if args.output.exists() else {"cases": []}
    done = {(case["library"], case["num_steps"], case["precision"]) for case in report["cases"]}
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "cifar10.npz"
        np.savez(arrays, **prepared(args.data_dir, args.limit))
        for num_steps in args.num_steps:
            for precision in args.precisions:
                for library in args.libraries:
                    if (library, num_steps, precision) in done:
                        continue
                    command = ["--arrays", arrays, "--libraries", library, "--num-steps", num_steps]
                    command += ["--precisions", precision, "--epochs", args.epochs, "--targets", *args.targets]
                    ran = subprocess.run(
                        [sys.executable, "-m", "benchmarks.time_to_accuracy", *map(str, command)],
                        stdout=subprocess.PIPE,
                        check=True,
                    )
                    found = json.loads(ran.stdout)
                    times = {str(target): reached(found["curve"], target) for target in args.targets}
                    case = {"library": library, "num_steps": num_steps, "precision": precision}
                    report["cases"].append({**case, "seconds_to": times, **found})
                    report["machine"] = machine.describe()
                    args.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
