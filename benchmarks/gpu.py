"""On a GPU: the tests of parity, then a training step beside SpikingJelly and snnTorch: `python -m benchmarks.gpu`.

VGG9 with batch normalisation (`peers/vgg9.py`), batches of 64, each library in a process of its own; SpikingJelly with
its CuPy neurons where CuPy is installed. Needs TensorFlow and PyTorch that both see the GPU, and `pip install -e
.[bench,test]`. `--device cpu` tries the command out without one.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
from typing import Any

from benchmarks import machine, networks
from benchmarks.case import measure
from benchmarks.markdown import seconds, table
from benchmarks.networks import NETWORKS
from benchmarks.time_to_accuracy import LEARNING_RATE, LIBRARIES, PRECISIONS

#: They hold spikes, potentials and gradients against fixtures, a simulation and the loop step by step.
PARITY = ("tests/test_golden.py", "tests/rnn/test_blocks.py", "tests/gradients/test_gradients.py")


def step(library: str, num_steps: int, precision: str, device: str, batch: int) -> dict[str, Any]:
    """The seconds of the training steps of one library, in this process."""
    options: dict[str, Any] = {}
    if library == "ours":
        import tensorflow as tf

        if device == "gpu" and not tf.config.list_logical_devices("GPU"):
            raise SystemExit("TensorFlow sees no GPU here: `--device cpu` tries the command out without one")
    else:
        options = {"tuned": True, "device": {"gpu": "cuda"}.get(device, device)}
    module = importlib.import_module(f"benchmarks.{LIBRARIES[library]}")
    training = module.build(library, num_steps, precision == "bf16", lambda _: LEARNING_RATE, **options)
    images, labels = networks.images(NETWORKS["vgg9"], batch), networks.one_hot(batch).argmax(-1)

    def waited() -> None:
        training.train(images, labels, 0)
        if device == "gpu" and library != "ours":  # Keras returns the loss, and so waits
            importlib.import_module("torch").cuda.synchronize()

    return measure(waited, repeats=10, budget=120.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--num-steps", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--no-tests", action="store_true", help="the table alone")
    parser.add_argument("--one", nargs=3, metavar=("LIBRARY", "T", "PRECISION"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.device == "cpu":
        machine.hide_gpus()
    if args.one:
        library, num_steps, precision = args.one
        print(json.dumps(step(library, int(num_steps), precision, args.device, args.batch)))
        return
    if not args.no_tests:
        environment = os.environ | ({"TESTS_ON_GPU": "1"} if args.device == "gpu" else {})
        subprocess.run([sys.executable, "-m", "pytest", "-q", *PARITY], env=environment, check=True)
    rows = []
    for precision in args.precisions:
        for num_steps in args.num_steps:
            row = [precision, str(num_steps)]
            for library in args.libraries:
                command = [sys.executable, "-m", "benchmarks.gpu", "--one", library, str(num_steps), precision]
                command += ["--device", args.device, "--batch", str(args.batch)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
                if done.returncode:
                    raise SystemExit(done.returncode)
                row.append(seconds(statistics.median(json.loads(done.stdout.splitlines()[-1])["times"])))
            rows.append(row)
            print(" ".join(row), flush=True)
    print(f"\nSeconds of a training step on the {args.device}\n")
    print(table(["precision", "T", *args.libraries], rows))


if __name__ == "__main__":
    main()
