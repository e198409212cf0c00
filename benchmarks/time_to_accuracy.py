"""Time to accuracy: VGG9 with batch normalisation on CIFAR-10, trained by this library, SpikingJelly and snnTorch.

python -m benchmarks.time_to_accuracy --data-dir FOLDER --output FILE [--num-steps 4 16] [--targets 0.6 0.7 0.8]

The same images, order, crops and flips, batch size of 64, AdamW, learning rates and epochs for all; the neurons are
those of each library's examples (ours: of preset "deep"). Four times per epoch the accuracy on 5,000 held-out
training images is measured; this time does not count. The libraries take turns: the one that has trained for the
shortest time goes on, in a process of its own, up to its next measurement; a library stops when the last target is
reached. After an interruption, too, the libraries have had about the same time. `--output` is written after each
measurement and names the machine; the networks are saved in `--states`. The same command resumes after an interruption.
Leave the machine idle while it runs (many hours). `--quick` is a smoke test with few images, into `build/`.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import itertools
import json
import math
import multiprocessing
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import machine
from benchmarks.case import peak_rss
from benchmarks.results import ROOT, write

LIBRARIES = {"ours": "ours_vgg9", "spikingjelly": "peers.vgg9", "snntorch": "peers.vgg9"}
PRECISIONS = ("bf16", "fp32")
TARGETS = [0.6, 0.7, 0.8]
BATCH, HELD_OUT, LEARNING_RATE, WEIGHT_DECAY, PADDING = 64, 5000, 1.5e-3, 0.02, 4
EVALUATIONS = 4  # per epoch


@dataclasses.dataclass(frozen=True)
class Training:
    """A network and its optimizer, in any library.

    Attributes:
        train: a training step on images and labels, with the step number.
        predict: the classes of images.
        save, load: to and from a file, all that is needed to resume.
    """

    train: Callable[[np.ndarray, np.ndarray, int], None]
    predict: Callable[[np.ndarray], np.ndarray]
    save: Callable[[Path], None]
    load: Callable[[Path], None]


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up for a tenth of the steps, cosine decay to 0."""
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


def prepare(data_dir: str | None, limit: int | None, path: Path) -> None:
    """Writes the normalised images of CIFAR-10: training and held-out images."""
    from keras_spiking_bp import datasets

    data = datasets.load_images("cifar10", data_dir).with_validation(HELD_OUT)
    (images, labels), (held_out, answers) = data.train, data.test
    np.savez(
        path,
        images=data.normalised(images[:limit]),
        labels=labels[:limit].astype("int64"),
        held_out=data.normalised(held_out[:limit]),
        answers=answers[:limit].astype("int64"),
    )


def key_of(case: dict[str, Any]) -> tuple[str, int, str]:
    return case["library"], case["num_steps"], case["precision"]


def take_turn(key: tuple[str, int, str], arrays: Path, output: Path, states: Path) -> None:
    """Starts or resumes one training, up to its next measurement, and records that."""
    library, num_steps, precision = key
    report = json.loads(output.read_text())
    case = next((case for case in report["cases"] if key_of(case) == key), None)
    if case is None:
        case = {"library": library, "num_steps": num_steps, "precision": precision}
        report["cases"].append(case)
    data = np.load(arrays)
    images, labels, held_out, answers = (data[name] for name in ("images", "labels", "held_out", "answers"))
    epochs, target = report["settings"]["epochs"], max(report["settings"]["targets"])
    per_epoch = len(images) // BATCH
    build = importlib.import_module(f"benchmarks.{LIBRARIES[library]}").build
    network = build(library, num_steps, precision == "bf16", lambda step: learning_rate(step, epochs * per_epoch))

    elapsed, busy, own = time.monotonic(), machine.busy_seconds(), time.process_time()
    folder = states / report["run"] / "-".join(map(str, key))
    begun = case.get("steps", 0)
    if begun and (folder / f"{begun}.state").exists():
        network.load(folder / f"{begun}.state")
    else:
        begun = 0
        case |= {"steps": 0, "seconds": 0.0, "step_seconds": 0.0, "peak_bytes": 0, "others": 0.0, "curve": []}
    first = 0.0 if not begun else case["seconds"] - case["step_seconds"] * (begun - 1)
    epoch, done = divmod(begun, per_epoch)
    end = next(n for part in range(1, EVALUATIONS + 1) if (n := per_epoch * part // EVALUATIONS) > done)
    for i, (x, y) in enumerate(itertools.islice(batches(images, labels, epoch), done, end), start=done):
        start = time.perf_counter()
        network.train(x, y, epoch * per_epoch + i)
        seconds = time.perf_counter() - start
        if begun == i == 0:
            first = seconds  # it compiles
        compiles_again = begun and i == done  # takes as long as the mean step
        case["seconds"] += case["step_seconds"] if compiles_again else seconds
    if not case["curve"]:  # of training alone
        case["peak_bytes"] = peak_rss()
    found = np.concatenate([network.predict(held_out[j : j + 200]) for j in range(0, len(held_out), 200)])
    steps = epoch * per_epoch + end
    case["steps"] = steps
    case["step_seconds"] = (case["seconds"] - first) / max(steps - 1, 1)
    row = {
        "epoch": round(steps / per_epoch, 2),
        "seconds": round(case["seconds"], 1),
        "accuracy": float((found == answers).mean()),
    }
    case["curve"].append(row)
    others = machine.busy_seconds() - busy - (time.process_time() - own)
    share = others / ((time.monotonic() - elapsed) * (psutil.cpu_count() or 1))
    case["others"] = max(case["others"], round(share, 3))
    case["finished"] = row["accuracy"] >= target or steps == epochs * per_epoch
    keep(network, folder, case)
    write(output, report)
    print(*key, row, file=sys.stderr, flush=True)
    for old in folder.glob("*.state"):
        if case["finished"] or old.stem != str(steps):
            old.unlink()


def keep(network: Training, folder: Path, case: dict[str, Any]) -> None:
    """Saves this state; the previous one stays until the report records this one."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "part"
    network.save(part)
    part.replace(folder / f"{case['steps']}.state")


def finished(key: tuple[str, int, str], output: Path) -> bool:
    """Whether the report has all measurements of this case."""
    return any(case["finished"] for case in json.loads(output.read_text())["cases"] if key_of(case) == key)


def trained(key: tuple[str, int, str], output: Path) -> float:
    """Seconds for which this case has trained."""
    return sum(case["seconds"] for case in json.loads(output.read_text())["cases"] if key_of(case) == key)


def reached(curve: list[dict], target: float) -> float | None:
    """Seconds of training until the accuracy first reached `target`, or None."""
    return next((row["seconds"] for row in curve if row["accuracy"] >= target), None)


def in_process(work: Callable[..., None], *arguments: Any) -> int:
    """Runs `work` in a daemon process; returns its exit status."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments, daemon=True)
    process.start()
    process.join()
    return process.exitcode or 0


def main() -> None:
    machine.hide_gpus()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--num-steps", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--targets", type=float, nargs="+", default=TARGETS)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--quick", action="store_true", help="smoke test: few images, into build/")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--states", type=Path, default=ROOT / "checkpoints" / "time_to_accuracy")
    args = parser.parse_args()
    output = args.output or ROOT / ("build" if args.quick else "docs") / "time_to_accuracy.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    settings = {"epochs": args.epochs, "targets": args.targets, "batch": BATCH, "quick": args.quick, "turns": True}
    here = machine.describe()
    report = {"machine": here, "settings": settings, "run": uuid.uuid4().hex[:8], "cases": []}
    if output.exists() and not args.quick:
        report = json.loads(output.read_text())
        if report["settings"] != settings:
            parser.error(f"{output} was measured with other settings: {report['settings']}")
        if not machine.same(report["machine"], here):
            parser.error(f"{output} was measured {machine.ELSEWHERE}")
    write(output, report)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else the case would outlive this process
    failed: list[tuple[str, int, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        arrays, states = Path(folder) / "cifar10.npz", Path(folder) if args.quick else args.states
        if in_process(prepare, args.data_dir, 4 * BATCH if args.quick else None, arrays):
            raise SystemExit("The data could not be prepared: see above")
        for steps, precision in itertools.product(args.num_steps, args.precisions):
            keys = [(library, steps, precision) for library in args.libraries]
            while keys := [key for key in keys if key not in failed and not finished(key, output)]:
                key = min(keys, key=lambda key: trained(key, output))
                if in_process(take_turn, key, arrays, output, states):
                    failed.append(key)
    if failed:
        raise SystemExit(f"Failed, see above: {failed}. The same command tries again")


if __name__ == "__main__":
    main()
