"""A task that needs memory, learned with recurrent neurons, not without: python -m examples.store_recall.

One of two spike patterns is shown for 5 steps; noise follows for `delay` steps; then a cue asks for 3 steps which it
was. The leak forgets, so the pattern must be sustained by recurrent spikes of the hidden layer.
"""

import argparse
import json

import keras
import numpy as np

import keras_spiking_bp as ksbp

CLASSES, CHANNELS, SHOWN, ASKED = 2, 5, 5, 3
GROUPS = CLASSES + 3  # of CHANNELS each: the patterns, two of noise, the cue


def samples(number: int, delay: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Spikes (number, T, 25) float32: one of two channel groups, noise, the cue; and the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, number)
    rates = np.zeros((number, SHOWN + delay + ASKED, GROUPS, CHANNELS))
    rates[np.arange(number), :SHOWN, labels] = 0.8
    rates[:, :, CLASSES:-1] = 0.2
    rates[:, -ASKED:, -1] = 0.8
    rates = rates.reshape(number, -1, GROUPS * CHANNELS)
    return (rng.random(rates.shape) < rates).astype("float32"), labels


def network(num_steps: int, recurrent: bool, units: int = 60, seed: int = 0) -> keras.Model:
    """One hidden layer and a readout, with or without recurrence."""
    start = {"kernel_initializer": keras.initializers.HeNormal(seed=seed)}
    hidden = ksbp.LIFCell(keras.layers.Dense(units, **start), beta=0.7, surrogate="triangle", name="hidden")
    if recurrent:
        back = keras.layers.Dense(units, kernel_initializer=keras.initializers.Orthogonal(2.0, seed=seed + 1))
        hidden = ksbp.RecurrentCell(hidden, back)
    readout = ksbp.ReadoutCell(keras.layers.Dense(CLASSES, **start), beta=0.5, differentiate_leak=True, name="readout")
    inputs = keras.Input((num_steps, GROUPS * CHANNELS))
    return keras.Model(inputs, ksbp.SpikingRNN(ksbp.SequentialCell([hidden, readout]), gradient="bptt")(inputs))


def train(recurrent: bool, delay: int, epochs: int, number: int, seed: int) -> float:
    """Trains on `number` samples; the accuracy on 500 new ones."""
    keras.utils.set_random_seed(seed)
    x, y = samples(number, delay, seed)
    model = network(x.shape[1], recurrent, seed=seed)
    model.compile(
        keras.optimizers.Adam(0.005),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(x, y, batch_size=50, epochs=epochs, verbose=0)
    return model.evaluate(*samples(500, delay, seed + 1000), verbose=0)[1]


def main(arguments: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--delay", type=int, default=17, help="steps between pattern and cue")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--samples", type=int, default=2000, help="to train on")
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args(arguments)
    rows = []
    for seed in range(args.seeds):
        row = {"seed": seed}
        for name, recurrent in (("feed-forward", False), ("recurrent", True)):
            row[name] = round(train(recurrent, args.delay, args.epochs, args.samples, seed), 3)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


if __name__ == "__main__":
    main()
