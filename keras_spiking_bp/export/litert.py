"""LiteRT (formerly TensorFlow Lite): the window or one step, for phones and other small devices."""

import os
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from keras_spiking_bp.export.atomic import written_whole
from keras_spiking_bp.export.forms import Form, Network, check_float32, images_form, spikes_form, step_form
from keras_spiking_bp.export.saved_model import write_signatures
from keras_spiking_bp.utils.validation import check_choice, check_positive_int


def export_litert(
    model: keras.Model,
    path: str | os.PathLike,
    form: str = "window",
    inputs: str = "spikes",
    num_steps: int | None = None,
    batch_size: int = 1,
    weights: str = "float32",
    overwrite: bool = False,
) -> None:
    """Writes a LiteRT file with one signature, built-in operations only.

    The signature has the inputs and outputs of the signature of the same name in `export_saved_model`: `spikes` or
    `images` for the window, `step` for one time step.

    Args:
        model, path, overwrite: as in `export_saved_model`; `path` is a file.
        form: `"window"`, all time steps per call, or `"step"`, one.
        inputs: of the window: `"spikes"`, the inputs of each step, or `"images"` for a model whose encoder is
            deterministic.
        num_steps: time steps of a window of spikes; None for those of the model. LiteRT does not check them: of a
            longer input only the first `num_steps` count.
        batch_size: samples per call.
        weights: `"float32"`, or `"int8"` for a quarter of the size: weights of at least 1,024 numbers are rounded to 8
            bits, per output channel. Inputs of these layers that are not spikes of 0 and 1 (images, averages, sums,
            signed spikes) are rounded to 8 bits too.

    Raises:
        ValueError: as `export_saved_model`, which has the other errors, but a window may run backwards; if an argument
            is out of range, T is free and `num_steps` not given, or a synapse, or for `inputs="images"` a layer before
            time, computes in another precision. The converter has its own error for what the format does not support:
            random spikes inside, layers quantised by Keras.

    Example:
        >>> import pathlib, tempfile
        >>> model = models.spiking_vgg((8, 8, 1), 3, stages=[(4, 3), "pool"], dense_units=[], num_steps=10)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "step.tflite"
        >>> export.export_litert(model, path, form="step")
        >>> path.stat().st_size > 0
        True
    """
    check_choice("form", form, ("window", "step"))
    check_choice("inputs", inputs, ("spikes", "images"))
    check_choice("weights", weights, ("float32", "int8"))
    batch_size = check_positive_int("batch_size", batch_size)
    network = Network(model)
    check_float32(network.parts(with_front=inputs == "images"), "LiteRT")
    exported = _chosen_form(network, form, inputs, num_steps, batch_size)
    with written_whole(path, overwrite) as file, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as saved_model:
        write_signatures(network, [exported], Path(saved_model))
        converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=[exported.name])
        if weights == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        file.write_bytes(converter.convert())


def _chosen_form(network: Network, form: str, inputs: str, num_steps: int | None, batch_size: int) -> Form:
    if num_steps is not None and (form == "step" or inputs == "images"):
        raise ValueError(f"`num_steps` is that of a window of spikes. Received: num_steps={num_steps!r}")
    if form == "step":
        return step_form(network, batch_size)
    if inputs == "spikes":
        num_steps = network.num_steps if num_steps is None else num_steps
        if num_steps is None:
            raise ValueError("`num_steps` must be given, since the number of time steps of `model` is free")
        return spikes_form(network, batch_size, check_positive_int("num_steps", num_steps))
    if network.front is None:
        raise ValueError("`inputs='images'` needs a model that starts with images. Give inputs='spikes' for this one")
    return images_form(network, batch_size)
