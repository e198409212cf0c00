"""Measures one case in this process: `python -m benchmarks.case NAME NETWORK T BATCH MODE`.

Prints one line of JSON: the seconds of each run, and the memory of the process: after the imports, after building, and
its peak (`ru_maxrss`).
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import sys
import time
from collections.abc import Callable

from benchmarks.machine import hide_gpus
from benchmarks.networks import NETWORKS
from benchmarks.registry import CASES, MODES

SETTLED = 1.1  # the slowest timed run may take so many times the fastest
MOST = 15  # runs of one process


def rss() -> int:
    """Memory of this process now, in bytes."""
    import psutil  # of the environment of the benchmarks

    return psutil.Process().memory_info().rss


def peak_rss() -> int:
    """Largest memory of this process so far, in bytes."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def timed(step: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def measure(step: Callable[[], object], repeats: int, budget: float) -> dict[str, list[float]]:
    """Runs until the last `repeats` runs differ by less than a tenth: these are timed, those before are the warm-up.

    Compilation and the first allocations take a number of runs that differs from library to library. No run begins
    after `budget` seconds or `MOST` runs, and the first is never a timed one.
    """
    runs = [timed(step), timed(step)]
    while not settled(runs[1:][-repeats:], repeats) and len(runs) < MOST and sum(runs) < budget:
        runs.append(timed(step))
    times = runs[1:][-repeats:]
    return {"warmup": runs[: -len(times)], "times": times}


def settled(times: list[float], repeats: int) -> bool:
    """Whether these are as many times as wanted, and nearly the same."""
    return len(times) >= repeats and max(times) < SETTLED * min(times)


def main() -> None:
    """Build the case, measure it, print the result."""
    hide_gpus()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CASES)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("steps", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--repeats", type=int, default=3, help="timed runs")
    parser.add_argument("--budget", type=float, default=120.0, help="seconds after which no run begins")
    args = parser.parse_args()

    case = CASES[args.name]
    if args.mode not in case.modes:
        parser.error(f"{args.name} has no mode {args.mode!r}, only {', '.join(case.modes)}")
    module = importlib.import_module(f"benchmarks.{case.module}")
    result = {"rss_imports": rss()}
    step = module.build(NETWORKS[args.network], args.steps, args.batch, args.mode, **case.options)
    result["rss_built"] = rss()
    result |= measure(step, args.repeats, args.budget)
    result["peak"] = peak_rss()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
