"""The figures on the first pages are those of the reports."""

import json
import re

import numpy as np
import pytest

import keras_spiking_bp as ksbp
from examples import figures
from examples.blocks import replaced
from tests.pages import ROOT


@pytest.mark.parametrize("name", figures.PAGES)
def test_the_committed_pages_have_the_figures_of_the_committed_reports(name):
    page = (ROOT / name).read_text()
    assert replaced(page, figures.MAKER, figures.table(figures.PAGES[name])) == page, figures.MAKER


def test_figures_by_another_way():
    table = figures.table("docs/")

    def report(name):
        return json.loads((ROOT / "docs" / name).read_text())

    trainings = [json.loads(path.read_text()) for path in (ROOT / "docs/results").glob("*.json")]
    best = max(t["test"]["accuracy"] for t in trainings if t["recipe"]["dataset"] == "mnist")
    assert f"| MNIST, test accuracy | **{100 * best:.2f} %**" in table
    card = json.loads((ROOT / "keras_spiking_bp/models/weights/vgg9_cifar10.json").read_text())
    for steps in ("4", "8"):
        test = card["test_by_num_steps"][steps]
        low, high = (100 * bound for bound in test["interval_95"])
        text = f"**{100 * test['accuracy']:.2f} %** (VGG9, T = {steps}; 95 %: {low:.2f} to {high:.2f})"
        assert text in table
    for name in ("vgg9-cifar10", "lenet-mnist"):
        for row in report(f"comparison/{name}.json")["rows"]:
            arithmetic = (0.9 * row["accumulates"] + 4.6 * row["macs"]) / 1e6
            of_ac, of_mac = (1, 2) if row["spikes"] is None else (3, 3)  # an ANN adds up in a register
            words = (of_ac * row["accumulates"] + of_mac * row["macs"]) / 1e6
            near, far = arithmetic + 5 * words, arithmetic + 50 * words
            shown = f"{arithmetic:.1f} µJ ({near:,.0f} with 8 KiB, {far:,.0f} with 1 MiB)"
            there = {("direct", "equal accuracy"), ("direct", "full length"), ("converted", "equal accuracy")}
            assert ((row["network"], row["at"]) in there | {("ANN", "full length")}) is (shown in table)
    test = card["test_by_num_steps"]["4"]  # the same network
    assert f"| **{round(sum(test['spikes_per_sample'].values())):,} spikes, " in table
    runs = {
        record["case"]: record["runs"]
        for record in report("benchmarks.json")["results"]
        if [record[key] for key in ("section", "network", "steps", "mode")] == ["main", "vgg9", 100, "train"]
    }
    peers = {"snntorch", "spikingjelly", "norse", "authors_rule"} & set(runs)
    seconds = {case: sorted(t for run in runs[case] for t in run["times"]) for case in runs}
    median = {case: (times[(len(times) - 1) // 2] + times[len(times) // 2]) / 2 for case, times in seconds.items()}
    assert f"**{median['ours']:.2f} s**" in table
    assert f"{min(median[case] for case in peers):.2f} s (" in table
    assert f"beyond their documentation {min(median[f'{case}_tuned'] for case in peers):.2f} s (" in table
    peaks = {case: float(np.median([run["peak"] for run in runs[case]])) / 1e9 for case in runs}
    assert f"**{peaks['ours']:.2f} GB**" in table
    assert f"| {min(peaks[case] for case in peers):.2f} GB (" in table
    curves = {
        case["library"]: case["curve"]
        for case in report("time_to_accuracy.json")["cases"]
        if case["num_steps"] == 4 and case["precision"] == "bf16"
    }
    common = min(max(row["accuracy"] for row in curve) for curve in curves.values())
    target = max(t for t in (0.6, 0.7, 0.8) if t <= common)
    first = {name: min(r["seconds"] for r in curve if r["accuracy"] >= target) for name, curve in curves.items()}
    other = min(value for name, value in first.items() if name != "ours")
    assert f"| Training to {100 * target:.0f} % accuracy on held-out" in table
    assert f"| **{first['ours']:.0f} s** | {other:.0f} s, " in table
    (tuned,) = [
        case["seconds_tuned"] / case["seconds"]
        for case in report("tuned_steps.json")["cases"]
        if case["library"] == min(first.keys() - {"ours"}, key=first.get)
        and (case["num_steps"], case["precision"]) == (4, "bf16")
    ]
    assert f"its training step takes {100 * tuned:.0f} % as long" in table


def test_figures_in_the_prose():
    def tested(name):
        return json.loads((ROOT / "docs/results" / f"{name}.json").read_text())["test"]

    training = " ".join((ROOT / "docs/training.md").read_text().split())
    both = [
        (100 * test["accuracy_with_moving_statistics"], 100 * test["accuracy"])
        for test in map(tested, ("resnet9-cifar10", "vgg9-cifar10", "vgg7-fashion_mnist"))
    ]
    assert "ResNet9 on CIFAR-10: {:.2f} % test accuracy with the moving statistics, {:.2f}".format(*both[0]) in training
    assert "VGG9: {:.2f} and {:.2f} %".format(*both[1]) in training
    assert "VGG7 on Fashion-MNIST {:.2f} and {:.2f} %".format(*both[2]) in training
    card = json.loads((ROOT / "keras_spiking_bp/models/weights/vgg9_cifar10.json").read_text())
    rate = card["test_by_num_steps"]["4"]["firing_rate"]
    comparison = json.loads((ROOT / "docs/comparison/vgg9-cifar10.json").read_text())
    ann, direct = (
        next(row for row in comparison["rows"] if (row["network"], row["at"]) == place)
        for place in (("ANN", "full length"), ("direct", "equal accuracy"))
    )
    of_spikes = ann["macs"] - direct["macs"] / direct["steps"]  # the first layer sees a current
    share = direct["accumulates"] / (direct["steps"] * of_spikes)
    text = (
        f"those of VGG9 fire in {100 * rate:.0f} % at T = 4, weighted by the synapses of its ANN in {100 * share:.0f} %"
    )
    assert text in " ".join((ROOT / "README.md").read_text().split())
    analysis = " ".join((ROOT / "docs/analysis.md").read_text().split())
    assert f"in VGG9 with T = 4, {100 * rate:.0f} % of neurons and {100 * share:.0f} % of synapses" in analysis


def test_energies_in_the_prose():
    def rows(name):
        report = json.loads((ROOT / f"docs/comparison/{name}.json").read_text())["rows"]
        return {(row["network"], row["at"]): row for row in report}

    def page(name):
        return " ".join((ROOT / f"docs/{name}").read_text().split())

    near, far = (ksbp.analysis.Costs(memory_access=accesses) for accesses in (5, 50))
    once = [f"{costs.of_ann(0, 1) / costs.of(1, 0):.1f}" for costs in (near, far)]
    assert "= {} times, with 50 fewer than {} times".format(*once) in page("analysis.md")
    vgg9, lenet = rows("vgg9-cifar10"), rows("lenet-mnist")
    ann, direct = vgg9["ANN", "full length"], vgg9["direct", "equal accuracy"]
    costs = ksbp.analysis.Costs(memory_access=5)
    arithmetic = costs.of_ann(ann["accumulates"], 0) + 4.6 * ann["macs"]
    words = (costs.of(direct["accumulates"], direct["macs"]) - arithmetic) / (5 * ann["macs"])
    assert f"the advantage after {direct['steps']} steps ends at {words:.1f} words" in page(
        "comparison/vgg9-cifar10.txt"
    )
    for network, data, row in (("vgg9", "cifar10", direct), ("lenet", "mnist", lenet["direct", "equal accuracy"])):
        model = getattr(ksbp.models, f"spiking_{network}")(weights=data)
        neurons = sum(int(np.prod(n.output_shape_of_step)) for n in model.get_layer("time").cell.neurons())
        added = 100 * 4.6e-3 * neurons * row["steps"] / row["energy_nj"]
        assert f"{added:.0f} % to th" in page(f"comparison/{network}-{data}.txt")
        if network == "lenet":
            assert f"has {neurons:,} neurons, {4e-6 * neurons:.2f} MB of potentials, and" in page("howto/devices.md")
            assert f"{4e-6 * model.count_params():.1f} MB of weights in float32" in page("howto/devices.md")


def test_every_figure_has_its_command_and_a_page():
    rows = figures.table("docs/").splitlines()[2:]
    assert len(rows) == 8
    for row in rows:
        last = row.split("|")[-2]
        assert re.search(r"\]\(docs/.*\.md", last) and re.search(r"`python -m [\w.]+[^`|]*`", last)


def test_a_page_without_a_place_for_the_table_is_refused():
    with pytest.raises(ValueError, match="one block from"):
        replaced("# A page\n", figures.MAKER, "")
