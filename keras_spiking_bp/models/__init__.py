"""Networks ready to train: from images (or spikes) to class scores."""

from keras_spiking_bp.models.pretrained import load_pretrained, model_card
from keras_spiking_bp.models.resnet import (
    spiking_resnet,
    spiking_resnet7,
    spiking_resnet9,
    spiking_resnet11,
    spiking_resnet20,
)
from keras_spiking_bp.models.speech import spiking_speech
from keras_spiking_bp.models.vgg import spiking_lenet, spiking_vgg, spiking_vgg7, spiking_vgg9

__all__ = [
    "load_pretrained",
    "model_card",
    "spiking_lenet",
    "spiking_resnet",
    "spiking_resnet7",
    "spiking_resnet9",
    "spiking_resnet11",
    "spiking_resnet20",
    "spiking_speech",
    "spiking_vgg",
    "spiking_vgg7",
    "spiking_vgg9",
]
