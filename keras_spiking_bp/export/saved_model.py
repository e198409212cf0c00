"""SavedModel: serves without this library, with all forms of a network as signatures."""

import os
from pathlib import Path

import keras
import tensorflow as tf

from keras_spiking_bp.export.atomic import written_whole
from keras_spiking_bp.export.forms import Form, Network, images_form, spikes_form, step_form


def export_saved_model(model: keras.Model, path: str | os.PathLike, overwrite: bool = False) -> None:
    """Writes a SavedModel that runs in TensorFlow alone, with any batch size.

    | signature | inputs | outputs |
    | --- | --- | --- |
    | `images` | `images` (B, ...): the spikes are drawn inside | `outputs` of the model |
    | `spikes` | `spikes` (B, T, ...) float32, any T | `outputs` |
    | `step` | `spikes` (B, ...) of a step; `membrane_<cell>` of all cells | `outputs`; the new states |

    Cells with `synaptic_beta` also have a `current_<cell>`, those in a `RecurrentCell` a `fed_back_<cell>`, the spikes
    of the previous step; `MaxPoolingCell(of="spikes")` has no state. The state before the first step is zeros: for
    cells with an `initial_membrane`, `membrane_<cell>` is the difference from it. The `outputs` of a step are V[t], to
    be divided by t, or its spikes. `images` exists if anything, such as an encoder, is before the `SpikingRNN`;
    `serving_default` is `images`, or `spikes` if there are no images. The file supports no gradients.

    Args:
        model: a built functional or sequential model that ends in a `SpikingRNN`. Every call starts at rest, whether
            that layer is `stateful` or not.
        path: the folder to write. It appears only when it is complete.
        overwrite: replace an existing SavedModel, if its folder holds nothing else.

    Raises:
        ValueError: if `model` has several inputs, several `SpikingRNN`, layers after it, runs backwards, or has two
            cells of one name; if weights are not finite, or a layer has a name that TensorFlow cannot write.
        FileExistsError: if `path` exists, unless `overwrite` is given and it is the folder of a SavedModel alone.

    Example:
        >>> import tempfile, tensorflow as tf
        >>> model = models.spiking_vgg((8, 8, 1), 3, stages=[(4, 3), "pool"], dense_units=[], num_steps=10)
        >>> folder = tempfile.mkdtemp() + "/saved_model"
        >>> export.export_saved_model(model, folder)
        >>> loaded = tf.saved_model.load(folder)
        >>> loaded.signatures["images"](images=tf.zeros((2, 8, 8, 1)))["outputs"].shape
        TensorShape([2, 3])
    """
    network = Network(model)
    forms = [spikes_form(network), step_form(network)]
    if network.front is not None:
        forms.insert(0, images_form(network))
    with written_whole(path, overwrite, folder=True) as folder:
        write_signatures(network, forms, folder)


def write_signatures(network: Network, forms: list[Form], folder: Path) -> None:
    """Writes a SavedModel with a signature for each form; the first is also `serving_default`."""
    module = tf.Module()
    module.model_variables = [variable.value for variable in network.variables]
    signatures = {
        form.name: tf.function(form.function, autograph=False).get_concrete_function(*form.inputs) for form in forms
    }
    signatures["serving_default"] = signatures[forms[0].name]
    # the file is for serving: the derivative of the window, computed on demand, would be a third of graph and time
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures=signatures, options=options)
