"""The benchmark of time to accuracy: what it measures of a library, and that it goes on where it was interrupted."""

import json
import math
import sys
import types

import numpy as np
import pytest

from benchmarks import sections
from benchmarks import time_to_accuracy as bench

KEY = ("fake", 4, "fp32")


class Fake:
    """A library whose `training` is a sum over all that it saw; each step makes one more answer right."""

    now = 0.0

    def __init__(self, stop_at=math.inf):
        self.stop_at = stop_at
        self.seen, self.steps, self.loaded = 0.0, [], None

    def build(self, library, num_steps, bf16, learning_rate):
        def train(images, labels, step):
            if step == self.stop_at:
                raise KeyboardInterrupt
            Fake.now += 10.0 if not self.steps or step == self.loaded else 1.0  # the first step of a process compiles
            self.steps.append(step)
            self.seen += float(images.sum()) * learning_rate(step) + labels.sum()

        def predict(images):
            return np.where(np.arange(len(images)) < len(self.steps) + round(self.seen) % 2, 1, 0)

        def save(path):
            path.write_text(json.dumps([self.seen, self.steps]))

        def load(path):
            self.seen, self.steps = json.loads(path.read_text())
            self.loaded = len(self.steps)

        return bench.Training(train, predict, save, load)


@pytest.fixture
def begun(monkeypatch, tmp_path):
    """Runs the case with a library; its record."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(8 * 64 + 3, 6, 6, 3)).astype("float32"), rng.integers(0, 2, 8 * 64 + 3)
    arrays = tmp_path / "arrays.npz"
    np.savez(arrays, images=images, labels=labels, held_out=images[:40], answers=np.ones(40, int))
    monkeypatch.setitem(bench.LIBRARIES, "fake", "fake_library")
    monkeypatch.setattr(bench.time, "perf_counter", lambda: Fake.now)

    def run(library, name, targets=(0.95,), epochs=3):
        monkeypatch.setitem(sys.modules, "benchmarks.fake_library", types.SimpleNamespace(build=library.build))
        output = tmp_path / f"{name}.json"
        if not output.exists():
            settings = {"epochs": epochs, "targets": list(targets)}
            machine = {"cpu": "a processor", "cores": 2}
            bench.write(output, {"machine": machine, "settings": settings, "run": "a", "cases": []})
        while not bench.finished(KEY, output):
            library.seen, library.steps, library.loaded = 0.0, [], None  # a new process
            bench.take_turn(KEY, arrays, output, tmp_path / f"{name}-states")
        return json.loads(output.read_text())

    return run


def test_an_interrupted_case_goes_on_where_it_was(begun, tmp_path):
    whole = begun(library := Fake(), "whole")["cases"][0]
    assert library.steps == list(range(24)) and whole["finished"] and whole["peak_bytes"] > 1e6
    assert [row["epoch"] for row in whole["curve"]] == [0.25 * part for part in range(1, 13)]
    with pytest.raises(KeyboardInterrupt):
        begun(Fake(stop_at=13), "parts")  # measured last after step 12
    part = json.loads((tmp_path / "parts.json").read_text())["cases"][0]
    assert not part["finished"] and len(part["curve"]) == 6
    resumed = begun(library := Fake(), "parts")["cases"][0]
    assert library.steps == list(range(24)) and resumed["finished"]
    assert [row["accuracy"] for row in resumed["curve"]] == [row["accuracy"] for row in whole["curve"]]
    for case in (whole, resumed):  # 10 s once, then 23 steps of 1 s
        assert (case["seconds"], case["step_seconds"]) == (33.0, 1.0)
        assert [row["seconds"] for row in case["curve"]] == [10 + 2 * part - 1 for part in range(1, 13)]
    assert not list((tmp_path / "parts-states").rglob("*.state"))


def test_it_ends_when_the_last_accuracy_is_reached(begun):
    report = begun(library := Fake(), "short", targets=(0.1, 0.25))
    (case,) = report["cases"]
    assert case["finished"] and case["curve"][-1]["accuracy"] >= 0.25 > case["curve"][-2]["accuracy"]
    assert len(library.steps) == 2 * len(case["curve"]) < 24
    assert bench.reached(case["curve"], 0.25) == case["curve"][-1]["seconds"]
    assert bench.reached(case["curve"], 0.9) is None


def test_the_page(begun):
    report = begun(Fake(), "page", targets=(0.1, 0.99))
    case = report["cases"][0]
    for row in case["curve"]:
        row["seconds"] *= 0
        row["seconds"] += 100 * row["epoch"]
    slower = json.loads(json.dumps(case)) | {"library": "other", "finished": False, "seconds": 2.5 * case["seconds"]}
    for row in slower["curve"]:
        row["seconds"] *= 2.5
    slowest = json.loads(json.dumps(case)) | {"library": "slowest", "seconds": 1234.5, "others": 0.0}
    slowest["curve"] = [case["curve"][0] | {"accuracy": 0.05}]
    halted = slowest | {"library": "halted", "finished": False}
    report["cases"] = [slower | {"others": 0.125}, case | {"library": "ours", "others": 0.0}, slowest, halted]
    page = "\n".join(sections.time_to_accuracy(report))
    first = bench.reached(case["curve"], 0.1)
    assert f"| ours, T = 4, fp32 | {first:.0f} (1.00 x) | not in {case['seconds']:.0f} |" in page
    assert f"| other, T = 4, fp32 | {2.5 * first:.0f} (2.50 x) | > {slower['seconds']:.0f} |" in page
    assert "| slowest, T = 4, fp32 | not in 1234 | not in 1234 |" in page
    assert f"| halted, T = 4, fp32 | > 1234 (> {1234.5 / first:.2f} x) | > 1234 |" in page
    assert "a processor, 2 cores; other processes took at most 12.5% of them" in page
    options = (
        "--epochs 3 --targets 0.1 0.99 --libraries other ours slowest halted --num-steps 4 --precisions fp32 "
        "--data-dir FOLDER --output FILE"
    )
    assert f"python -m benchmarks.time_to_accuracy {options}`" in page
    usual = report | {"settings": report["settings"] | {"targets": [0.6, 0.7, 0.8]}}
    assert "--epochs 3 --libraries other" in "\n".join(sections.time_to_accuracy(usual))
    again = "\n".join(sections.on_another_processor(report | {"remark": "Ours was first"}))
    assert again.startswith("### On another processor\n\nThe same. Ours was first. a processor, 2 cores; other")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert rows == [line for line in again.splitlines() if line.startswith("| ")] and len(rows) == 6
    assert "took at most 12.5% of them" in again and f"python -m benchmarks.time_to_accuracy {options}`" in again


def test_images_are_moved_and_flipped_and_never_scaled():
    """Each crop is a window of the padded image, or its mirror image."""
    rng = np.random.default_rng(1)
    images, labels = rng.normal(size=(70, 8, 8, 3)).astype("float32"), np.arange(70)
    ((crops, chosen),) = bench.batches(images, labels, epoch=3)
    moved = set()
    for crop, label in zip(crops, chosen, strict=True):
        padded = np.pad(images[label], ((4, 4), (4, 4), (0, 0)))
        found = [
            (row, column, flip)
            for row in range(9)
            for column in range(9)
            for flip in (1, -1)
            if np.array_equal(padded[row : row + 8, column : column + 8][:, ::flip], crop)
        ]
        assert found
        moved.add(found[0])
    assert len(moved) > 30
    again, other = next(bench.batches(images, labels, 3)), next(bench.batches(images, labels, 4))
    np.testing.assert_array_equal(again[0], crops)
    assert not np.array_equal(other[1], chosen)
