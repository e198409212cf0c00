"""ONNX: one time step, for any runtime of that format."""

import os

import keras
import tensorflow as tf

from keras_spiking_bp.export.atomic import written_whole
from keras_spiking_bp.export.forms import Network, check_float32, step_form


def export_onnx(model: keras.Model, path: str | os.PathLike, overwrite: bool = False) -> None:
    """Writes an ONNX file of one time step, with any batch size.

    Inputs and outputs are those of the `step` signature of `export_saved_model`, in its order. Names are unique in an
    ONNX graph: the input `membrane_<cell>` is returned as `next_membrane_<cell>`, likewise `current_<cell>` and
    `fed_back_<cell>`.

    Args:
        model, path, overwrite: as in `export_saved_model`; `path` is a file.

    Raises:
        ValueError: as `export_saved_model`, which has the other errors; if a synapse computes in a lower precision than
            float32.
        onnx.checker.ValidationError: if a synapse has operations that tf2onnx does not convert, such as convolutions
            with groups.

    Example:
        >>> import pathlib, tempfile
        >>> model = models.spiking_vgg((8, 8, 1), 3, stages=[(4, 3), "pool"], dense_units=[], num_steps=10)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "step.onnx"
        >>> export.export_onnx(model, path)
    """
    import onnx
    import tf2onnx

    network = Network(model)
    check_float32(network.parts(), "ONNX")
    form = step_form(network)

    names = {"outputs": "outputs", **{f"next_{spec.name}": spec.name for spec in form.inputs[1:]}}

    def step(*tensors):
        outputs = form.function(*tensors)
        return {new: outputs[name] for new, name in names.items()}

    with written_whole(path, overwrite) as file:
        function = tf.function(step, input_signature=form.inputs, autograph=False)
        onnx_model, _ = tf2onnx.convert.from_function(function, form.inputs)
        outputs = {output.name: output for output in onnx_model.graph.output}
        for output in [outputs[name] for name in names]:  # TensorFlow has sorted them
            onnx_model.graph.output.remove(output)
            onnx_model.graph.output.append(output)
        for tensor in [*onnx_model.graph.input, *onnx_model.graph.output]:
            tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
        onnx.checker.check_model(onnx_model, full_check=True)
        file.write_bytes(onnx_model.SerializeToString())
