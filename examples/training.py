"""What the examples share: a network, ordinary or converted, trained and kept."""

from __future__ import annotations

from pathlib import Path

import keras

import keras_spiking_bp as ksbp
from keras_spiking_bp.datasets.images import ImageSet


def trained(
    model: keras.Model, data: ImageSet, epochs: int, path: Path, augment: bool = False, batch_size: int = 64,
    learning_rate: float = 1e-3, seed: int = 0, verbose: int = 1,
) -> keras.Model:  # fmt: skip
    """`model` trained with Adam and cross-entropy on logits; read from `path` if it has been, else kept there."""
    if path.exists():
        return keras.saving.load_model(path)
    batches = data.batches(batch_size, augment, seed)
    steps = epochs * batches.steps_per_epoch
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps)),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    ksbp.training.fit(model, batches, epochs, path.with_suffix(".checkpoint"), verbose=verbose)
    model.save(path)
    return model
