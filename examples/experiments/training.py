"""Shared by the examples: trains and saves a network, an ANN or a converted one."""

from __future__ import annotations

import json
from pathlib import Path

import keras

import keras_spiking_bp as ksbp
from examples import PROGRESS
from examples.experiments.recipes import Recipe
from keras_spiking_bp.datasets.images import ImageSet
from keras_spiking_bp.export.atomic import written_whole
from keras_spiking_bp.training.saver import has_finite_state


def trained(
    model: keras.Model, data: ImageSet, epochs: int, path: Path, augment: bool = False, batch_size: int = 64,
    learning_rate: float = 1e-3, seed: int = 0, verbose: int = PROGRESS, note: str = "", recipe: Recipe | None = None,
) -> keras.Model:  # fmt: skip
    """`model` trained with Adam and cross-entropy on logits, or by `recipe`; loaded from `path` if it exists, else
    saved there.

    Exits if the file was trained with other settings (`note` holds further ones).
    """
    if recipe is not None:
        epochs, augment, batch_size = recipe.epochs, recipe.augment, recipe.batch_size
        learning_rate, note = recipe.learning_rate, f"{note} {recipe}".strip()
    batches = data.batches(batch_size, augment, seed)
    settings = {
        "data": data.name, **batches.description(), "epochs": epochs, "augment": augment,
        "learning_rate": learning_rate, "note": note,
    }  # fmt: skip
    if recipe is not None:
        recipe.compile(model, batches.steps_per_epoch)
    else:
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * batches.steps_per_epoch)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(schedule), loss=loss, metrics=["accuracy"])
    beside = path.with_suffix(".settings.json")
    if not beside.exists():  # not before: only settings that can be trained with
        with written_whole(beside) as part:
            part.write_text(json.dumps(settings))
    elif json.loads(beside.read_text()) != settings:
        raise SystemExit(
            f"{path} was made with other settings, {beside.read_text()}, not {json.dumps(settings)}. Give another "
            "--output"
        )
    if path.exists():
        return keras.saving.load_model(path)
    ksbp.training.fit(model, batches, epochs, path.with_suffix(".checkpoint"), verbose=verbose, save_freq=500)
    if not has_finite_state(model):
        raise SystemExit(f"The weights of {path.stem} are not finite: it has diverged, and is not saved")
    with written_whole(path) as part:
        model.save(part)
    return model
