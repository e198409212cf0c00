"""Long training: exact resume, several devices, several machines."""

from keras_spiking_bp.training.fit import fit
from keras_spiking_bp.training.multi_worker import fit_multi_worker, is_chief

__all__ = ["fit", "fit_multi_worker", "is_chief"]
