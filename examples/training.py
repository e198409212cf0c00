"""What the examples share: an ordinary network, trained and kept."""

from __future__ import annotations

from pathlib import Path

import keras

import keras_spiking_bp as ksbp
from keras_spiking_bp.datasets.images import ImageSet


def trained_ann(
    ann: keras.Model, data: ImageSet, epochs: int, path: Path, augment: bool = False, batch_size: int = 64,
    learning_rate: float = 1e-3, seed: int = 0, verbose: int = 1,
) -> keras.Model:  # fmt: skip
    """`ann` trained with Adam and cross-entropy on logits; read from `path` if it has been, else kept there."""
    if path.exists():
        return keras.saving.load_model(path)
    batches = data.batches(batch_size, augment, seed)
    steps = epochs * batches.steps_per_epoch
    ann.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps)),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    ksbp.training.fit(ann, batches, epochs, path.with_suffix(".checkpoint"), verbose=verbose)
    ann.save(path)
    return ann
