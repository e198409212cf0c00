"""Data to train on."""

from keras_spiking_bp.datasets.batches import Batches
from keras_spiking_bp.datasets.events import EventSet, events_to_spikes
from keras_spiking_bp.datasets.images import ImageSet, load_images, mnist_5k
from keras_spiking_bp.datasets.nmnist import load_nmnist, read_events
from keras_spiking_bp.datasets.tonic import from_tonic

__all__ = [
    "Batches",
    "EventSet",
    "ImageSet",
    "events_to_spikes",
    "from_tonic",
    "load_images",
    "load_nmnist",
    "mnist_5k",
    "read_events",
]
