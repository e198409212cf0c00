"""Data to train on."""

from keras_spiking_bp.datasets.batches import Batches
from keras_spiking_bp.datasets.images import IMAGE_SETS, ImageSet, load_images
from keras_spiking_bp.datasets.mnist_5k import mnist_5k
from keras_spiking_bp.datasets.nmnist import EventSet, events_to_spikes, load_nmnist, read_events

__all__ = [
    "IMAGE_SETS",
    "Batches",
    "EventSet",
    "ImageSet",
    "events_to_spikes",
    "load_images",
    "load_nmnist",
    "mnist_5k",
    "read_events",
]
