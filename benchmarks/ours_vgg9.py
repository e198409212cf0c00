"""VGG9 with batch normalisation by the recipe of this library, for `time_to_accuracy`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

import keras_spiking_bp as ksbp
from benchmarks.time_to_accuracy import BATCH, WEIGHT_DECAY, Training
from examples.experiments.recipes import recipe


def build(_: str, num_steps: int, bf16: bool, learning_rate: Callable[[int], float], kernels: bool = False) -> Training:
    ksbp.kernels.enable(kernels)  # whatever the environment says
    keras.utils.set_random_seed(0)
    policy = "mixed_bfloat16" if bf16 else None
    chosen = dataclasses.replace(recipe("vgg9", "cifar10"), policy=policy, signed=False)  # as the peers
    model = chosen.build((32, 32, 3), 10, num_steps, seed=0)
    optimizer = keras.optimizers.AdamW(0.0, weight_decay=WEIGHT_DECAY)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def train(images: np.ndarray, labels: np.ndarray, step: int) -> None:
        optimizer.learning_rate = learning_rate(step)
        model.train_on_batch(images, labels)

    def predict(images: np.ndarray) -> np.ndarray:
        return model.predict(images, batch_size=BATCH, verbose=0).argmax(-1)

    def save(path: Path) -> None:
        with path.open("wb") as file:  # a name without .npz
            np.savez(file, *map(keras.ops.convert_to_numpy, model.variables + optimizer.variables))

    def load(path: Path) -> None:
        arrays = np.load(path)
        for i, variable in enumerate(model.variables + optimizer.variables):
            variable.assign(arrays[f"arr_{i}"])

    optimizer.build(model.trainable_variables)
    return Training(train, predict, save, load)
