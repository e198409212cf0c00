"""The machine measured on: processor, memory, and the versions of all software."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = (
    "keras_spiking_bp",
    "tensorflow",
    "keras",
    "numpy",
    "torch",
    "snntorch",
    "spikingjelly",
    "norse",
)

CODE = ("benchmarks", "keras_spiking_bp")
ELSEWHERE = f"on another machine, with other versions, or of other code (in {' or '.join(CODE)})"


def hide_gpus() -> None:
    """So that all is measured on the CPU, in child processes too: TensorFlow would take a GPU, torch would not."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def cpuinfo(key: str) -> str:
    """First value of a key in /proc/cpuinfo, empty where there is none."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def version(package: str) -> str:
    """Installed version, or the version in the source tree for a checkout."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        scope: dict[str, Any] = {}
        path = Path(__file__).parent.parent / package / "_version.py"
        if path.exists():
            exec(path.read_text(), scope)
        return scope.get("__version__", "not installed")


def cpu() -> str:
    """The name of the processor, with the numbers that tell apart what has the same name."""
    name, family, model = (cpuinfo(key) for key in ("model name", "cpu family", "model\t"))
    return f"{name or platform.processor()} (family {family}, model {model})"


def commit(root: Path = Path(__file__).parent.parent, code: tuple[str, ...] = CODE) -> str:
    """The last commit that changed these folders, with `+` and a hash of later changes; empty without git."""

    def git(*arguments: str) -> bytes:
        return subprocess.check_output(["git", "-C", str(root), *arguments, "--", *code], stderr=subprocess.DEVNULL)

    try:
        name = git("log", "-1", "--format=%h", "--abbrev=9").decode().strip()
        changed = git("diff", "HEAD")
        for added in git("ls-files", "--others", "--exclude-standard").decode().splitlines():
            changed += added.encode() + (root / added).read_bytes()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
    return f"{name}+{hashlib.sha256(changed).hexdigest()[:9]}" if changed else name


def busy_seconds() -> float:
    """CPU seconds used by the whole machine so far."""
    import psutil  # of the environment of the benchmarks

    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two descriptions are of the same machine with the same code and versions."""
    return one | {"date": None} == other | {"date": None}


def describe() -> dict[str, Any]:
    """Machine and versions as plain data."""
    import psutil  # of the environment of the benchmarks

    flags = cpuinfo("flags").split()
    return {
        "cpu": cpu(),
        "cores": psutil.cpu_count(),
        "ram_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "avx512_bf16": "avx512_bf16" in flags,
        "amx_bf16": "amx_bf16" in flags,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
    }
