"""The page of benchmarks in short: three tables, the tuned libraries first. `python -m benchmarks.report` writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.markdown import ratio, seconds, table
from benchmarks.networks import NETWORKS
from benchmarks.registry import CASES, NORMALIZED, PEER, TRAIN, TUNED, Case
from benchmarks.results import Results
from benchmarks.time_to_accuracy import BATCH, reached

#: Seconds or bytes, and of which library.
Best = tuple[float | None, str]

INTRO = """# Benchmarks

Is a training step faster here than in snnTorch, SpikingJelly, Norse or the authors' rule in plain PyTorch? How much
memory does it take? How soon does a network reach an accuracy? Measured on {cores} CPU cores.

## Set-up

* The same networks, weights, thresholds, resets and images in all libraries. With batch normalisation each has neurons
  of its own.
* Ours: `accumulated` and `bounded`, one backward pass on sums over time; `bptt`, back through all time steps, as in the
  other libraries.
* **Tuned**: channels-last tensors; `torch.compile` of one time step for snnTorch and Norse; with batch normalisation a
  fused optimizer. **As documented**: as the documentation of each library recommends.
* Each case has a process of its own; float32 unless a row says bf16. Times are medians, memory is the peak of the whole
  process; "x" is theirs divided by ours.
* {cpu}, {date}, `python -m benchmarks.run --rounds {rounds} --output PAGE`. Spreads, versions,
  inference, other sizes: [full tables](log/benchmarks.md).
"""
LIMITS = """## Limits

* No GPU was measured. There the order may be another one: SpikingJelly has kernels for it.
* The gradients differ: one pass on sums is not the gradient through time ([which to choose](gradient-choice.md)).
* Time to an accuracy: one run a library, with our learning rates and schedule, measured four times an epoch.
"""


def page_text(data: dict[str, Any], pictures: tuple[str, str], folder: Path) -> str:
    """The page as Markdown, with pictures of steps and against T; `folder` may hold results of other benchmarks."""
    results, machine = Results(data), data["machine"]
    tuned = _report(folder / "tuned_steps.json")
    parts = [
        INTRO.format(
            cores=machine["cores"], cpu=machine["cpu"], date=machine["date"], rounds=results.settings["rounds"]
        )
    ]
    header = ["seconds", "ours", "ours, `bptt`", "fastest tuned", "x", "fastest as documented", "x"]
    parts += ["## Training step\n", table(header, [*_steps(results), *_normalized_steps(tuned)])]
    if tuned:
        parts.append(f"With batch normalisation: {tuned['machine']['cpu']}, `python -m benchmarks.tuned_steps`.\n")
    parts.append(pictures[0])
    header = ["GB", "ours", "ours, `bptt`", "least, tuned", "least, as documented"]
    parts += ["## Peak memory\n", table(header, [*_memory(results), *_normalized_memory(results)])]
    parts.append(pictures[1])
    if (report := _report(folder / "time_to_accuracy.json")) and tuned:
        parts += _to_accuracy(report, tuned)
    return "\n".join([*parts, LIMITS])


def _report(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _steps(results: Results) -> list[list[str]]:
    rows = []
    for network, steps, batch in results.settings["main"]:
        where = (network, steps, batch, TRAIN)
        ours, through_time = (results.time("main", name, *where) for name in ("ours", "ours_bptt"))
        others = [reversed(results.fastest(group, "main", *where)) for group in (TUNED, PEER)]
        if ours is not None:
            name = f"{_size(network, steps, batch)}, `accumulated`"
            rows.append([name, seconds(ours), _seconds(through_time), *_beside(ours, map(tuple, others))])
    return rows


def _normalized_steps(report: dict[str, Any] | None) -> list[list[str]]:
    """VGG9 with batch normalisation, from the report of `benchmarks.tuned_steps`."""
    rows = []
    cases = report["cases"] if report else ()
    for ours in cases:
        same = [case for case in cases if all(case[key] == ours[key] for key in ("num_steps", "precision"))]
        others = [case for case in same if case["library"] != "ours"]
        if ours["library"] == "ours" and others:
            best = [min((case[kind], case["library"]) for case in others) for kind in ("seconds_tuned", "seconds")]
            best = [(value, CASES[library].title) for value, library in best]
            size = f"T = {ours['num_steps']}, batch {BATCH}"
            name = f"VGG9 with batch normalisation, {size}, {ours['precision']}, `bounded`"
            for kind, kernels in (("seconds", ""), ("seconds_tuned", ", C++ kernels")):
                rows.append([name + kernels, seconds(ours[kind]), "", *_beside(ours[kind], best)])
    return rows


def _memory(results: Results) -> list[list[str]]:
    """The sizes of the main tables, and the longest of the sweep."""
    sizes = [("main", tuple(size)) for size in results.settings["main"]]
    longest = results.settings["sweep_steps"][-1:]
    sizes += [("sweep", (network, steps, batch)) for network, batch in results.settings["sweep"] for steps in longest]
    rows = []
    for section, (network, steps, batch) in sizes:
        where = (section, network, steps, batch)
        ours = results.peak(section, "ours", network, steps, batch, TRAIN)
        if ours is not None:
            peers = [
                _least(results, [c for c in CASES.values() if c.group == group], *where) for group in (TUNED, PEER)
            ]
            through_time = _least(results, [CASES["ours_bptt"]], *where).split(" (ours")[0]
            rows.append([_size(network, steps, batch), f"{ours / 1e9:.2f}", through_time, *peers])
    return rows


def _normalized_memory(results: Results) -> list[list[str]]:
    rows = []
    for network, steps, batch in results.settings.get("normalized", ()):
        for suffix, precision in (("", "fp32"), ("_bf16", "bf16")):
            ours = results.peak(NORMALIZED, f"bn_ours{suffix}", network, steps, batch, TRAIN)
            if ours is None:
                continue
            peers = []
            for group in (TUNED, PEER):
                of = [c for c in CASES.values() if c.group == group and c.section == NORMALIZED]
                of = [c for c in of if c.options["bf16"] is bool(suffix)]
                peers.append(_least(results, of, NORMALIZED, network, steps, batch))
            name = f"VGG9 with batch normalisation, T = {steps}, batch {batch}, {precision}"
            rows.append([name, f"{ours / 1e9:.2f}", "", *peers])
    return rows


def _least(results: Results, cases: list[Case], section: str, *size: Any) -> str:
    """The lowest peak memory of these cases, and whose; why there is none."""
    records = [(case, results.find(section, case.name, *size, TRAIN)) for case in cases]
    records = [(case, record) for case, record in records if record is not None]
    found = [(results.memory(record, "peak"), case.title) for case, record in records if results.status(record) == "ok"]
    if found:
        return f"{min(found)[0] / 1e9:.2f} ({_library(min(found)[1])})"
    return next((results.status(record) for _, record in records), "")


def _to_accuracy(report: dict[str, Any], tuned: dict[str, Any]) -> list[str]:
    """Seconds to the highest accuracy that ours and another library reached at each size."""
    shares = {
        (case["library"], case["num_steps"], case["precision"]): case["seconds_tuned"] / case["seconds"]
        for case in tuned["cases"]
    }
    curves: dict[tuple, dict[str, list]] = {}
    for case in report["cases"]:
        curves.setdefault((case["num_steps"], case["precision"]), {})[case["library"]] = case["curve"]
    libraries = {library for of in curves.values() for library in of} - {"ours"}
    targets = report["settings"]["targets"]
    target = max(
        target
        for target in targets
        if all(any(reached(of[name], target) for name in libraries & set(of)) for of in curves.values())
    )
    rows = []
    for size, of in curves.items():
        times = {library: reached(curve, target) for library, curve in of.items()}
        ours = times.pop("ours")
        others = [(time, library) for library, time in times.items() if time is not None]
        estimates = [(time * shares[(library, *size)], library) for time, library in others]
        best = [(time, CASES[library].title) for time, library in (min(estimates), min(others))]
        rows.append([f"T = {size[0]}, {size[1]}", f"{ours:.0f}", *_beside(ours, best, "{:.0f}")])
    machine = report["machine"]
    return [
        "## Time to accuracy\n",
        f"VGG9 with batch normalisation, `bounded`: seconds of training to {100 * target:.0f} % on 5,000 held-out "
        "CIFAR-10 images. Tuned is an estimate: the measured time, times the share of a step that tuning leaves on "
        f"{tuned['machine']['cpu']}.\n",
        table(["seconds", "ours", "fastest tuned, estimate", "x", "fastest as documented", "x"], rows),
        f"{machine['cpu']}, [`python -m benchmarks.time_to_accuracy`](log/benchmarks.md#time-to-accuracy).\n",
    ]


def _size(network: str, steps: int, batch: int) -> str:
    return f"{NETWORKS[network].title.split(' (')[0]}, T = {steps}, batch {batch}"


def _library(title: str) -> str:
    """The name of a library without how it is used."""
    return re.split(r",| \(| in ", title)[0]


def _seconds(value: float | None) -> str:
    return "" if value is None else seconds(value)


def _beside(ours: float, others: Iterable[Best], form: str = "{:.3g}") -> list[str]:
    """Of each: its time and library, and how many times ours it is."""
    cells = []
    for value, name in others:
        cells += ["", ""] if value is None else [f"{form.format(value)} ({_library(name)})", ratio(value, ours)]
    return cells
