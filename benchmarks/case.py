"""Measures one case in this process: `python -m benchmarks.case NAME NETWORK T BATCH MODE`.

Prints one line of JSON: the seconds of each timed run, and the memory of the process: after the
imports, after building, and its peak (`ru_maxrss`).
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import sys
import time

import psutil

from benchmarks.networks import NETWORKS
from benchmarks.registry import CASES, MODES

SLOW = 5.0  # seconds: no second warm-up run after one longer than this


def rss() -> int:
    """Memory of this process now, in bytes."""
    return psutil.Process().memory_info().rss


def peak_rss() -> int:
    """Largest memory of this process so far, in bytes."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def timed(step) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def measure(step, warmup: int, repeats: int, budget: float, compiles: bool) -> dict[str, list[float]]:
    """Warm up, then time up to `repeats` runs, at least one, until `budget` seconds are spent.

    With `compiles` the warm-up continues while runs are still slowed by compilation.
    """
    warm: list[float] = []
    while len(warm) < warmup and not (len(warm) == 1 and warm[0] > SLOW and not compiles):
        warm.append(timed(step))
    while compiles and warm[-1] > 1.5 * min(warm) and len(warm) < 5 * warmup:
        warm.append(timed(step))
    times: list[float] = []
    while len(times) < repeats and (not times or sum(times) < budget):
        times.append(timed(step))
    return {"warmup": warm, "times": times}


def main() -> None:
    """Build the case, measure it, print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CASES)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("steps", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for the timed runs")
    args = parser.parse_args()

    case = CASES[args.name]
    if args.mode not in case.modes:
        parser.error(f"{args.name} has no mode {args.mode!r}, only {', '.join(case.modes)}")
    module = importlib.import_module(f"benchmarks.{case.module}")
    result = {"rss_imports": rss()}
    step = module.build(NETWORKS[args.network], args.steps, args.batch, args.mode, **case.options)
    result["rss_built"] = rss()
    result |= measure(step, args.warmup, args.repeats, args.budget, compiles=bool(case.options.get("tuned")))
    result["peak"] = peak_rss()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
