"""What `benchmarks.run` measures, and what the pages say of it."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import keras_spiking_bp as ksbp
from benchmarks import case, gpu, time_to_accuracy
from tests.pages import ROOT


def test_cases_are_timed_once_their_times_have_settled(monkeypatch):
    def measured(seconds, repeats=3, budget=100.0):
        runs = iter(seconds)
        monkeypatch.setattr(case, "timed", lambda step: next(runs))
        return case.measure(None, repeats, budget)

    # the runs of SpikingJelly, of a compiled step, and of one that is settled at once
    assert measured([3.6, 5.1, 2.6, 2.2, 2.25, 2.3]) == {"warmup": [3.6, 5.1, 2.6], "times": [2.2, 2.25, 2.3]}
    assert measured([24.4, 23.1, 12.6, 11.0, 10.4, 10.3])["times"] == [11.0, 10.4, 10.3]
    assert measured([0.9, 0.4, 0.4, 0.41]) == {"warmup": [0.9], "times": [0.4, 0.4, 0.41]}
    assert measured([9.0, 1.0], repeats=1) == {"warmup": [9.0], "times": [1.0]}
    assert measured([60.0, 50.0], budget=100.0) == {"warmup": [60.0], "times": [50.0]}
    never = measured(1.2**-i for i in range(case.MOST))
    assert len(never["warmup"]) == case.MOST - 3 and not case.settled(never["times"], 3)


@pytest.mark.slow
def test_only_a_benchmark_hides_the_gpus(monkeypatch):
    seen = "import os, examples.experiments.reproduce, docs.build.figures; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert subprocess.check_output([sys.executable, "-c", seen], cwd=ROOT, text=True) == "0\n"
    for module in (case, time_to_accuracy):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        monkeypatch.setattr(sys, "argv", ["benchmark", "--help"])
        with pytest.raises(SystemExit):
            module.main()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.slow
def test_the_table_of_a_gpu(monkeypatch, capfd):
    """Tried on the CPU; without a GPU it says so."""
    options = ["gpu", "--no-tests", "--libraries", "ours", "--num-steps", "1", "--batch", "2", "--precisions", "fp32"]
    monkeypatch.setattr(sys, "argv", options)
    with pytest.raises(SystemExit):
        gpu.main()
    assert "TensorFlow sees no GPU here" in capfd.readouterr().err
    monkeypatch.setattr(sys, "argv", [*options, "--device", "cpu"])
    gpu.main()
    assert re.search(r"\| fp32 \| 1 \| \d", capfd.readouterr().out)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_dense_program_beside_the_c_export_computes_the_ann(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="needs the packages of the extra `export`")
    from benchmarks import microcontroller

    layers = {"stages": [(4, 3), "pool"], "dense_units": [6], "num_steps": 5, "seed": 0}
    model = ksbp.models.spiking_vgg((6, 6, 2), 3, **layers)
    images = np.random.default_rng(0).uniform(-1, 1, (4, 6, 6, 2)).astype("float32")
    case = microcontroller.Case(model, 5, list(images[:, None]))
    programs = microcontroller.Programs(tmp_path / "c", case, "float32")
    found = programs.run(case.samples, "scalar", dense=True, trace=True)
    expected = ksbp.ann_counterpart(model).predict(images, verbose=0)
    np.testing.assert_allclose(found[:, :3], expected, rtol=1e-4, atol=1e-5)
