"""The neuron update in C++: the same to the last bit, only in trainings, and a clear word where it cannot be built."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_spiking_bp as ksbp
from keras_spiking_bp import kernels
from keras_spiking_bp.cells import lif
from keras_spiking_bp.kernels import compiler, switch
from keras_spiking_bp.kernels.compiler import library_path
from keras_spiking_bp.kernels.lif_step import lif_step
from keras_spiking_bp.kernels.mean import mean_of_steps
from tests.networks import FIXTURES, build_rnn, golden
from tests.pages import ROOT
from tests.slow import slow, slow_except

COMPILER = shlex.split(os.environ.get("CXX") or "g++")
with_compiler = pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason="no C++ compiler")


@pytest.fixture
def on():
    kernels.enable()
    yield
    kernels.enable(False)


def cell_of(reset, surrogate=None, beta=0.9, threshold=0.7, synaptic_beta=None, dtype=None):
    synapse = keras.layers.Identity(dtype=dtype)
    resets = {"reset_mechanism": "subtract", "signed": True} if reset == "signed" else {"reset_mechanism": reset}
    return ksbp.LIFCell(synapse, beta, threshold, surrogate=surrogate, synaptic_beta=synaptic_beta, **resets)


RULES = [
    ("accumulated", None), ("accumulated", "bounded"), ("accumulated", "triangle"),
    ("accumulated", ksbp.surrogates.Triangle(0.3)), ("accumulated", "sigmoid"),
]  # fmt: skip


def states_of(cell, shape, rule, values):
    """A state in the middle of a window, with a record of whole counts and any potentials."""
    cell.build((None, *shape[1:]))
    state = cell.initial_state(shape[0], gradient=rule)
    return {
        name: tf.constant(values.normal(0.2, 1, tensor.shape).astype("float32"))
        if name in ("membrane", "current", "eligibility", "slope_sum", "leaky_trace")
        else tf.constant(values.integers(0, 5, tensor.shape).astype("float32"))
        for name, tensor in state.items()
    }


def assert_same_bits(actual, expected, name=""):
    assert actual.dtype == expected.dtype, name
    as_bytes = [np.asarray(tensor).view(f"u{tensor.dtype.size}") for tensor in (actual, expected)]
    nan = [np.isnan(np.asarray(tensor, "float32")) for tensor in (actual, expected)]
    np.testing.assert_array_equal(*nan, err_msg=name)
    np.testing.assert_array_equal(as_bytes[0][~nan[0]], as_bytes[1][~nan[0]], err_msg=name)


@contextlib.contextmanager
def watched():
    """A list that gets, for each step of neurons within, whether a kernel computed it."""
    used = []

    def lif_step_watched(*args, **kwargs):
        done = lif_step(*args, **kwargs)
        used.append(done is not None)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lif, "lif_step", lif_step_watched)
        yield used


def both(cell, current, state):
    """Spikes and new state, without and with the kernels."""
    results = []
    with watched() as used:
        try:
            for on in (False, True):
                kernels.enable(on)
                with switch.in_training(True):
                    results.append(cell.fire(current, state))
        finally:
            kernels.enable(False)
    assert used == [False, "drive" not in state]  # none for a surrogate with a synaptic current
    return results


def assert_same(cell, current, state):
    (plain, plain_state), (spikes, new) = both(cell, current, state)
    assert_same_bits(spikes, plain, "spikes")
    assert list(new) == list(plain_state)
    for name in new:
        assert_same_bits(new[name], plain_state[name], name)


@with_compiler
@pytest.mark.parametrize("dtype", ["float32", slow("mixed_bfloat16")])
@pytest.mark.parametrize("synaptic_beta", [None, slow(0.6)])
@pytest.mark.parametrize("beta", [0.9, slow(1.0)])
@pytest.mark.parametrize("reset", ["zero", "subtract", "signed"])
@pytest.mark.parametrize(("rule", "surrogate"), RULES)
def test_a_step_is_the_same_to_the_last_bit(rule, surrogate, reset, beta, synaptic_beta, dtype):
    """Sizes below, at and above a block, none of them a multiple of a vector."""
    values = np.random.default_rng(0)
    for shape in [(1, 1), (3, 5, 7), (2, 513), (3, 1031), (2, 9, 9, 70)]:
        cell = cell_of(reset, surrogate, beta, synaptic_beta=synaptic_beta, dtype=dtype)
        state = states_of(cell, shape, rule, values)
        current = tf.cast(values.normal(0.1, 1, shape), cell.synapse.compute_dtype)
        assert_same(cell, current, state)


@with_compiler
@pytest.mark.parametrize("steps", [1, 3, 4, 9])
def test_a_mean_is_rounded_once(steps, on):
    """As in NumPy: float32 sums in order, one division, to the nearest bfloat16; with NaN and infinities."""
    values = np.random.default_rng(0).normal(0, 3, (steps, 7, 1031)).astype("float32")
    values[0, 0, :3] = np.nan, np.inf, 3e38
    values = tf.cast(values, "bfloat16")
    with switch.in_training(True):
        mean = mean_of_steps(tf.unstack(values))
    each = np.asarray(values, "float32")
    total = each[0]
    for value in each[1:]:
        total = total + value
    assert_same_bits(mean, tf.constant((total / np.float32(steps)).astype(mean.dtype.as_numpy_dtype)))
    assert mean_of_steps(tf.unstack(values)) is None  # not in training


@with_compiler
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    values=st.lists(st.floats(width=32), min_size=1, max_size=70),
    beta=st.floats(2.0**-20, 1.0, width=32),
    threshold=st.floats(2.0**-20, 2.0**20, width=32),
    reset=st.sampled_from(["zero", "subtract"]),
    rule=st.sampled_from(RULES),
)
def test_any_numbers(values, beta, threshold, reset, rule):
    """NaN, infinities, numbers near the smallest and the largest, zeros of both signs."""
    cell = cell_of(reset, rule[1], beta, threshold)
    current = tf.constant([values], tf.float32)
    state = states_of(cell, current.shape, rule[0], np.random.default_rng(0))
    assert_same(cell, current, {**state, "membrane": tf.reverse(current, [1]) * 0.5})


def network(**kwargs):
    return ksbp.models.spiking_vgg((9, 9, 2), 4, [(5, 3), "pool"], [11], num_steps=4, seed=0, preset="paper", **kwargs)


def trained(**kwargs):
    """The weights after a few steps of `fit`."""
    keras.utils.set_random_seed(0)
    model = network(**kwargs)
    model.compile(keras.optimizers.Adam(0.01), ksbp.losses.SparseSumSquaredError())
    x = np.random.default_rng(0).uniform(0, 1, (24, 9, 9, 2)).astype("float32")
    model.fit(x, np.arange(24) % 4, batch_size=8, epochs=2, verbose=0, shuffle=False)
    return model.get_weights()


TRAININGS = {
    "accumulated": {},
    "bounded": {"surrogate": "bounded", "reset_mechanism": "subtract"},
    "normalized": {"surrogate": "bounded", "reset_mechanism": "subtract", "normalization": "batch"},
    "surrogate": {"surrogate": "atan", "pooling": "average"},
    "triangle": {"surrogate": "triangle", "pooling": "average"},
    "bfloat16": {
        "surrogate": "bounded", "reset_mechanism": "subtract", "normalization": "batch", "dtype": "mixed_bfloat16",
    },
    "dropout": {"dropout": 0.3},
    "synaptic": {"synaptic_beta": 0.5},
}  # fmt: skip


@with_compiler
@pytest.mark.parametrize("name", slow_except(TRAININGS, "bounded"))
def test_a_training_is_the_same(name):
    """To the last bit but for a surrogate, whose sums over a few steps TensorFlow adds in another order."""
    without = trained(**TRAININGS[name])
    kernels.enable()
    try:
        with watched() as used:
            with_kernels = trained(**TRAININGS[name])
    finally:
        kernels.enable(False)
    assert any(used)
    for a, b in zip(without, with_kernels, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 if "surrogate" in name or name == "triangle" else 0)


@with_compiler
def test_masked_steps(on):
    """Held back from the kernels as from the plain operations."""
    network, weights, figures = golden(next(iter(FIXTURES)))
    inputs = figures["inputs"].astype("float32")
    mask = np.random.default_rng(0).random(inputs.shape[:2]) < 0.7
    results = []
    for with_kernels in (False, True):
        kernels.enable(with_kernels)
        rnn, _ = build_rnn(network, weights, gradient="accumulated")
        with watched() as used, tf.GradientTape() as tape:
            outputs = rnn(inputs, mask=tf.constant(mask), training=True)
            loss = tf.reduce_sum(outputs**2)
        assert any(used) == with_kernels
        results.append([outputs, *tape.gradient(loss, rnn.trainable_weights)])
    for plain, by_kernel in zip(*results, strict=True):
        assert_same_bits(by_kernel, plain)


@pytest.mark.slow
@with_compiler
@pytest.mark.parametrize("threads", ["1", "8"])
def test_any_number_of_threads(threads):
    """Sums of TensorFlow depend on it, the kernels do not: the same weights with them and without."""
    code = """
import sys, tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
import keras_spiking_bp as ksbp
from tests.kernels.test_kernels import trained
without = trained(surrogate="bounded")
ksbp.kernels.enable()
print(all((a == b).all() for a, b in zip(without, trained(surrogate="bounded"), strict=True)))
"""
    done = in_a_process(code, threads)
    assert done.stdout == "True\n", done.stderr[-2000:]


def kernels_in(function, *args):
    graph = tf.function(function, autograph=False).get_concrete_function(*args).graph
    functions = [f.graph for f in graph._functions.values() if hasattr(f, "graph")]
    return any("KerasSpikingBp" in op.type for g in [graph, *functions] for op in g.get_operations())


@with_compiler
def test_where_it_is_used(on):
    """In the loop of a training on totals; not step by step, in inference, in exports, or for XLA."""
    x, used = tf.zeros((2, 7, 4)), []
    for gradient in ("accumulated", "bptt"):
        layer = ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(3)), gradient)
        used += [(gradient, t) for t in (True, False) if kernels_in(lambda x, m=layer, t=t: m(x, training=t), x)]
        assert not kernels_in(lambda x, m=layer: m.observe(x)[0], x)
    assert used == [("accumulated", True)]


@pytest.mark.slow
@with_compiler
def test_exports_have_none(on, tmp_path):
    """Not in the functions of gradients either, which TensorFlow saves too."""
    model = network()
    model.compile("sgd", ksbp.losses.SparseSumSquaredError())
    model.fit(np.ones((4, 9, 9, 2), "float32"), np.zeros(4), verbose=0)
    ksbp.export.export_saved_model(model, tmp_path / "exported")
    model.export(tmp_path / "by_keras", verbose=False)
    for name in ("exported", "by_keras"):
        assert b"KerasSpikingBp" not in (tmp_path / name / "saved_model.pb").read_bytes()


@pytest.mark.slow
@with_compiler
def test_xla_has_the_plain_operations(on, recwarn):
    switch._said.clear()
    model = network()
    model.compile("sgd", ksbp.losses.SparseSumSquaredError(), jit_compile=True)
    x, y = np.ones((4, 9, 9, 2), "float32"), np.zeros(4, "int32")
    assert np.isfinite(model.fit(x, y, epochs=2, verbose=0).history["loss"]).all()
    told = [str(w.message) for w in recwarn if "kernels" in str(w.message)]
    assert len(told) == 1 and "XLA does not know them" in told[0]


@with_compiler
def test_what_it_cannot_do_is_done_without(on):
    values = np.random.default_rng(0)
    each = [0.5, 0.9, 0.7]
    for arguments in ({"beta": each}, {"synaptic_beta": each}, {"synaptic_beta": 0.5, "surrogate": "atan"}):
        cell = ksbp.LIFCell(keras.layers.Identity(), **arguments)
        state = states_of(cell, (2, 3), "accumulated", values)
        current = tf.constant(values.normal(0, 1, (2, 3)), tf.float32)
        options = (cell.beta, 1.0, True, cell.synaptic_beta, cell.surrogate)
        with switch.in_training(True):
            assert lif_step(state, current, "float32", *options) is None
            assert cell.fire(current, state)[0].shape == (2, 3)


@with_compiler
def test_a_further_state_may_be_called_current():
    """Of a user's cell, which updates it by itself, as the second low-pass filter of a current."""

    class Filtered(ksbp.LIFCell):
        @property
        def carried_shapes(self):
            return {**super().carried_shapes, "current": self.output_shape_of_step}

        def fire(self, current, state):
            filtered = 0.5 * state["current"] + current
            spikes, new = super().fire(filtered, state)
            return spikes, {**new, "current": filtered}

    cell, values = Filtered(keras.layers.Identity(), threshold=0.7), np.random.default_rng(0)
    state = states_of(cell, (4, 5), "accumulated", values)
    assert_same(cell, tf.constant(values.normal(0.2, 1, (4, 5)), tf.float32), state)


@with_compiler
def test_wrong_sizes_are_refused(on):
    with switch.in_training(True):
        library = switch.usable()
    with pytest.raises(tf.errors.InvalidArgumentError, match="must"):
        library.keras_spiking_bp_lif_step(
            membrane=tf.zeros((2, 3)), current=tf.zeros((2, 4)), states=[], names=[], spikes_type=tf.float32,
            potentials=0, beta=0.9, threshold=1.0, synaptic_beta=1.0, resets_to_zero=True,
        )  # fmt: skip


@with_compiler
@pytest.mark.parametrize("value, expected", [("1", True), ("0", False), ("", False), (None, False)])
def test_the_environment_switches_them_on(monkeypatch, value, expected):
    monkeypatch.setattr(switch, "_on", None)  # `enable` has not been called
    monkeypatch.delenv(switch.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(switch.VARIABLE, value)
    assert switch.is_on() == expected
    with switch.in_training(True):
        assert (switch.usable() is not None) == expected
    kernels.enable(False)
    assert not switch.is_on()


def in_a_process(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True, text=True, timeout=300, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.slow
def test_without_a_compiler(tmp_path):
    """The default is off; the environment asks for them in vain, with a warning; `enable` raises."""
    code = """
import warnings, numpy as np, keras_spiking_bp as ksbp
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    on = ksbp.kernels.switch.is_on()
print(on, [str(w.message) for w in told])
try:
    ksbp.kernels.enable()
except RuntimeError as error:
    print(error)
"""
    none = {"CXX": "no-such-compiler", "KERAS_SPIKING_BP_CACHE": str(tmp_path)}
    asked = in_a_process(code, KERAS_SPIKING_BP_KERNELS="1", **none)
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith("False")
    assert "are not used: KERAS_SPIKING_BP_KERNELS asks for them, but: A C++ compiler is needed" in asked.stdout
    assert "A C++ compiler is needed to build the kernels, and there is no 'no-such-compiler'" in asked.stdout
    assert not list(tmp_path.iterdir())
    default = in_a_process(code, **none)
    assert default.stdout.startswith("False []")


@pytest.mark.slow
@with_compiler
def test_a_truncated_library_is_replaced(tmp_path):
    """By one that works, in a process that has not loaded any."""
    code = """
import keras_spiking_bp as ksbp
from keras_spiking_bp.kernels.compiler import library_path
library_path().touch()
ksbp.kernels.enable()
print(ksbp.kernels.switch.is_on(), library_path().stat().st_size > 10_000)
"""
    done = in_a_process(code, KERAS_SPIKING_BP_CACHE=str(tmp_path))
    assert done.stdout == "True True\n", done.stderr[-2000:]


def test_what_the_machine_code_depends_on_is_in_the_name_of_the_library(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_SPIKING_BP_CACHE", str(tmp_path))
    paths = {library_path()}
    for module, name, value in (
        (compiler, "SOURCES", compiler.SOURCES[:1]),
        (compiler, "FLAGS", ("-O0",)),
        (compiler, "_processor", lambda: "another"),
        (sys, "version", "4.0"),
        (tf, "__version__", "9.9"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            paths.add(library_path())
    assert len(paths) == 6
    monkeypatch.delenv("KERAS_SPIKING_BP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert library_path().parent == tmp_path / "keras_spiking_bp"


@with_compiler
def test_a_compiler_that_fails_is_quoted(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_SPIKING_BP_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(RuntimeError, match="could not be compiled by false -O3"):
        compiler.build()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@with_compiler
def test_with_sanitizers(tmp_path):
    """The arithmetic on arrays of exact sizes, without TensorFlow: no address out of bounds, nothing undefined."""
    # at a fixed address: on some kernels a random one falls into the area of the sanitizer (google/sanitizers#1614)
    command = [*COMPILER, "-std=c++17", "-O1", "-g", "-fsanitize=address,undefined", "-fno-pie", "-no-pie"]
    command += ["-fno-sanitize-recover=all", f"-I{Path(kernels.__path__[0])}", str(ROOT / "tests" / "sanitized.cc")]
    subprocess.run([*command, "-o", str(tmp_path / "sanitized")], check=True, timeout=300)
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}  # which needs ptrace; all memory is in vectors
    done = subprocess.run([tmp_path / "sanitized"], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.startswith("clean"), done.stderr[-3000:]
