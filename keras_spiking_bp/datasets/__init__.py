"""Data to train on."""

from keras_spiking_bp.datasets.batches import Batches
from keras_spiking_bp.datasets.images import IMAGE_SETS, ImageSet, load_images
from keras_spiking_bp.datasets.mnist_5k import mnist_5k

__all__ = ["IMAGE_SETS", "Batches", "ImageSet", "load_images", "mnist_5k"]
