"""The paper's comparison: an ANN, the spiking network converted from it, one trained directly, and a hybrid of both.

python -m examples.experiments.compare --network lenet --dataset mnist [...]
python -m examples.experiments.compare --network vgg9 --dataset cifar10 [...]

* ANN: the same network with ReLU, trained with the recipe of `recipes` if its loss is cross-entropy; otherwise with
  Adam and cross-entropy;
* converted: the ANN's weights, integrate-and-fire neurons, balanced thresholds, no training;
* direct: trained with spike-based backpropagation: the packaged weights;
* hybrid: converted for few time steps, then trained with spike-based backpropagation for an epoch.

Writes `comparison.json` and `comparison.png` to the output folder, and saves trained networks and test results there:
the same command resumes after an interruption.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import pickle
from pathlib import Path

import keras

import keras_spiking_bp as ksbp
from benchmarks.plotting import plt
from examples import PROGRESS
from examples.experiments.machine import machine
from examples.experiments.recipes import Recipe, recipe
from examples.experiments.report import command, write
from examples.experiments.training import trained
from keras_spiking_bp.analysis.run import Run
from keras_spiking_bp.export.atomic import written_whole
from keras_spiking_bp.gradients.surrogates import NAMES
from keras_spiking_bp.models.pretrained import PRETRAINED

HYBRID_STEPS, HYBRID_BATCH_SIZE, HYBRID_LEARNING_RATE = 10, 64, 1e-4


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--network", default="lenet")
    parser.add_argument("--dataset", default="mnist")
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
    """The network with the packaged weights, and the recipe of its training."""
    model = ksbp.models.load_pretrained(args.dataset, args.direct_steps, seed=args.seed)
    return model, ksbp.models.model_card(args.dataset)["recipe"]


def ann_recipe(chosen: Recipe) -> Recipe:
    """The direct recipe if its loss is cross-entropy, else Adam and cross-entropy."""
    if chosen.loss == "cross_entropy":
        return chosen
    return dataclasses.replace(
        chosen, loss="cross_entropy", optimizer="adam", learning_rate=1e-3, momentum=0.0, weight_decay=0.0,
        epochs=6, batch_size=64, drop_epochs=(),
    )  # fmt: skip


def tested(name: str, model: keras.Model, images, labels, args: argparse.Namespace) -> Run:
    """The result of `analysis.run`, cached until the comparison is written: it may take hours."""
    path = args.output / f"{name}.run"
    settings = {key: str(value) for key, value in vars(args).items() if key != "verbose"}
    settings["code"] = machine()["commit"]
    settings["weights"] = hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()
    if path.exists():
        known, done = pickle.loads(path.read_bytes())
        if known == settings:
            return done
    done = ksbp.analysis.run(model, images, labels, args.batch_size, args.verbose)
    with written_whole(path, overwrite=True) as part:
        part.write_bytes(pickle.dumps((settings, done)))
    return done


def main(arguments: list[str] | None = None) -> dict:
    args = parse(arguments)
    args.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(args.seed)
    data = ksbp.datasets.load_images(args.dataset, args.data_dir)
    images, labels = data.test
    images, labels = data.normalised(images[: args.samples]), labels[: args.samples]
    sample = data.normalised(data.train[0][:500])

    by_spikes, of_direct = packaged(args)
    chosen = recipe(args.network, args.dataset)
    of_ann = ann_recipe(chosen)

    def counterpart(recipe: Recipe) -> keras.Model:
        return ksbp.ann_counterpart(recipe.build(data.input_shape, data.classes, 1, args.seed))

    learned = trained(
        counterpart(chosen), data, of_ann.epochs, args.output / "ann.keras", seed=args.seed, verbose=args.verbose,
        recipe=of_ann,
    )  # fmt: skip
    ann = counterpart(dataclasses.replace(chosen, policy=None))  # tested in float32, as the others
    ann.set_weights(learned.get_weights())
    few = {"initial_membrane": args.initial_membrane, "calibrate_biases": args.calibrate_biases}
    start = ksbp.convert_to_snn(ann, sample, HYBRID_STEPS, surrogate=args.hybrid_surrogate, **few)
    mixed = trained(
        start, data, 1, args.output / "hybrid.keras", args.hybrid_augment, HYBRID_BATCH_SIZE, HYBRID_LEARNING_RATE,
        args.seed, args.verbose, note=f"{args.hybrid_surrogate}, {few}, ANN by {of_ann}",
    )  # fmt: skip
    converted = ksbp.convert_to_snn(ann, sample, args.converted_steps, **few)
    spiking = {"direct": by_spikes, "hybrid": mixed, "converted": converted}
    runs = {name: tested(name, model, images, labels, args) for name, model in spiking.items()}
    networks = {"ANN": ann, **{name: runs[name] for name in ("converted", "direct", "hybrid")}}
    table = ksbp.analysis.compare(networks, images, labels, batch_size=args.batch_size, verbose=args.verbose)
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
        "direct_recipe": of_direct,
        "ann_recipe": dataclasses.asdict(of_ann),
        "rows": table.rows,
        "target": table.target,
        "curves": {name: curve.rows for name, curve in table.curves.items()},
        "early_exit": {name: curve.early_exit(_margins(curve)).rows for name, curve in table.curves.items()},
        "rates": {name: ksbp.analysis.activity(curve.run).rows for name, curve in table.curves.items()},
        "machine": machine(),
    }
    write(args.output / "comparison.json", report)
    for name in runs:
        (args.output / f"{name}.run").unlink()
    return report


def _margins(curve) -> list[float]:
    """Margins relative to the spread of a network's outputs, whose units differ."""
    spread = float(curve.run.outputs[:, -1].std())
    return [factor * spread for factor in (0.25, 0.5, 1.0, 1.5, 2.0)]


if __name__ == "__main__":
    main()
