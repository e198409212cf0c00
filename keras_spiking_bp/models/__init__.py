"""Networks ready to train: from images (or spikes) to class scores."""

from keras_spiking_bp.models.vgg import spiking_lenet, spiking_vgg

__all__ = ["spiking_lenet", "spiking_vgg"]
