"""Long trainings: exact resume, several devices, several machines."""

from keras_spiking_bp.training.fit import fit

__all__ = ["fit"]
