"""Data to train on."""

from keras_spiking_bp.datasets.mnist_5k import mnist_5k

__all__ = ["mnist_5k"]
