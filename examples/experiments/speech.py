"""Spoken digits: recurrent spiking neurons beside a GRU, an LSTM and two layers of spiking neurons without feedback.

python -m examples.experiments.speech [--network spiking] [--without SPEAKER] [--seed 0] [...]
python -m examples.experiments.speech --table FILE

Prints accuracy on the test set and the energy of a recording; with `--without`, training leaves a speaker out, and all
his recordings are the test. Each epoch sees the training recordings as of other speakers, microphones and rooms.
`--table` trains each network with three seeds, and once without each speaker; interrupted, it goes on. `--package`
writes the weights of the package.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import keras
import numpy as np

import keras_spiking_bp as ksbp
from examples import PROGRESS
from examples.experiments.machine import machine
from examples.experiments.pretrained import FOLDER, package, packed
from examples.experiments.report import command, wilson_interval, write
from keras_spiking_bp.analysis.ann_operations import operations_of_model
from keras_spiking_bp.datasets import Recordings, speech
from keras_spiking_bp.models.pretrained import unpack

BATCH_SIZE = 32
SPEAKERS = ("george", "jackson", "nicolas", "theo", "yweweler")


def of_keras(layer: type[keras.layers.Layer], units: int) -> keras.Model:
    """A network of Keras' own, with as many weights as the spiking one has."""
    series = keras.Input((None, 40))
    return keras.Model(series, keras.layers.Dense(10)(layer(units)(series)))


def feedforward(seed: int) -> keras.Model:
    """The spiking network with as many weights, a second layer in place of feedback."""
    recurrent, readout = ksbp.models.spiking_speech(seed=seed).get_layer("time").cell.cells
    neurons = {"beta": recurrent.cell.beta.numpy(), "learn_beta": True, "surrogate": recurrent.cell.surrogate}
    second = ksbp.LIFCell(keras.layers.Dense(256, use_bias=False), **neurons)
    series = keras.Input((None, 40))
    cell = ksbp.SequentialCell([recurrent.cell, second, readout])
    return keras.Model(series, ksbp.SpikingRNN(cell, gradient="bptt", name="time")(series))


NETWORKS = {
    "spiking": lambda seed: ksbp.models.spiking_speech(seed=seed),
    "feedforward": feedforward,
    "GRU": lambda seed: of_keras(keras.layers.GRU, 142),
    "LSTM": lambda seed: of_keras(keras.layers.LSTM, 120),
}


def masked(network: keras.Model) -> keras.Model:
    """The same for padded series."""
    series = keras.Input((None, 40))
    outputs = keras.layers.Masking(-1.0)(series)
    for layer in network.layers[1:]:
        outputs = layer(outputs)
    return keras.Model(series, outputs)


def augmented(bands: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The `log_mel` of the same words as of other speakers, microphones and rooms; -1 after their end."""
    result, lengths = np.zeros_like(bands), []
    scale = speech.constants()["scale"]
    for word, frames, out in zip(bands, mask.sum(1), result, strict=True):
        at = np.linspace(0, frames - 1, min(round(frames * rng.uniform(0.85, 1.15)), len(word)))  # speed
        changed = between(word, np.minimum(at, frames - 1.001))
        voice = np.minimum(np.arange(40) * rng.uniform(0.9, 1.1), 38.999)  # length of the vocal tract
        changed = between(changed.T, voice).T
        gain = rng.normal(0, 2.5) + smooth(rng, 6, 1.5) + rng.normal(0, 0.35, changed.shape)  # microphone
        power = np.expm1(scale * changed) * np.exp(gain)
        noise = np.exp(rng.uniform(-4, 1) + smooth(rng, 4, 1.0)) * rng.chisquare(4, changed.shape) / 4  # room
        out[: len(at)] = np.log1p(power + noise) / scale
        lengths.append(len(at))
    series, _ = speech.relative(result, np.zeros((len(result), 40)))
    series[np.arange(series.shape[1]) >= np.array(lengths)[:, None]] = -1
    return series


def between(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Rows at positions that are no integers."""
    low = at.astype(int)
    return rows[low] + (at - low)[:, None] * (rows[low + 1] - rows[low])


def smooth(rng: np.random.Generator, knots: int, deviation: float) -> np.ndarray:
    """A random curve over the bands."""
    return np.interp(np.arange(40), np.linspace(0, 39, knots), rng.normal(0, deviation, knots))


def energy(network: keras.Model, test: Recordings) -> float:
    """Of the arithmetic for a recording, in nanojoules: accumulates and multiply-accumulates at 45 nm, float32."""
    if isinstance(network.layers[-1], ksbp.SpikingRNN):
        return ksbp.analysis.energy(masked(network), test.series, verbose=0).rows[-1]["energy_nj"]
    step = keras.Input((1, 40))
    of_step = operations_of_model(keras.models.clone_model(network, step))
    return float(test.mask.sum(1).mean() * ksbp.analysis.Costs().of_ann(*of_step) / 1000)


def split(data: tuple[Recordings, Recordings], without: str | None) -> tuple[Recordings, Recordings]:
    """Training and test: of all speakers, or all recordings of one as the test."""
    if without is None:
        return data
    both = Recordings(*(np.concatenate(columns) for columns in zip(*data, strict=True)))
    heard = data[0].speakers != without
    unheard = both.speakers == without
    return Recordings(*(column[heard] for column in data[0])), Recordings(*(column[unheard] for column in both))


def train(args: argparse.Namespace, data: tuple[Recordings, Recordings]) -> tuple[keras.Model, dict]:
    """One training: the network, and what the report says of it."""
    training, test = split(data, args.without)
    keras.utils.set_random_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    network = NETWORKS[args.network](args.seed)
    model = masked(network)
    if args.network not in ("GRU", "LSTM"):
        ksbp.calibrate(model, training.series[:256], firing_rate=0.1, output_std=0.7)
    bands = keras.utils.pad_sequences(
        [speech.log_bands(samples / 2**15) for samples in training.audio],
        training.mask.shape[1],
        "float64",
        "post",
        "post",
    )
    steps = -(-len(training.labels) // BATCH_SIZE)
    rate = keras.optimizers.schedules.CosineDecay(5e-3, args.epochs * steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0), loss, metrics=["accuracy"])
    for epoch in range(args.epochs):
        series = augmented(bands, training.mask, rng)
        model.fit(series, training.labels, BATCH_SIZE, epochs=epoch + 1, initial_epoch=epoch, verbose=args.verbose)
    _, accuracy = model.evaluate(test.series, test.labels, verbose=0)
    return network, {
        "network": args.network,
        "without": args.without,
        "seed": args.seed,
        "parameters": network.count_params(),
        "accuracy": float(accuracy),
        "samples": len(test.labels),
        "energy_nj": energy(network, test),
    }


def package_network(network: keras.Model, done: dict, args: argparse.Namespace, test: Recordings, how: dict) -> None:
    """Writes the weights and their card."""
    arrays = packed(network)
    unpack(network, arrays)
    right = masked(network).predict(test.series, verbose=0).argmax(-1) == test.labels
    accuracy = float(np.mean(right))
    card = {
        "network": "speech",
        "dataset": "Free Spoken Digit Dataset (2,250 training recordings of five speakers; 250 of its test set)",
        "input": "series (frames, 40) of `datasets.log_mel`",
        "use": "the digits 0 to 9, spoken in English. Nothing else was tested.",
        "settings": {"threshold": 1.0, "reset_mechanism": "zero", "readout_beta": 0.97, "learn_beta": True},
        "recipe": {"gradient": "bptt"},
        "trained_by": how["command"],
        "seed": args.seed,
        "accuracy_before_quantisation": done["accuracy"],
        "licence": "CC BY-SA 4.0 (weights and data); Free Spoken Digit Dataset by Zohar Jackson and contributors",
        "test": {"accuracy": accuracy, "interval_95": wilson_interval(accuracy, len(right)), "samples": len(right)},
    }
    package(FOLDER / "spoken_digits", arrays, card)


def main(arguments: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--network", choices=NETWORKS, default="spiking")
    parser.add_argument("--without", choices=SPEAKERS, help="leave this speaker out")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="all trainings of the table, into this file")
    parser.add_argument("--package", action="store_true", help="write the weights of the package")
    parser.add_argument("--verbose", type=int, default=PROGRESS)
    args = parser.parse_args(arguments)
    data = ksbp.datasets.load_spoken_digits(args.data_dir)
    how = {"command": command(arguments, "examples.experiments.speech"), "machine": machine()}
    if args.table is None:
        network, done = train(args, data)
        print(done, flush=True)
        if args.package:
            package_network(network, done, args, data[1], how)
        return [done]
    rows = json.loads(args.table.read_text()) if args.table.exists() else []
    trainings = [(None, seed) for seed in range(3)] + [(speaker, 0) for speaker in SPEAKERS]
    for name, (without, seed) in itertools.product(NETWORKS, trainings):
        if (name, without, seed) not in {(row["network"], row["without"], row["seed"]) for row in rows}:
            args.network, args.without, args.seed = name, without, seed
            rows.append(train(args, data)[1] | how)
            print(rows[-1], flush=True)
            write(args.table, rows)
    return rows


if __name__ == "__main__":
    main()
