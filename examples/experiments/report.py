"""What a report says, and its file: the command that made it, and the test of a network."""

from __future__ import annotations

import itertools
import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.analysis.ann_operations import operations_of_model
from keras_spiking_bp.export.atomic import written_whole

_PLACES = {"--data-dir": "FOLDER", "--table": "FILE", "--start": "MODEL", "--ann-model": "MODEL"}


def command(arguments: list[str] | None, module: str) -> str:
    """The command as given (None: to this process), without local folders and options that do not affect results."""
    arguments = sys.argv[1:] if arguments is None else arguments
    shown, skip = [f"python -m {module}"], False
    for argument in itertools.chain.from_iterable(map(_split, arguments)):
        if skip:
            skip = False
        elif argument in ("--output", "--verbose", "--save-every"):
            skip = True
        elif argument in _PLACES:
            shown.append(f"{argument} {_PLACES[argument]}")
            skip = True
        else:
            shown.append(shlex.quote(argument))
    return " ".join(shown)


def _split(argument: str) -> list[str]:
    return argument.split("=", 1) if argument.startswith("--") else [argument]


def write(path: Path, report: Any) -> None:
    """Writes it as JSON, whole or not at all, into a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path, overwrite=True) as part:
        part.write_text(json.dumps(report, indent=1) + "\n")


def wilson_interval(p: float, samples: int) -> list[float]:
    """The 95 % Wilson interval of a proportion `p` of so many samples."""
    z = 1.96
    middle = (p + z**2 / (2 * samples)) / (1 + z**2 / samples)
    half = z * math.sqrt(p * (1 - p) / samples + z**2 / (4 * samples**2)) / (1 + z**2 / samples)
    return [max(middle - half, 0.0), min(middle + half, 1.0)]


def test_ann(model: keras.Model, batches: tf.data.Dataset) -> dict:
    """Accuracy of `model` with its 95 % Wilson interval, over all test batches."""
    labels = np.concatenate([y for _, y in batches]).argmax(-1)
    accuracy = float(np.mean(model.predict(batches, verbose=0).argmax(-1) == labels))
    return {"accuracy": accuracy, "interval_95": wilson_interval(accuracy, len(labels)), "samples": len(labels)}


def test(model: keras.Model, batches: tf.data.Dataset, verbose: int = 0) -> dict:
    """As `test_ann`, and its spikes and operations."""
    done = ksbp.analysis.run(model, batches, verbose=verbose)
    accuracy = float(done.correct()[:, -1].mean())
    activity = ksbp.analysis.activity(done).rows
    rows = [row for row in activity if row["layer"] not in ("input", "total")]
    operations = ksbp.analysis.operations(done).rows[-1]
    ann = operations_of_model(ksbp.ann_counterpart(model))  # once, of events too: on the sum of the steps
    return {
        "accuracy": accuracy,
        "interval_95": wilson_interval(accuracy, done.samples),
        "samples": done.samples,
        "spikes_per_sample": {row["layer"]: row["spikes"] for row in rows},
        "spikes_per_neuron": {row["layer"]: row["spikes_per_neuron"] for row in rows},
        "firing_rate": activity[-1]["firing_rate"],
        "operations_per_sample": {name: operations[name] for name in ann._fields}
        | {f"ann_{name}": number for name, number in ann._asdict().items()},
    }
