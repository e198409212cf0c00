"""keras_spiking_bp: train deep spiking neural networks in Keras, by spike-based backpropagation."""

from keras_spiking_bp import callbacks, datasets, export, gradients, losses, models, training
from keras_spiking_bp._version import __version__
from keras_spiking_bp.calibration import calibrate
from keras_spiking_bp.cell_summary import summary
from keras_spiking_bp.cells import (
    Cell,
    IFCell,
    LIFCell,
    ReadoutCell,
    ResidualCell,
    SequentialCell,
    beta_from_tau,
)
from keras_spiking_bp.encoders import ConstantEncoder, PoissonEncoder
from keras_spiking_bp.rnn import SpikingRNN

__all__ = [
    "Cell",
    "ConstantEncoder",
    "IFCell",
    "LIFCell",
    "PoissonEncoder",
    "ReadoutCell",
    "ResidualCell",
    "SequentialCell",
    "SpikingRNN",
    "__version__",
    "beta_from_tau",
    "calibrate",
    "callbacks",
    "datasets",
    "export",
    "gradients",
    "losses",
    "models",
    "summary",
    "training",
]
