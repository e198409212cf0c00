"""What `benchmarks.run` measures, and what the pages say of it."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import keras_spiking_bp as ksbp
from benchmarks import case, gpu, report, run, sections, time_to_accuracy, tuned_steps
from benchmarks.registry import CASES, SWEEP
from benchmarks.results import Results
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


def test_the_page_names_what_had_not_settled():
    data = json.loads((ROOT / "docs" / "benchmarks.json").read_text())
    record = next(record for record in data["results"] if record["case"] == "snntorch")
    data["results"] = [record | {"runs": [{"status": "ok", "warmup": [9], "times": [2.0, 1.9, 1.95], "peak": 1}]}]
    assert report.unsettled_text(Results(data)) == "All times had settled."
    for times in ([2.0, 1.7, 1.6], [50.0]):  # the last: no time was left for further ones
        data["results"] = [record | {"runs": [{"status": "ok", "warmup": [9], "times": times, "peak": 1}]}]
        text = report.unsettled_text(Results(data))
        assert text == "Not settled by then: snnTorch (lenet, T = 50, batch 64, train)."


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


def test_steps_of_tuned_peers_beside_ours(monkeypatch, tmp_path):
    asked = []

    def done(job, settings):
        asked.append(job)
        seconds = 0.5 if "ours" in job.case else 1.0 if "tuned" in job.case else 1.5
        times = [seconds] * 2 + [2 * seconds if job.case == "bn_snntorch_tuned" else seconds]
        return {"status": "ok", "times": times, "others": 0.02 if "spiking" in job.case else 0.01}

    monkeypatch.setattr(tuned_steps, "quiet_job", done)
    monkeypatch.setattr(sys, "argv", ["tuned_steps", "--num-steps", "4", "--output", str(tmp_path / "tuned.json")])
    tuned_steps.main()
    assert {job.case for job in asked} <= CASES.keys() and len(asked) == 10 and {job.steps for job in asked} == {4}
    page = "\n".join(sections.tuned_steps(json.loads((tmp_path / "tuned.json").read_text())))
    assert "| ours, T = 4, bf16 | 0.500 | 1.00 |  |  |" in page
    assert "| spikingjelly, T = 4, fp32 | 1.500 | 3.00 | 1.000 | 2.00 |" in page
    assert (
        "at most 2.0% of them. Not settled: snntorch, T = 4, fp32." in page
        and "tuned_steps --num-steps 4 --output FILE`" in page
    )


def test_sizes_of_the_main_tables_are_measured_once():
    settings = run.Settings(main=(("vgg9", 100, 16),), sweep=(("vgg9", 16),), sweep_steps=(25, 100))
    alone = list(run.once(settings, ()))
    assert len(alone) == 2 * len(SWEEP)
    main = {(name, "vgg9", 100, 16, "train") for name in SWEEP}
    beside = list(run.once(settings, main))
    assert {(job.section, job.steps) for job in beside} == {("sweep", 25)} and len(beside) == len(SWEEP)
    others = list(run.once(settings, main - {("norse", "vgg9", 100, 16, "train")}))
    assert [job for job in others if job not in beside] == [run.Job("sweep", "norse", "vgg9", 100, 16, "train")]


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
