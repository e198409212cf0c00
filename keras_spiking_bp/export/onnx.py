"""ONNX: one time step, for any runtime of that format."""

from __future__ import annotations

import os

import keras
import tensorflow as tf

from keras_spiking_bp.export.atomic import written_whole
from keras_spiking_bp.export.forms import spike_names, step_form
from keras_spiking_bp.export.network import Network


def export_onnx(model: keras.Model, path: str | os.PathLike, overwrite: bool = False, spikes: bool = False) -> None:
    """Writes an ONNX file of one time step, with any batch size.

    Inputs and outputs are those of the `step` signature of `export_saved_model`, in its order. Names are unique in an
    ONNX graph: the input `membrane_<cell>` is returned as `next_membrane_<cell>`, likewise `current_<cell>` and
    `fed_back_<cell>`.

    Args:
        model: as in `export_saved_model`.
        path: the file to write. It appears only when it is complete.
        overwrite: replace an existing file.
        spikes: also output the spikes of the step, 0 or 1 (of max pooling also -1) float32, of each spiking layer of
            neurons: `spikes_<cell>`, after the states. A potential of zero does not tell whether the neuron fired or
            received nothing.

    Raises:
        ImportError: if tf2onnx is not installed.
        TypeError: as `export_saved_model`.
        ValueError: as `export_saved_model`; if a synapse computes in a lower precision than float32, or has operations
            that tf2onnx does not convert, such as convolutions with groups.
        FileExistsError, FileNotFoundError: as `export_saved_model`.

    Example:
        >>> import pathlib, tempfile
        >>> model = models.spiking_vgg((8, 8, 1), 3, stages=[(4, 3), "pool"], dense_units=[], num_steps=10)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "step.onnx"
        >>> export.export_onnx(model, path)
    """
    import onnx
    import tf2onnx

    network = Network(model)
    network.check_float32("ONNX")
    form = step_form(network, with_spikes=spikes)

    states = [spec.name for spec in form.inputs[1:]]
    fired = list(spike_names(network.layer.cell)) if spikes else []
    names = {"outputs": "outputs", **{f"next_{name}": name for name in states}, **{name: name for name in fired}}

    def step(*tensors):
        outputs = form.function(*tensors)
        return {new: outputs[name] for new, name in names.items()}

    with written_whole(path, overwrite) as file:
        function = tf.function(step, input_signature=form.inputs, autograph=False)
        onnx_model, _ = tf2onnx.convert.from_function(function, form.inputs)
        unknown = {node.op_type for node in onnx_model.graph.node if not onnx.defs.has(node.op_type, node.domain)}
        if unknown:
            raise ValueError(
                f"`model` has operations that tf2onnx cannot convert: {sorted(unknown)}. Convolutions with groups are "
                "such: export_litert writes them"
            )
        outputs = {output.name: output for output in onnx_model.graph.output}
        for output in [outputs[name] for name in names]:  # TensorFlow has sorted them
            onnx_model.graph.output.remove(output)
            onnx_model.graph.output.append(output)
        for tensor in [*onnx_model.graph.input, *onnx_model.graph.output]:
            tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
        try:
            onnx.checker.check_model(onnx_model, full_check=True)
            attributes = [attribute for node in onnx_model.graph.node for attribute in node.attribute]
            if any(size < 0 for each in attributes if each.name == "pads" for size in each.ints):  # onnx 1.18 takes it
                raise onnx.checker.ValidationError("Attribute pads must not contain negative values")
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ValueError(
                "`model` has an operation that tf2onnx converts to one that is not valid, such as a transposed "
                f"convolution with strides above its kernel size: {str(error).strip()}. Try export_litert"
            ) from error
        file.write_bytes(onnx_model.SerializeToString())
