"""Shape and dtype of the output of a model for a batch."""

from __future__ import annotations

from typing import Any

import keras


def output_spec(model: keras.Model, inputs: Any) -> Any:
    """The output of a model for these inputs, a structure with one `keras.KerasTensor`.

    Raises:
        ValueError: if the model does not have one output.
    """
    outputs = model.compute_output_spec(_specs(model, inputs))
    if len(keras.tree.flatten(outputs)) != 1:
        raise ValueError(
            "`model` must have one output, since `batches` has one array of labels. Received: a model with "
            f"{len(keras.tree.flatten(outputs))} outputs"
        )
    return outputs


def _specs(model: keras.Model, inputs: Any) -> Any:
    """The shapes and dtypes of inputs; of a model with one input as it takes it: cast, with or without a last axis.

    Those given by name are in the order of the model's, where this is a list: Keras sorts them by name here.
    """
    specs = keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), inputs)
    taken, flat = getattr(model, "inputs", None), keras.tree.flatten(specs)
    if isinstance(specs, dict) and taken and isinstance(model.input, (list, tuple)):
        names = [tensor.name for tensor in taken]
        specs = [specs[name] for name in names] if set(names) <= set(specs) else specs
    if not (isinstance(taken, list) and len(taken) == len(flat) == 1):
        return specs
    shape = flat[0].shape
    more = len(taken[0].shape) - len(shape)
    if more == 1 and taken[0].shape[-1] == 1:
        shape = (*shape, 1)
    elif more == -1 and shape[-1] == 1:
        shape = shape[:-1]
    return keras.tree.pack_sequence_as(specs, [keras.KerasTensor(shape, taken[0].dtype)])
