"""Trains the ports and, with `--originals`, the original networks; adds the results to `docs/ports.json`.

python -m examples.experiments.ports --port snntorch5 --data-dir FOLDER [--seeds 3] [--originals] [--samples N] [...]

Nothing is tuned: both sides use the hyper-parameters of the original. Training runs already in the file are not
repeated. `python -m docs.build.studies_page` writes the table from the file.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import inspect
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import keras

from examples.experiments.machine import machine
from examples.experiments.ports import conv_fashion_mnist, snntorch5, snntorch6
from examples.experiments.ports.data import Data, batches, load
from examples.experiments.report import command, write
from keras_spiking_bp.rnn.derivative import GRADIENTS

PORTS = {port.NAME: port for port in (snntorch5, snntorch6, conv_fashion_mnist)}
LIBRARIES = ("keras", "tensorflow", "torch", "snntorch", "spikingjelly")


def train(port: ModuleType, data: Data, epochs: int, seed: int, verbose: int = 0, **options) -> Callable[[], float]:
    """Trains our network; returns a function that measures its test accuracy."""
    keras.utils.set_random_seed(seed)
    model = port.network(**_taken(port.network, options))
    callbacks = port.compile_model(model, epochs, **_taken(port.compile_model, options))
    model.fit(
        batches(data.train, port.BATCH_SIZE, seed), epochs=epochs, callbacks=callbacks, shuffle=False, verbose=verbose
    )
    return lambda: model.evaluate(*data.test, batch_size=128, verbose=0)[1]


def _taken(function: Callable, options: dict) -> dict:
    """The options a function accepts."""
    return {name: value for name, value in options.items() if name in inspect.signature(function).parameters}


def train_original(port: ModuleType, data: Data, epochs: int, seed: int, **options) -> Callable[[], float]:
    """The same for the original."""
    from examples.experiments.ports import originals

    model = originals.train(port, data, epochs, seed, **options)
    return lambda: originals.accuracy(model, data)


def measured(
    run: Callable[..., Callable[[], float]], port: ModuleType, data: Data, epochs: int, seed: int, **options
) -> dict[str, float]:
    """Accuracy and seconds of one training run, without its test."""
    start = time.perf_counter()
    test = run(port, data, epochs, seed, **options)
    seconds = time.perf_counter() - start
    return {"seed": seed, "accuracy": round(test(), 4), "seconds": round(seconds, 1)}


def row_of(rows: list[dict], key: dict) -> dict:
    """The row of these settings in the file, or a new one."""
    for row in rows:
        if {name: row[name] for name in key} == key:
            return row
    rows.append({**key, "trainings": [], "machine": machine(), "versions": versions()})
    return rows[-1]


def versions() -> dict[str, str]:
    """Those of the libraries that are installed."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES if _installed(name)}


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--port", required=True, choices=PORTS)
    parser.add_argument("--originals", action="store_true", help="train the original too (needs torch)")
    parser.add_argument("--only-originals", action="store_true", help="and not ours")
    parser.add_argument("--data", choices=["mnist", "fashion_mnist", "mnist_5k"], help="default: that of the original")
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--samples", type=int, help="training images (default: all)")
    parser.add_argument("--test-samples", type=int, help="test images (default: all)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="default: those of the original")
    parser.add_argument("--output", type=Path, default=Path("docs/ports.json"))
    parser.add_argument("--verbose", type=int, default=0, help="of our trainings")
    options = parser.add_argument_group("our network")
    options.add_argument("--gradient", choices=GRADIENTS, help="default: bptt, as in the originals")
    options.add_argument("--readout", action="store_true", default=None, help="output neurons that never fire")
    options.add_argument("--layers", action="store_true", default=None, help="Keras layers on sequences, not cells")
    both = parser.add_argument_group("both networks")
    both.add_argument("--num-steps", type=int)
    both.add_argument("--channels", type=int)
    args = parser.parse_args(arguments)
    port = PORTS[args.port]
    args.both = {name: value for name in ("num_steps", "channels") if (value := getattr(args, name)) is not None}
    names = ("gradient", "readout", "layers")
    args.ours = {name: value for name in names if (value := getattr(args, name)) is not None}
    for name in {**args.both, **args.ours}:
        if not any(_taken(function, {name: 0}) for function in (port.network, port.compile_model)):
            parser.error(f"--{name.replace('_', '-')} is not an option of {args.port}")
    if args.port == "snntorch5" and args.gradient not in (None, "bptt") and not args.readout:
        parser.error(f"--gradient {args.gradient} needs --readout: the cell of the port goes back step by step only")
    return args


def main(arguments: list[str] | None = None) -> list[dict]:
    args = parse(arguments)
    port = PORTS[args.port]
    epochs = port.EPOCHS if args.epochs is None else args.epochs
    data = load(args.data or port.DATA, args.data_dir, args.samples, args.test_samples)
    shared = {
        "port": args.port,
        "data": data.name,
        "samples": len(data.train[0]),
        "test_samples": len(data.test[0]),
        "epochs": epochs,
    }
    sides = []
    if not args.only_originals:
        sides.append((functools.partial(train, verbose=args.verbose), "ours", {**args.both, **args.ours}))
    if args.originals or args.only_originals:
        sides.append((train_original, "original", args.both))
    for seed in range(args.seeds):
        for run, side, options in sides:
            rows = json.loads(args.output.read_text()) if args.output.exists() else []
            row = row_of(rows, {"side": side, **shared, "options": options})
            if seed not in [training["seed"] for training in row["trainings"]]:
                if (row["machine"], row["versions"]) != (machine(), versions()):
                    raise SystemExit(
                        f"{args.output} has trainings of these settings from another machine, or with other versions "
                        f"or code: {row['machine']}, {row['versions']}. Give another --output"
                    )
                row["command"] = command(arguments, "examples.experiments.ports")
                row["trainings"].append(measured(run, port, data, epochs, seed, **options))
                print(json.dumps({"port": args.port, "side": side, **options, **row["trainings"][-1]}), flush=True)
            write(args.output, rows)
    return rows


if __name__ == "__main__":
    main()
