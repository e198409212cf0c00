"""The benchmark of time to accuracy: what it measures of a library, and that it goes on where it was interrupted."""

import json
import math
import sys
import types

import numpy as np
import pytest

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

    def run(library, name):
        monkeypatch.setitem(sys.modules, "benchmarks.fake_library", types.SimpleNamespace(build=library.build))
        output = tmp_path / f"{name}.json"
        if not output.exists():
            settings = {"epochs": 3, "targets": [0.95]}
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
