"""The C files: the same as the library in float32, and as integers in NumPy in int8."""

import subprocess
from ctypes import c_uint

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from examples.experiments.pretrained import images_of
from keras_spiking_bp import models
from keras_spiking_bp.export import c, export_c, poisson_spikes
from tests import real_data
from tests.export.c_files import Code, Simulation, by_steps, needs, printed
from tests.export.random_networks import INPUTS, KINDS, random_network
from tests.real_data import TFDS

SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
CORTEX_M4 = ("-mcpu=cortex-m4", "-mthumb")
#: Of the data on which the packaged networks were trained.
FOLDERS = {"mnist": "mnist", "cifar10": "cifar10", "spoken_digits": "spoken_digit"}
needs_cc = needs("cc")


def assert_close(given, expected):
    assert expected.any()
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def as_seen(inputs, code):
    """What the C code gets at each step: spikes in place of an image."""
    return poisson_spikes(inputs[:1], len(inputs), seed=3)[0] if code == "poisson" else inputs


def expected(model, seen, code):
    return by_steps(model, (0.5 if code == "constant" else 1.0) * seen[None])[0]


@needs_cc
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_each_kind(tmp_path, kind):
    code = INPUTS[KINDS.index(kind) % 3]
    model, inputs = random_network(KINDS.index(kind), kind, code)
    seen = as_seen(inputs, code)
    assert_close(Code(model, tmp_path / "float32", "float32").by_library(seen)[0], expected(model, seen, code))
    assert_integers(Code(model, tmp_path / "int8", "int8"), seen)


def assert_integers(integers, seen):
    for given, simulated in zip(integers.by_library(seen), Simulation(integers).run(seen), strict=True):
        np.testing.assert_array_equal(given, simulated)


@pytest.mark.slow
@needs_cc
@pytest.mark.parametrize("seed", range(54))
def test_random_networks_under_sanitizers(tmp_path, seed):
    """Each kind with each input, in the example program."""
    kind, code = KINDS[seed % len(KINDS)], INPUTS[seed // len(KINDS) % 3]
    model, inputs = random_network(1000 + seed, kind, code)
    seen, given = as_seen(inputs, code), inputs if code == "free" else inputs[:1]
    for weights in ("float32", "int8"):
        files = Code(model, tmp_path / weights, weights)
        outputs = printed([files.compiled("main", "main.c", flags=SANITIZED)], given, "--seed", "3")
        if weights == "int8":
            np.testing.assert_array_equal(outputs, Simulation(files).run(seen)[0])
        else:
            assert_close(outputs, expected(model, seen, code))


@pytest.mark.slow
@needs_cc
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=real_data.needs(TFDS / folder)) for name, folder in FOLDERS.items()]
)
def test_packaged_networks_in_int8(tmp_path, name):
    """Up to 500 test samples, bit for bit."""
    model = models.load_pretrained(name, models.model_card(name)["recipe"].get("num_steps"))
    files = Code(model, tmp_path / "c", "int8")
    if name == "spoken_digits":
        test = ksbp.datasets.load_spoken_digits(TFDS)[1]
        sequences = [series[mask] for series, mask in zip(test.series, test.mask, strict=True)]
    else:
        data, encoder = images_of(name, TFDS), model.layers[1]
        images = data.normalised(data.test[0][:500])
        if name == "mnist":
            sequences = [poisson_spikes(image[None], encoder.num_steps, 3, encoder.scale)[0] for image in images]
        else:
            sequences = [np.repeat(image[None], encoder.num_steps, axis=0) for image in images]
    assert len(sequences) >= 250
    for seen in sequences:
        assert_integers(files, seen)


def network(cells, shape, num_steps=5, code="free"):
    """Of cells, or of a graph, on sequences or on an image that is held."""
    inputs = keras.Input((num_steps, *shape) if code == "free" else shape)
    sequences = inputs if code == "free" else ksbp.ConstantEncoder(num_steps, largest=None)(inputs)
    cell = cells if isinstance(cells, ksbp.GraphCell) else ksbp.SequentialCell(cells)
    return keras.Model(inputs, ksbp.SpikingRNN(cell, gradient="bptt")(sequences))


def hidden(synapse=None, **kwargs):
    synapse = synapse or keras.layers.Dense(6)
    return ksbp.LIFCell(synapse, **{"beta": 0.5, "threshold": 0.2} | kwargs)


def readout(synapse=None):
    return ksbp.ReadoutCell(synapse or keras.layers.Dense(3, bias_initializer="ones"), beta=0.5, name="readout")


def conv(filters=3, size=3, **kwargs):
    return keras.layers.Conv2D(filters, size, **kwargs)


def ends_in_negative_maxima():
    """Below 0 a maximum of sums is not the sum of a maximum."""
    cells = [hidden(conv(), name="conv"), keras.layers.Rescaling(-1.0, name="negative")]
    cells += [ksbp.MaxPoolingCell(keras.layers.MaxPooling2D(2), name="max"), keras.layers.Flatten(name="flat")]
    names = ["input", *(cell.name for cell in cells)]
    return ksbp.GraphCell([*zip(cells, names[:-1], strict=True), (readout(), names[-1])])


def of_out_of_bounds():
    """Parameters that an optimiser moved beyond their bounds are used at these."""
    cell = hidden(learn_beta=True, learn_threshold=True, surrogate="atan")
    model = network([cell, readout()], (4,))
    cell.beta.assign(1.5)
    cell.threshold.assign(-1.0)
    return model


ODD = {
    "average of the image": lambda: network(
        [keras.layers.AveragePooling2D(2), hidden(conv()), keras.layers.Flatten(), readout()], (8, 8, 2), code="image"
    ),
    "padding before flatten": lambda: network(
        [keras.layers.ZeroPadding2D(1), keras.layers.Flatten(), hidden(), readout()], (4, 4, 2), code="image"
    ),
    "negative maxima": lambda: network(ends_in_negative_maxima(), (8, 8, 2)),
    "a large mean": lambda: network(
        [
            hidden(conv(2, 1, bias_initializer="ones")),
            keras.layers.GlobalAveragePooling2D(),
            readout(keras.layers.Dense(3, kernel_initializer="ones")),
        ],
        (200, 200, 1),
    ),
    "out of bounds": of_out_of_bounds,
}


@needs_cc
@pytest.mark.parametrize("name", ODD)
def test_odd_networks(tmp_path, name):
    model = ODD[name]()
    image = model.input_shape[1] != 5
    inputs = np.random.default_rng(0).integers(-2, 3, (5, *model.input_shape[1 if image else 2 :])) / 2
    inputs = np.repeat(inputs[:1], 5, axis=0) if image else inputs
    assert_close(Code(model, tmp_path / "c", "float32").by_library(inputs)[0], by_steps(model, inputs[None])[0])


@needs_cc
@pytest.mark.parametrize("name", ["inputs", "saturated", "negative gains"])
def test_integers_at_their_limits(tmp_path, name):
    layer = keras.layers.Dense(3, kernel_initializer="ones", use_bias=name == "saturated")
    cells, inputs = [readout(layer)], np.ones((4, 6)) / 2
    if name == "inputs":  # halves of 1/1024, and what 16 bits do not hold
        inputs = np.array([[-1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997], [1e3, -1e9, 31.99, -32.1, 32.5, 0]]) / [[1024], [1]]
    if name == "negative gains":
        halved = keras.Sequential(
            [keras.layers.Reshape((6, 1)), keras.layers.Rescaling(-1.0), keras.layers.AveragePooling1D(2)]
        )
        cells = [
            hidden(keras.layers.Dense(6, kernel_initializer="identity")),
            hidden(halved),
            keras.layers.Flatten(),
            *cells,
        ]
    model = network(cells, (6,), num_steps=len(inputs))
    if name == "saturated":
        cells[0].beta = 1.0
        layer.bias.assign([1e9, -1e9, 1.0])
    integers = Code(model, tmp_path / "c", "int8")
    assert_integers(integers, inputs)
    if name == "inputs":
        assert "of at most 32 (" in (tmp_path / "c" / "README.md").read_text()
    if name == "saturated":
        top = 2 * 1e9  # the unit is such that a bias takes half of the 32 bits; the sum of four steps does not fit
        np.testing.assert_allclose(integers.by_library(inputs)[0][-1], [top, -top, 4 * 4], rtol=1e-5)
    if name == "negative gains":
        assert not integers.by_library(inputs)[0].any()  # as in the library, no neuron of the second layer fires


@needs_cc
def test_tiny_weights_beside_a_bias(tmp_path):
    """As of a batch normalisation with a gamma near 0: the neurons fire from the bias alone, at every second step."""
    layer = keras.layers.Dense(3)
    model = network([ksbp.IFCell(layer, reset_mechanism="subtract", name="first"), readout()], (4,), num_steps=6)
    layer.kernel.assign(np.full((4, 3), 1e-7))
    layer.bias.assign(np.full(3, 0.55))
    spikes = [Code(model, tmp_path / w, w).by_library(np.ones((6, 4)))[1] for w in ("float32", "int8")]
    np.testing.assert_array_equal(spikes, [[0, 3, 0, 3, 0, 3]] * 2)


@needs_cc
def test_weights_on_a_grid_are_not_rounded(tmp_path):
    """8-bit multiples of a power of two, behind a normalisation that is the identity but for rounding errors."""
    rng = np.random.default_rng(0)
    norm, dense = keras.layers.BatchNormalization(), keras.layers.Dense(20, use_bias=False)
    neurons = ksbp.IFCell(keras.Sequential([dense, norm]), reset_mechanism="subtract", initial_membrane=0.5 + 2**-9)
    model = network([neurons, readout()], (30,), num_steps=200)
    steps = np.exp2(rng.integers(-8, -5, 20))
    dense.kernel.assign(rng.integers(-90, 91, (30, 20)) * steps)
    variance, seen = np.full(20, 0.7), rng.integers(0, 2, (200, 30))
    norm.set_weights([np.sqrt(variance + norm.epsilon), rng.integers(-9, 9, 20) * steps, np.zeros(20), variance])
    spikes = [Code(model, tmp_path / w, w).by_library(seen)[1] for w in ("float32", "int8")]
    assert spikes[0].sum() > 500
    np.testing.assert_array_equal(*spikes)


@needs_cc
def test_poisson_spikes(tmp_path):
    image = np.linspace(-1, 1, 81, dtype="float32").reshape(9, 9, 1)
    inputs = keras.Input(image.shape)
    cells = [keras.layers.Flatten(), readout()]
    model = keras.Model(inputs, ksbp.SpikingRNN(ksbp.SequentialCell(cells))(ksbp.PoissonEncoder(5, scale=0.7)(inputs)))
    library, spikes = Code(model, tmp_path / "c", "float32").library, np.zeros(81, "float32")
    for seed in (0, 2**32 - 1):
        drawn = poisson_spikes(image[None], 5, seed, 0.7)[0]
        for step in range(5):
            library.network_poisson(image.ctypes, c_uint(seed), step, spikes.ctypes)
            np.testing.assert_array_equal(spikes, drawn[step].ravel())


def test_poisson_spikes_are_independent():
    """Means of 10,000 draws, within 5 standard deviations: of each rate, and of products of two spikes."""
    rates, within = np.array([0.0, 0.05, -0.3, 0.3, 0.5, -0.9, 1.0]), 5 * (0.25 / 10_000) ** 0.5
    images = np.tile(rates, (1, 100))
    spikes, others = (poisson_spikes(images, 101, seed)[0].reshape(101, 100, 7).astype(float) for seed in (1, 2))
    np.testing.assert_allclose(spikes.mean((0, 1)), rates, rtol=0, atol=within)
    pairs = [(spikes[1:], spikes[:-1]), (spikes[:, 1:], spikes[:, :-1]), (spikes, others)]
    for one, other in pairs:  # steps, pixels, samples
        np.testing.assert_allclose((one * other).mean((0, 1)), rates**2, rtol=0, atol=within)


@needs_cc
def test_a_decision(tmp_path):
    """The class once it is ahead by more than the margin; the program stops there."""
    model = network([readout(keras.layers.Dense(3, use_bias=False))], (3,))
    model.set_weights([np.eye(3)])
    files, inputs = Code(model, tmp_path / "c", "float32"), np.array([[1, 1, 0], [0, 4, 0], *[[0, 0, 0]] * 3])
    outputs = printed([files.compiled("main", "main.c")], inputs, "--margin", "1.5")
    np.testing.assert_array_equal(outputs, [[0.5, 0.5, 0], [0.25, 2.25, 0]])


def a_readout_between():
    return network([ksbp.ReadoutCell(keras.layers.Dense(3), name="first"), readout()], (4,))


@keras.saving.register_keras_serializable(package="tests")
class OwnCurrent(ksbp.LIFCell):
    def current(self, inputs, block):
        return 2 * super().current(inputs, block)


@keras.saving.register_keras_serializable(package="tests")
class OwnFire(ksbp.LIFCell):
    def fire(self, current, state):
        return super().fire(2 * current, state)


def recurrent():
    inner = keras.Sequential([keras.layers.Dense(2, name="inner"), keras.layers.Dense(6)])
    model = network([ksbp.RecurrentCell(hidden(name="cell"), inner), readout()], (4,))
    inner.layers[0].bias.assign([1.0, 0.0])
    return model


def broadcast():
    nodes = [(hidden(conv(n, 1), name=name), "input") for n, name in ((4, "a"), (1, "b"))]
    nodes += [
        (keras.layers.Add(name="sum"), ["a", "b"]),
        (keras.layers.Flatten(name="flat"), "sum"),
        (readout(keras.layers.Dense(2)), "flat"),
    ]
    return network(ksbp.GraphCell(nodes), (8, 8, 2))


def pooled_channels():
    pool = ksbp.MaxPoolingCell(keras.layers.MaxPooling2D(2, data_format="channels_first"), name="pool")
    return network([hidden(conv(2, 1)), pool, keras.layers.Flatten(), readout()], (8, 8, 2))


def backwards():
    inputs = keras.Input((5, 4))
    return keras.Model(inputs, ksbp.SpikingRNN(readout(), go_backwards=True)(inputs))


def after(cell):
    return network([cell, readout()], (4,))


def images(synapse):
    return network([hidden(synapse), keras.layers.Flatten(), readout()], (8, 8, 2))


@pytest.mark.parametrize(("make", "weights", "argument"), [
    (lambda: images(conv(3, 2, data_format="channels_first", name="conv")), "float32", "'conv'.*channels first"),
    (lambda: images(conv(activation="relu", name="conv")), "float32", "'conv'.*activation"),
    (lambda: images(keras.layers.MaxPooling2D(name="max")), "float32", "'max'"),
    (lambda: after(OwnCurrent(keras.layers.Dense(3), name="own")), "float32", "'own'"),
    (lambda: after(OwnFire(keras.layers.Dense(3), name="own")), "float32", "'own'"),
    (a_readout_between, "float32", "readout 'first'"),
    (recurrent, "float32", "recurrent synapse of 'cell'"),
    (backwards, "float32", "go_backwards"),
    (lambda: network([keras.layers.Dense(3), readout(keras.layers.Dense(3, name="next"))], (4,)), "int8", "'next'"),
    (lambda: images(keras.layers.DepthwiseConv2D(2, strides=2, dilation_rate=2)), "float32", "stride.*dilation"),
    (broadcast, "float32", "'sum'.*one size"),
    (pooled_channels, "float32", "'pool'.*channels last"),
    (lambda: network([readout(keras.layers.Dense(1, kernel_initializer="ones"))], (40_000,)), "int8", "would be cut"),
    (ODD["a large mean"], "int8", "'readout'.*32 bits"),
    (lambda: network([readout()], (4,)), "int4", "`weights`"),
])  # fmt: skip
def test_refused(tmp_path, make, weights, argument):
    with pytest.raises(ValueError, match=argument):
        export_c(make(), tmp_path / "c", weights)
    assert not list(tmp_path.iterdir())


def test_what_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    model = network([readout()], (4,))
    with monkeypatch.context() as broken, pytest.raises(OSError, match="disk"):
        broken.setattr(c, "readme", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
        export_c(model, tmp_path / "c")
    assert not list(tmp_path.iterdir())
    export_c(model, tmp_path / "c")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export_c(model, tmp_path / "c", "int8")
    export_c(model, tmp_path / "c", "int8", overwrite=True)
    assert "int8" in (tmp_path / "c" / "README.md").read_text()


@pytest.mark.slow
@needs("arm-none-eabi-gcc", "arm-none-eabi-size")
@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("seed", range(3))
def test_read_only_memory(tmp_path, seed, weights):
    model, _ = random_network(seed, KINDS[2 * seed], INPUTS[seed % 3])
    memory = export_c(model, tmp_path / "c", weights)
    for floats in ("soft", "hard"):
        command = ["arm-none-eabi-gcc", "-Os", *CORTEX_M4, f"-mfloat-abi={floats}", "-c", "weights.c"]
        subprocess.run(command, cwd=tmp_path / "c", check=True)
        sizes = subprocess.check_output(["arm-none-eabi-size", "weights.o"], cwd=tmp_path / "c", text=True)
        assert int(sizes.splitlines()[1].split()[0]) == memory["flash"]


#: The first words in memory: where the stack starts, and the program.
START = """
extern void _start(void);
__attribute__((section(".vectors"), used)) static void (*const vectors[])(void) = {(void (*)(void))0x20400000, _start};
"""


@pytest.mark.slow
@needs("cc", "arm-none-eabi-gcc", "qemu-system-arm")
@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_on_a_cortex_m4(tmp_path, weights):
    """The packaged network of spoken digits prints the same on a simulated microcontroller."""
    model = ksbp.models.load_pretrained("spoken_digits")
    files = Code(model, tmp_path / "c", weights)
    (files.folder / "start.c").write_text(START)
    flags = (*CORTEX_M4, "-mfloat-abi=soft", "--specs=rdimon.specs", "-Wl,--section-start=.vectors=0")
    image = files.compiled("image", "main.c", "start.c", compiler="arm-none-eabi-gcc", flags=flags)
    board = "qemu-system-arm -M mps2-an386 -display none -serial none -monitor none -semihosting -kernel"
    here = files.compiled("main", "main.c")
    for seed in range(3):
        inputs = np.random.default_rng(seed).normal(0, 1, (30, model.input_shape[-1]))
        outputs = printed([here], inputs)
        assert outputs.shape == (30, 10) and outputs.any()
        np.testing.assert_array_equal(printed([*board.split(), image], inputs), outputs)
