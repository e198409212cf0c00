"""A training step of `time_to_accuracy` as documented and tuned: `python -m benchmarks.tuned_steps`.

Tuned, the other libraries are as in `peers/vgg9.py`; ours has its C++ kernels. One process after the other. Writes
`docs/tuned_steps.json`, or `--output`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from benchmarks import machine
from benchmarks.case import settled
from benchmarks.registry import NORMALIZED, TRAIN
from benchmarks.results import ROOT, write
from benchmarks.run import QUICK, Job, Settings, quiet_job
from benchmarks.time_to_accuracy import BATCH, PRECISIONS

#: How the case of each library is called when it is tuned.
TUNED = {"ours": "_kernels", "spikingjelly": "_tuned", "snntorch": "_tuned"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-steps", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--quick", action="store_true", help="smoke test: T = 1, a small batch, into build/")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    output = args.output or ROOT / ("build" if args.quick else "docs") / "tuned_steps.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    settings, batch = (QUICK, 2) if args.quick else (Settings(), BATCH)
    report: dict = {"machine": machine.describe(), "cases": []}
    for num_steps in [1] if args.quick else args.num_steps:
        for precision in PRECISIONS:
            for library, tuned in TUNED.items():
                case = {"library": library, "num_steps": num_steps, "precision": precision}
                case |= {"others": 0.0, "settled": True}
                for key, kind in (("seconds", ""), ("seconds_tuned", tuned)):
                    name = f"bn_{library}{kind}{'_bf16' * (precision == 'bf16')}"
                    done = quiet_job(Job(NORMALIZED, name, "vgg9", num_steps, batch, TRAIN), settings)
                    if done["status"] != "ok":
                        raise SystemExit(f"{name}: {done}")
                    case[key] = statistics.median(done["times"])
                    case["others"] = max(case["others"], done["others"])
                    case["settled"] = case["settled"] and settled(done["times"], settings.repeats)
                report["cases"].append(case)
                print(json.dumps(case), flush=True)
    write(output, report)


if __name__ == "__main__":
    main()
