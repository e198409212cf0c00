"""Networks of other libraries: to and from NIR, the neuromorphic intermediate representation."""

from keras_spiking_bp.interchange.read import from_nir
from keras_spiking_bp.interchange.write import to_nir

__all__ = ["from_nir", "to_nir"]
