"""Compiles the kernels, and locates compiled ones."""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

import tensorflow as tf

SOURCES = ("lif_step.cc", "neurons.h")
#: No contraction to fused multiply-adds: TensorFlow rounds after each operation, and so does the kernel. Eigen's header
#: for float16 in AVX-512, as in TensorFlow 2.21, lacks a semicolon.
FLAGS = ("-O3", "-w", "-march=native", "-U__AVX512FP16__", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC")


def library_path() -> Path:
    """The library path, existing or not: one for each TensorFlow, Python, processor and source.

    `$KERAS_SPIKING_BP_CACHE`, else `$XDG_CACHE_HOME/keras_spiking_bp`, else `~/.cache/keras_spiking_bp`.
    """
    cache = os.environ.get("KERAS_SPIKING_BP_CACHE")
    folder = (
        Path(cache) if cache else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "keras_spiking_bp")
    )
    sources = [resources.files(__package__).joinpath(name).read_text() for name in SOURCES]
    what = [
        tf.__version__,
        tf.version.GIT_VERSION,
        tf.version.COMPILER_VERSION,
        sys.version,
        _processor(),
        *FLAGS,
        *sources,
    ]
    return folder.resolve() / f"lif_step-{hashlib.sha256(repr(what).encode()).hexdigest()[:16]}.so"


def build() -> Path:
    """Compiles the kernels with the C++ compiler of this machine (`$CXX`, or `g++`).

    Returns:
        The path of the library, from which `enable` loads it. Its folder is `KERAS_SPIKING_BP_CACHE`, if set.

    Raises:
        RuntimeError: if there is no compiler, the compiler fails (the error has its message).
    """
    path = library_path()
    compiler = shlex.split(os.environ.get("CXX", "")) or ["g++"]
    if shutil.which(compiler[0]) is None:
        raise RuntimeError(
            f"A C++ compiler is needed to build the kernels, and there is no {compiler[0]!r}. On Debian: apt-get "
            "install g++; or name yours in the environment variable CXX. Without the kernels everything works, more "
            "slowly"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as folder,
        resources.as_file(resources.files(__package__)) as here,
    ):
        built = Path(folder) / path.name
        command = [*compiler, *FLAGS, str(here / SOURCES[0]), "-o", str(built)]
        command += [*tf.sysconfig.get_compile_flags(), *tf.sysconfig.get_link_flags()]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"The kernels could not be compiled by {' '.join(command)}:\n{done.stderr[-3000:]}")
        built.replace(path)  # at once: another process never finds a part of it
    return path


def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
