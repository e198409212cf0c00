"""The paper's comparison: an ANN, the spiking network converted from it, one trained directly, and a hybrid of both.

python -m examples.experiments.compare --network lenet --dataset mnist [...]
python -m examples.experiments.compare --network vgg9 --dataset cifar10 [...]

* ANN: the same network with ReLU: the `--ann-model` that `reproduce --ann` made; without, trained with Adam and
  cross-entropy;
* converted: the ANN's weights, integrate-and-fire neurons, balanced thresholds, no training;
* direct: trained with spike-based backpropagation: the packaged weights;
* hybrid: converted for few time steps, then trained with spike-based backpropagation for an epoch.

Writes `comparison.json` and `comparison.png` to the output folder, and saves trained networks there: the same command
goes on with them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import keras

import keras_spiking_bp as ksbp
from benchmarks.plotting import plt
from examples import PROGRESS
from examples.experiments.machine import machine
from examples.experiments.recipes import Recipe, recipe
from examples.experiments.report import command, write
from examples.experiments.training import trained
from keras_spiking_bp.datasets.images import ImageSet
from keras_spiking_bp.gradients.surrogates import NAMES
from keras_spiking_bp.models.pretrained import PRETRAINED

ANN_RECIPE = {
    "loss": "cross_entropy", "optimizer": "adam", "learning_rate": 1e-3, "momentum": 0.0, "weight_decay": 0.0,
    "epochs": 6, "batch_size": 64, "drop_epochs": (),
}  # fmt: skip
HYBRID_STEPS, HYBRID_BATCH_SIZE, HYBRID_LEARNING_RATE = 10, 64, 1e-4


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--network", default="lenet")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--ann-model", type=Path, help="model.keras of `reproduce --ann`")
    parser.add_argument(
        "--direct-steps",
        type=int,
        help="of the direct network (default: `test_steps`); statistics of batch normalisation stay",
    )
    parser.add_argument("--converted-steps", type=int, default=100)
    parser.add_argument("--initial-membrane", type=float, default=0.0, help="of both converted networks")
    parser.add_argument("--calibrate-biases", action="store_true", help="of both converted networks")
    parser.add_argument("--hybrid-surrogate", choices=NAMES, help="without: the paper's derivative")
    parser.add_argument("--hybrid-augment", action="store_true", help="random crops and flips for the hybrid, too")
    parser.add_argument("--samples", type=int, help="test samples (default: all)")
    parser.add_argument("--batch-size", type=int, default=100, help="for testing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--verbose", type=int, default=PROGRESS)
    args = parser.parse_args(arguments)
    if args.dataset not in PRETRAINED or ksbp.models.model_card(args.dataset)["network"] != args.network:
        parser.error(f"The package has no weights of {args.network} on {args.dataset}")
    args.output = args.output or Path("checkpoints") / f"compare-{args.network}-{args.dataset}"
    return args


def packaged(args: argparse.Namespace) -> tuple[keras.Model, dict]:
    """The network with the packaged weights, and its card."""
    model = ksbp.models.load_pretrained(args.dataset, args.direct_steps, seed=args.seed)
    return model, ksbp.models.model_card(args.dataset)


def ann_of(args: argparse.Namespace, chosen: Recipe, data: ImageSet) -> tuple[keras.Model, Recipe]:
    """The trained ANN, in float32 as the others, and the recipe of its training."""
    ann = ksbp.ann_counterpart(
        dataclasses.replace(chosen, policy=None).build(data.input_shape, data.classes, 1, args.seed)
    )
    if args.ann_model:
        recipe = Recipe.from_dict(json.loads(args.ann_model.with_name("report.json").read_text())["recipe"])
        ann.set_weights(keras.saving.load_model(args.ann_model, compile=False).get_weights())
        return ann, recipe
    recipe = dataclasses.replace(chosen, **ANN_RECIPE)
    path = args.output / "ann.keras"
    return trained(ann, data, recipe.epochs, path, seed=args.seed, verbose=args.verbose, recipe=recipe), recipe


def main(arguments: list[str] | None = None) -> dict:
    args = parse(arguments)
    args.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(args.seed)
    data = ksbp.datasets.load_images(args.dataset, args.data_dir)
    unscaled, labels = (values[: args.samples] for values in data.test)
    images = data.normalised(unscaled)
    sample = data.normalised(data.train[0][:500])

    by_spikes, card = packaged(args)
    chosen = recipe(args.network, args.dataset)
    ann, of_ann = ann_of(args, chosen, data)
    few = {"initial_membrane": args.initial_membrane, "calibrate_biases": args.calibrate_biases}
    start = ksbp.convert_to_snn(ann, sample, HYBRID_STEPS, surrogate=args.hybrid_surrogate, **few)
    mixed = trained(
        start, data, 1, args.output / "hybrid.keras", args.hybrid_augment, HYBRID_BATCH_SIZE, HYBRID_LEARNING_RATE,
        args.seed, args.verbose, note=f"{args.hybrid_surrogate}, {few}, ANN by {of_ann}",
    )  # fmt: skip
    converted = ksbp.convert_to_snn(ann, sample, args.converted_steps, **few)
    how = {"batch_size": args.batch_size, "verbose": args.verbose}
    scaled = dataclasses.replace(data, mean=tuple(card["mean"]), scale=tuple(card["scale"])).normalised(unscaled)
    direct = ksbp.analysis.run(by_spikes, scaled, labels, **how)
    networks = {"ANN": ann, "converted": converted, "direct": direct, "hybrid": mixed}
    table = ksbp.analysis.compare(networks, images, labels, **how)
    print(table.to_markdown())
    figure = table.plot()[0].figure
    figure.suptitle(f"{args.network} on {args.dataset}")
    figure.savefig(args.output / "comparison.png")
    plt.close(figure)

    report = {
        "command": command(arguments, "examples.experiments.compare"),
        "network": args.network,
        "dataset": args.dataset,
        "samples": len(images),
        "seed": args.seed,
        "direct_recipe": card["recipe"],
        "direct_trained_by": card["trained_by"],
        "ann_recipe": dataclasses.asdict(of_ann),
        "rows": table.rows,
        "target": table.target,
        "curves": {name: curve.rows for name, curve in table.curves.items()},
        "early_exit": {name: curve.early_exit(_margins(curve)).rows for name, curve in table.curves.items()},
        "rates": {name: ksbp.analysis.activity(curve.run).rows for name, curve in table.curves.items()},
        "machine": machine(),
    }
    write(args.output / "comparison.json", report)
    return report


def _margins(curve) -> list[float]:
    """Margins relative to the spread of a network's outputs, whose units differ."""
    spread = float(curve.run.outputs[:, -1].std())
    return [factor * spread for factor in (0.25, 0.5, 1.0, 1.5, 2.0)]


if __name__ == "__main__":
    main()
