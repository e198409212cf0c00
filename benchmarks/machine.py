"""The machine measured on: processor, memory, and the versions of all software."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

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


def commit() -> str:
    """The commit of this source tree, with `+` if files differ from it; empty outside of a repository."""
    git = ["git", "-C", str(Path(__file__).parent.parent)]
    try:
        name = subprocess.check_output([*git, "rev-parse", "--short=9", "HEAD"], text=True, stderr=subprocess.DEVNULL)
        changed = subprocess.check_output([*git, "status", "--porcelain", "--", *CODE], text=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
    return name.strip() + "+" * bool(changed)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two descriptions are of the same machine with the same code and versions."""
    return one | {"date": None} == other | {"date": None}


def describe() -> dict[str, Any]:
    """Machine and versions as plain data."""
    flags = cpuinfo("flags").split()
    family, model = cpuinfo("cpu family"), cpuinfo("model\t")
    return {
        "cpu": f"{cpuinfo('model name') or platform.processor()} (family {family}, model {model})",
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
