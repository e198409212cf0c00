"""keras_spiking_bp: train deep spiking neural networks in Keras, by spike-based backpropagation."""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"keras_spiking_bp needs the TensorFlow backend of Keras. Received: the backend {keras.backend.backend()!r}. "
        "Set the environment variable KERAS_BACKEND=tensorflow before Keras is imported"
    )

from keras_spiking_bp import (
    analysis,
    datasets,
    export,
    kernels,
    losses,
    models,
    optimizers,
    regularizers,
    training,
)
from keras_spiking_bp._version import __version__ as __version__
from keras_spiking_bp.cells import (
    Cell,
    GraphCell,
    IFCell,
    LIFCell,
    MaxPoolingCell,
    PoolingCell,
    ReadoutCell,
    RecurrentCell,
    ResidualCell,
    SequentialCell,
)
from keras_spiking_bp.conversion import convert_to_snn
from keras_spiking_bp.conversion.counterpart import ann_counterpart, copy_weights
from keras_spiking_bp.encoders import ConstantEncoder, DeltaEncoder, LatencyEncoder, PoissonEncoder
from keras_spiking_bp.gradients import surrogates
from keras_spiking_bp.interchange import from_nir, to_nir
from keras_spiking_bp.rnn.layer import SpikingRNN
from keras_spiking_bp.rnn.summary import summary
from keras_spiking_bp.training import callbacks
from keras_spiking_bp.training.calibration import calibrate
from keras_spiking_bp.utils.neuron_parameters import beta_from_tau

__all__ = [
    "Cell",
    "ConstantEncoder",
    "DeltaEncoder",
    "GraphCell",
    "IFCell",
    "LIFCell",
    "LatencyEncoder",
    "MaxPoolingCell",
    "PoissonEncoder",
    "PoolingCell",
    "ReadoutCell",
    "RecurrentCell",
    "ResidualCell",
    "SequentialCell",
    "SpikingRNN",
    "analysis",
    "ann_counterpart",
    "beta_from_tau",
    "calibrate",
    "callbacks",
    "convert_to_snn",
    "copy_weights",
    "datasets",
    "export",
    "from_nir",
    "kernels",
    "losses",
    "models",
    "optimizers",
    "regularizers",
    "summary",
    "surrogates",
    "to_nir",
    "training",
]
