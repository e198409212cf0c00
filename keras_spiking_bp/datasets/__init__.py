"""Data to train on."""

from keras_spiking_bp.datasets.batches import Batches
from keras_spiking_bp.datasets.events import EventSet, events_to_spikes
from keras_spiking_bp.datasets.images import ImageSet, load_images, mnist_5k
from keras_spiking_bp.datasets.nmnist import load_nmnist, read_events
from keras_spiking_bp.datasets.speech import LogMel, Recordings, load_spoken_digits, log_mel
from keras_spiking_bp.datasets.tonic import from_tonic

__all__ = [
    "Batches",
    "EventSet",
    "ImageSet",
    "LogMel",
    "Recordings",
    "events_to_spikes",
    "from_tonic",
    "load_images",
    "load_nmnist",
    "load_spoken_digits",
    "log_mel",
    "mnist_5k",
    "read_events",
]
