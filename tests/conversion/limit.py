"""What a converted network gives in the limit of many steps, where rates are real numbers."""

import keras
import numpy as np
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.cells.composite import JOINS


def in_the_limit(snn: keras.Model, images: np.ndarray) -> np.ndarray:
    """The outputs for constant currents, with `clip(current / threshold, 0, 1)` for the rate of neurons."""
    time = snn.get_layer("time")
    front = keras.Model(snn.inputs[0], time.input)
    values = [front(images, training=False)[:, 0]]
    for node in time.cell.nodes():
        layer, given = node.layer, [values[i + 1] for i in node.inputs]  # CELL_INPUT is -1
        if isinstance(layer, ksbp.LIFCell):
            value = tf.clip_by_value(layer.synapse(given[0]) / layer.threshold, 0.0, 1.0)
        elif isinstance(layer, (ksbp.MaxPoolingCell, ksbp.ReadoutCell)):
            value = layer.synapse(given[0])
        else:
            value = layer(given if isinstance(layer, JOINS) else given[0])
        values.append(value)
    return np.asarray(value)
