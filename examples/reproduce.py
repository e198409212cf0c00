"""Trains the spiking LeNet on MNIST and tests it; resumes if interrupted: python -m examples.reproduce."""

import argparse
from pathlib import Path

import keras

import keras_spiking_bp as ksbp
from examples import PROGRESS

BATCH_SIZE = 64


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="mnist", choices=["mnist", "fashion_mnist"])
    parser.add_argument("--data-dir", help="folder of prepared data (default: it is downloaded)")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--num-steps", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("checkpoints/reproduce"))
    args = parser.parse_args(arguments)
    keras.utils.set_random_seed(0)
    data = ksbp.datasets.load_images(args.dataset, args.data_dir)
    batches = data.batches(BATCH_SIZE, augment=False, seed=0)
    encoder = ksbp.PoissonEncoder(args.num_steps, scale=0.5, seed=0)
    model = ksbp.models.spiking_lenet(data.input_shape, data.classes, encoder=encoder, seed=0)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, args.epochs * batches.steps_per_epoch)
    model.compile(keras.optimizers.AdamW(rate), ksbp.losses.SumSquaredError(), metrics=["accuracy"])
    health = ksbp.callbacks.Health(next(iter(batches.epoch(0)))[0][:16])
    folder = args.output / f"{args.dataset}-{args.epochs}-epochs-T{args.num_steps}"
    ksbp.training.fit(model, batches, args.epochs, folder, save_freq=200, callbacks=[health], verbose=PROGRESS)

    run = ksbp.analysis.run(model, data.test_batches(200), verbose=0)
    print(f"\ntest accuracy: {run.correct()[:, -1].mean():.4f} on {run.samples:,} images")
    print(ksbp.analysis.activity(run))
    model.save(folder / "model.keras")
    return run


if __name__ == "__main__":
    main()
