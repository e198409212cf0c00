"""examples/compare.py and examples/convert.py on a few made-up images."""

import json

import pytest

from examples import compare, convert, reproduce


def test_the_comparison_has_all_networks_and_goes_on(few_images, tmp_path):
    options = (
        "--network lenet --dataset mnist --ann-epochs 1 --ann-batch-size 8 --converted-steps 6 --hybrid-steps 3 "
        "--hybrid-batch-size 8 --samples 8 --batch-size 4 --verbose 0 --data-note few "
        f"--direct {tmp_path}/direct/model.keras --output {tmp_path}"
    ).split()
    reproduce.main(
        f"--network lenet --dataset mnist --epochs 1 --num-steps 5 --test-steps 4 --batch-size 8 --kappa 8 --verbose 0 "
        f"--output {tmp_path}/direct".split()
    )
    report = compare.main(options)
    full = {row["network"]: row for row in report["rows"] if row["at"] == "full length"}
    assert list(full) == ["ANN", "converted", "direct", "hybrid"]
    assert [full[name]["steps"] for name in full] == [1, 6, 4, 3]
    assert report["samples"] == 8 and report["note"] == "few" and report["direct_recipe"]["kappa"] == 8
    assert len(report["curves"]["converted"]) == 6 and len(report["early_exit"]["direct"]) == 5
    assert "--direct MODEL" in report["command"] and str(tmp_path) not in report["command"]
    assert json.loads((tmp_path / "comparison.json").read_text()) == json.loads(json.dumps(report))
    assert (tmp_path / "comparison.png").stat().st_size > 10_000
    again = {row["network"]: row for row in compare.main(options)["rows"] if row["at"] == "full length"}
    for name in ("ANN", "converted", "hybrid"):  # nothing is trained anew, nothing random is in them
        assert again[name] == full[name]
    with pytest.raises(SystemExit, match="ann.keras was made with other settings"):
        compare.main([*options, "--ann-epochs", "2"])
    with pytest.raises(SystemExit):
        compare.main(["--direct", str(tmp_path / "nowhere.keras"), "--output", str(tmp_path)])


@pytest.mark.parametrize("network", [pytest.param("lenet", marks=pytest.mark.slow), "vgg_bn"])
def test_conversion_curves(few_images, tmp_path, network):
    options = f"--network {network} --epochs 1 --batch-size 8 --num-steps 4 --hybrid-steps 3 --samples 6 --verbose 0"
    report = convert.main([*options.split(), "--output", str(tmp_path)])
    *names, hybrid = report["curves"]
    assert names == list(convert.METHODS) and hybrid.endswith("then trained for 3 steps")
    assert [len(rows) for rows in report["curves"].values()] == [4, 4, 4, 3]
    assert json.loads((tmp_path / f"{network}-mnist.json").read_text()) == report
