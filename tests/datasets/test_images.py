"""The image data sets: on images by hand, on TFDS' random stand-ins, and on the real MNIST where it is."""

import dataclasses

import numpy as np
import pytest

from keras_spiking_bp.datasets import ImageSet, load_images, mnist_5k
from keras_spiking_bp.datasets.images import IMAGE_SETS
from tests.real_data import TFDS, needs

SHAPES = {"mnist": (28, 28, 1), "fashion_mnist": (28, 28, 1), "cifar10": (32, 32, 3), "svhn_cropped": (32, 32, 3)}


def by_hand(name="cifar10", n=9):
    """Random images; image i has the label i % 3."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(1, 256, (2, n, 8, 8, 3)).astype("uint8"), np.arange(n, dtype="int32") % 3
    return ImageSet(name, (images[0], labels), (images[1], labels), (0.5, 0.4, 0.3), (0.6, 0.7, 0.8), 3)


def normalised(images):
    """NumPy's own of the images by hand."""
    return (images / 255 - np.array([0.5, 0.4, 0.3])) / np.array([0.6, 0.7, 0.8])


def test_batches_are_normalised_images_with_their_labels():
    data = by_hand()
    images, labels = next(iter(data.batches(9, seed=1).epoch(0)))
    assert images.dtype == "float32" and labels.dtype == "float32"
    left = list(range(9))
    for image, label in zip(images, labels, strict=True):
        i = next(i for i in left if np.allclose(image, normalised(data.train[0][i]), atol=1e-6))
        assert label.numpy().tolist() == np.eye(3)[i % 3].tolist()
        left.remove(i)


def test_test_batches_are_in_order_and_whole():
    data = by_hand()
    batches = list(data.test_batches(4))
    assert [len(x) for x, _ in batches] == [4, 4, 1]
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    np.testing.assert_allclose(images, normalised(data.test[0]), atol=1e-6)
    np.testing.assert_array_equal(labels, np.eye(3)[np.arange(9) % 3])
    np.testing.assert_array_equal(data.normalised(data.test[0]), images)


@pytest.mark.parametrize("name, padding, flips", [("mnist", 2, 0), ("cifar10", 4, 1)])
def test_augmentation_is_a_shift_with_a_reflected_border_and_a_flip_where_allowed(name, padding, flips):
    """Each augmented image is found among all shifts and flips of the original, made in NumPy."""
    data = by_hand(name, n=1)
    image, label = data.train[0][0], data.train[1]
    data = dataclasses.replace(data, train=(np.repeat(image[None], 200, 0), np.repeat(label, 200)))
    padded = np.pad(normalised(image[None])[0], ((padding, padding), (padding, padding), (0, 0)), "reflect")
    shifts = range(2 * padding + 1)
    crops = {(i, j, 0): padded[i : i + 8, j : j + 8] for i in shifts for j in shifts}
    crops |= {(i, j, 1): crop[:, ::-1] for (i, j, _), crop in crops.items()}
    all_of_them = np.array(list(crops.values())).reshape(len(crops), -1)

    found = []
    for x in next(iter(data.batches(200, augment=True, seed=3).epoch(0)))[0].numpy():
        (matches,) = np.nonzero(np.abs(all_of_them - x.reshape(-1)).max(1) < 1e-5)
        assert len(matches)  # two, where the image is its own reflection
        found.append(list(crops)[matches[0]])
    rows, columns, flipped = (set(values) for values in zip(*found, strict=True))
    assert rows == columns == set(shifts)
    assert flipped == ({0, 1} if flips else {0})
    assert len(set(found)) > 0.55 * len(shifts) ** 2 * len(flipped)  # rows, columns and flips are drawn apart


def test_validation_is_a_part_of_the_training_set():
    data = by_hand()
    split = data.with_validation(4, seed=1)
    assert len(split.train[0]) == 5 and len(split.test[0]) == 4
    together = np.concatenate([split.train[0], split.test[0]])
    where = [next(i for i in range(9) if (image == data.train[0][i]).all()) for image in together]
    assert sorted(where) == list(range(9))  # disjoint, and none is lost
    np.testing.assert_array_equal(np.concatenate([split.train[1], split.test[1]]), data.train[1][where])
    np.testing.assert_array_equal(data.with_validation(4, seed=1).test[0], split.test[0])
    assert (data.with_validation(4, seed=2).test[0] != split.test[0]).any()


def test_a_validation_follows_from_its_seed():
    first, again = (by_hand().with_validation(4, seed=-5).test[1] for _ in range(2))
    np.testing.assert_array_equal(again, first)


@pytest.fixture
def stand_ins(monkeypatch):
    """TFDS gives random pixels and labels for each data set."""
    tfds = pytest.importorskip("tensorflow_datasets")
    # data that was never prepared has no size, and TFDS makes one batch of it all of the largest integer
    monkeypatch.setattr(tfds.core.SplitDict, "total_num_examples", 6)
    with tfds.testing.mock_data(num_examples=6):
        yield


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_shapes_and_normalisation_of_each_data_set(name, stand_ins):
    data = load_images(name)
    assert data.input_shape == SHAPES[name] and data.classes == 10
    for images, labels in (data.train, data.test):
        assert images.shape == (6, *SHAPES[name]) and images.dtype == "uint8"
        assert labels.shape == (6,) and labels.dtype == "int32"
    mean, scale = 0.0, 1.0
    if name == "cifar10":
        mean, scale = [0.4914, 0.4822, 0.4465], [0.557, 0.549, 0.5534]
    if name == "svhn_cropped":
        pixels = data.train[0].reshape(-1, 3) / 255
        mean, scale = pixels.mean(0), 2 * pixels.std(0)
    expected = (data.test[0] / 255 - mean) / scale
    assert abs(expected).max() > 0.7
    np.testing.assert_allclose(next(iter(data.test_batches(6)))[0], expected, atol=1e-5)


def test_missing_data_without_a_network(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(FileNotFoundError, match=r"'mnist' is not in `data_dir`.*download=False.*tfds build mnist"):
        load_images("mnist", tmp_path, download=False)


def test_a_data_set_of_ones_own():
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1)).astype("uint8")
    split = images, np.arange(6, dtype="int32") % 3
    data = ImageSet("mine", split, split, 0.25, 0.5, 3)
    np.testing.assert_allclose(next(iter(data.test_batches(6)))[0], (images / 255 - 0.25) / 0.5, atol=1e-6)
    with pytest.raises(ValueError, match="`name` must be one of .*'mnist'.*Received: name='mine'"):
        data.batches(6, augment=True)
    with pytest.raises(ValueError, match=r"one for each example. Received: labels of shape \(6, 3\)"):
        dataclasses.replace(data, train=(images, np.eye(3, dtype=int)[split[1]])).batches(6)
    labels, message = np.array([0, 1, 2, 3, 0, 1]), "Labels must be integers from 0 to 2.* from 0 to 3"
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(data, train=(images, labels)).batches(6, augment=False)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(data, test=(images, labels)).test_batches(6)


@pytest.mark.slow
@needs(TFDS / "mnist")
def test_the_real_mnist():
    """Against its published figures: images of each digit, mean and standard deviation of the pixels."""
    data = load_images("mnist", TFDS, download=False)
    assert np.bincount(data.train[1]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert len(data.test[1]) == 10000
    assert abs(data.train[0].mean() / 255 - 0.1307) < 1e-4
    assert abs(data.train[0].std() / 255 - 0.3081) < 1e-4


def test_images_that_are_scaled_already_are_refused():
    data = by_hand()
    images = data.test[0] / 255
    with pytest.raises(ValueError, match="`images` must hold uint8 images, from 0 to 255. Received: images of dt"):
        data.normalised(images)
    scaled = dataclasses.replace(data, train=(images, data.test[1]), test=(images, data.test[1]))
    with pytest.raises(ValueError, match="`train` must hold uint8 images, from 0 to 255. Received"):
        scaled.batches(3)
    with pytest.raises(ValueError, match="`test` must hold uint8 images, from 0 to 255. Received"):
        scaled.test_batches(3)


def test_5k_split():
    (x_train, y_train), (x_test, y_test) = mnist_5k(seed=0)
    assert x_train.shape == (4000, 28, 28, 1) and x_test.shape == (1000, 28, 28, 1)
    assert x_train.dtype == "float32" and x_train.min() == 0 and x_train.max() == 1
    assert np.bincount(np.concatenate([y_train, y_test])).tolist() == [500] * 10
    assert np.bincount(y_test).min() > 70  # shuffled
    assert (mnist_5k(seed=1)[1][1] != y_test).any()
    np.testing.assert_array_equal(mnist_5k(seed=np.int64(0))[1][1], y_test)
