"""The optional sections of the page: few time steps, time to accuracy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.markdown import cell, ratio, spread, table
from benchmarks.networks import NETWORKS
from benchmarks.registry import CASES, NORMALIZED, TRAIN
from benchmarks.results import Results
from benchmarks.time_to_accuracy import TARGETS, reached

#: The neurons of each library in the benchmark of time to accuracy.
_NEURONS = {
    "ours": "threshold 2, beta 0.99, reset by subtraction, potentials that start at half a threshold, `bounded`",
    "spikingjelly": "threshold 1, tau 2, which halves the input too, reset to zero, arctan",
    "snntorch": "threshold 1, beta 0.5 as in its tutorial 6, reset by subtraction, its default surrogate, arctan",
}


def normalized_table(results: Results, network: str, steps: int, batch: int) -> str:
    """Seconds and peak memory of each case, with ratios to ours in the same precision."""
    where, rows = (network, steps, batch, TRAIN), []
    for case in CASES.values():
        record = results.find(NORMALIZED, case.name, *where)
        if case.section != NORMALIZED or record is None:
            continue
        value = results.time(NORMALIZED, case.name, *where)
        ours = results.time(NORMALIZED, "bn_ours_bf16" if case.options["bf16"] else "bn_ours", *where)
        shown = results.status(record) if value is None else spread(results.times(record))
        rows.append([case.title, shown, ratio(value, ours), cell(results, record, "GB") if value else ""])
    return table(["", "seconds", "x ours, same precision", "peak memory, GB"], rows)


def accuracy_table(report: dict[str, Any]) -> str:
    """Seconds of training to each accuracy, with ratios to ours, and what they took."""
    targets = report["settings"]["targets"]

    def seconds_of(case: dict[str, Any]) -> list[float | None]:
        return [reached(case["curve"], target) for target in targets]

    ours = {
        (case["num_steps"], case["precision"]): seconds_of(case)
        for case in report["cases"]
        if case["library"] == "ours"
    }
    rows = []
    for case in report["cases"]:
        seconds, size = seconds_of(case), (case["num_steps"], case["precision"])
        cells = [
            _time_to(value, reference, case)
            for value, reference in zip(seconds, ours.get(size, [None] * len(targets)), strict=True)
        ]
        name = f"{case['library']}, T = {case['num_steps']}, {case['precision']}"
        best = 100 * max(row["accuracy"] for row in case["curve"])
        epochs = f"{case['curve'][-1]['epoch']:.2f}"
        memory = f"{case['peak_bytes'] / 1e9:.2f}"
        rows.append([name, *cells, f"{best:.1f} %", epochs, f"{case['step_seconds']:.3f}", memory])
    header = ["seconds to", *(f"{100 * target:.0f} %" for target in targets)]
    header += ["best", "epochs run", "seconds per step", "peak memory, GB"]
    return table(header, rows)


def time_to_accuracy(report: dict[str, Any]) -> list[str]:
    """Seconds of training to reach each accuracy on held-out CIFAR-10 images."""
    measured = {case["library"] for case in report["cases"]}
    stopped = "stopped when the last accuracy was reached"
    if not all(case["finished"] for case in report["cases"]):
        stopped += ', or, where it says ">", interrupted after the epochs shown'
    remark = f" {report['remark']}." if "remark" in report else ""
    neurons = "; ".join(f"{library}: {text}" for library, text in _NEURONS.items() if library in measured)
    return [
        "## Time to accuracy\n",
        "VGG9 with batch normalisation on CIFAR-10: seconds of training to this accuracy on 5,000 held-out images, "
        "and their ratio to ours. One training run each, measured four times per epoch; scheduled for "
        f"{report['settings']['epochs']} epochs, {stopped}; the libraries took turns, each up to its next "
        f"measurement.{remark} Compiling counts once; making the batches does not count. The same for all: images and "
        "their order, batch size 64, AdamW, learning rate, weight decay, distribution of initial weights, average "
        f"pooling. Neurons are those of each library ({neurons}). In bf16, the neurons of SpikingJelly compute in bf16 "
        "too, those of the others in float32. "
        f"{_where(report['machine'])}; other processes took at most "
        f"{max((case['others'] for case in report['cases']), default=0.0):.1%} of them. "
        "The peak memory is that of training, with the 50,000 images in float32 (0.6 GB).\n",
        accuracy_table(report),
        f"All: `{command(report)}`\n",
    ]


def tuned_steps(report: dict[str, Any]) -> list[str]:
    """What tuning the other libraries would change in the time to an accuracy."""
    ours = {(case["num_steps"], case["precision"]): case for case in report["cases"] if case["library"] == "ours"}
    rows = []
    for case in report["cases"]:
        row = [f"{case['library']}, T = {case['num_steps']}, {case['precision']}"]
        for key in ("seconds", "seconds_tuned"):
            row += [f"{case[key]:.3f}", ratio(case[key], ours[case["num_steps"], case["precision"]][key])]
        rows.append(row)
    sizes = dict.fromkeys(case["num_steps"] for case in report["cases"])
    names = [row[0] for row, case in zip(rows, report["cases"], strict=True) if not case["settled"]]
    unsettled = f" Not settled: {'; '.join(names)}." if names else ""
    return [
        "### With the others tuned\n",
        "Above, the libraries are used as their documentation does. Seconds of a training step so and tuned (ours with "
        f"its C++ kernels), measured separately. {_where(report['machine'])}; other processes took at most "
        f"{max(case['others'] for case in report['cases']):.1%} of them.{unsettled}\n",
        table(["seconds per step", "as documented", "x ours", "tuned", "x ours"], rows),
        f"All: `python -m benchmarks.tuned_steps --num-steps {' '.join(map(str, sizes))} --output FILE`\n",
    ]


def command(report: dict[str, Any]) -> str:
    """The command that measures these cases."""
    options = [f"--epochs {report['settings']['epochs']}"]
    if (targets := report["settings"]["targets"]) != TARGETS:
        options.append(f"--targets {' '.join(map(str, targets))}")
    for option, key in (("libraries", "library"), ("num-steps", "num_steps"), ("precisions", "precision")):
        values = dict.fromkeys(str(case[key]) for case in report["cases"])
        options.append(f"--{option} {' '.join(values)}")
    return f"python -m benchmarks.time_to_accuracy {' '.join(options)} --data-dir FOLDER --output FILE"


def _where(machine: dict[str, Any]) -> str:
    commit = f", commit {machine['commit']}" if machine.get("commit") else ""
    return f"{machine['cpu']}, {machine['cores']} cores{commit}"


def _time_to(seconds: float | None, ours: float | None, case: dict[str, Any]) -> str:
    if seconds is not None:
        return f"{seconds:.0f}" + (f" ({times} x)" if (times := ratio(seconds, ours)) else "")
    if not case["finished"]:
        return f"> {case['seconds']:.0f}" + (f" (> {times} x)" if (times := ratio(case["seconds"], ours)) else "")
    return f"not in {case['seconds']:.0f}"


def of(results: Results, data: dict[str, Any], folder: Path) -> list[str]:
    """The sections that were measured; `folder` is that of the page."""
    parts, settings = [], data["settings"]
    measured = {record["section"] for record in data["results"]}
    if NORMALIZED in measured:
        for network, steps, batch in settings["normalized"]:
            parts.append(f"## {NETWORKS[network].title} with batch normalisation, T = {steps}, batch {batch}\n")
            parts.append(normalized_table(results, network, steps, batch))
        parts.append(
            "Training step with AdamW and cross-entropy, the image as input of each step, average pooling "
            "(`benchmarks/peers/vgg9.py`, `benchmarks/ours_vgg9.py`): `python -m benchmarks.run --section normalized "
            "--output PAGE`\n"
        )
    for file, section in (("time_to_accuracy.json", time_to_accuracy), ("tuned_steps.json", tuned_steps)):
        if (folder / file).exists():
            parts += section(json.loads((folder / file).read_text()))
    return parts
