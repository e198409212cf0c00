"""Training with exact resume, on one or several devices; statistics of batch normalisation."""

from keras_spiking_bp.training.calibration import update_statistics
from keras_spiking_bp.training.fit import fit

__all__ = ["fit", "update_statistics"]
