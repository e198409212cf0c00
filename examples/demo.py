"""Trains a spiking LeNet on real handwritten digits and plots the results: python -m examples.demo."""

import argparse
import time
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_spiking_bp as ksbp
from examples import PROGRESS
from keras_spiking_bp.analysis.style import BLUE, GREY, ORANGE, STYLE


def draw(model, images, labels, outputs, path):
    """Input spikes and readout of three digits, and the accuracy of `outputs` (N, T, classes) over time."""
    plt.rcParams.update(STYLE)
    num_steps, shown = outputs.shape[1], [int(np.flatnonzero(labels == digit)[0]) for digit in (3, 5, 8)]
    steps = np.arange(1, num_steps + 1)
    spikes = model.get_layer("encoder")(images[shown])
    each_step = ksbp.SpikingRNN(model.get_layer("time").cell, return_sequences=True)
    potentials = steps[:, None] * each_step(spikes).numpy()  # it returns V[t] / t
    figure = plt.figure(figsize=(12.5, 6.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[2.3, 1])
    axes = left.subplots(3, 3, width_ratios=[0.8, 1.5, 1.5])
    for axis, title in zip(axes[0], ("image", "input spikes", "readout V[t], grey: other digits"), strict=True):
        axis.set_title(title)
    for (picture, raster, readout), i, spikes_of, potential in zip(axes, shown, spikes, potentials, strict=True):
        picture.imshow(images[i, ..., 0], cmap="gray_r")
        picture.axis("off")
        when, where = np.nonzero(spikes_of.numpy().reshape(num_steps, -1))
        raster.scatter(when + 1, where, s=1.5, color="black", linewidths=0)
        raster.set(ylim=(784, 0), yticks=[0, 784], xlim=(0.5, num_steps + 0.5))
        raster.set_ylabel("pixel", labelpad=-12)
        readout.plot(steps, np.delete(potential, labels[i], axis=1), color=GREY, linewidth=1)
        readout.plot(steps, potential[:, labels[i]], color=BLUE, linewidth=2.5)
        readout.set_xlim(1, num_steps)
        readout.text(num_steps, potential[-1, labels[i]], f" “{labels[i]}”", color=BLUE, size="large", weight="bold")
    raster.set_xlabel("time step"), readout.set_xlabel("time step")
    axis, accuracy = right.subplots(), 100 * (outputs.argmax(-1) == labels[:, None]).mean(0)
    axis.plot(steps, accuracy, color=ORANGE, linewidth=2.5)
    axis.set(xlabel="time steps", xlim=(1, num_steps), ylim=(0, 102))
    axis.set_title(f"accuracy on {len(labels):,} test digits against\ntime steps; at the end {accuracy[-1]:.1f} %")
    axis.grid(axis="y")
    figure.suptitle("A spiking LeNet reads handwritten digits from spikes")
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--num-steps", type=int, default=25, help="time steps per image")
    parser.add_argument("--gradient", default="accumulated", choices=["accumulated", "bptt"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(args.seed)
    (x_train, y_train), (x_test, y_test) = ksbp.datasets.mnist_5k(args.seed)
    encoder = ksbp.PoissonEncoder(args.num_steps, scale=0.5, seed=args.seed, name="encoder")
    model = ksbp.models.spiking_lenet(encoder=encoder, gradient=args.gradient, seed=args.seed)
    rate = keras.optimizers.schedules.CosineDecay(0.003, args.epochs * len(x_train) // 32)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), ksbp.losses.SparseSumSquaredError(), metrics=["accuracy"])
    start = time.perf_counter()
    model.fit(x_train, y_train, batch_size=32, epochs=args.epochs, verbose=PROGRESS)
    seconds = (time.perf_counter() - start) / args.epochs
    model.save(args.output / "spiking_lenet.keras")
    run = ksbp.analysis.run(model, x_test, y_test, verbose=0)
    print(f"\ntest accuracy: {run.correct()[:, -1].mean():.3f}   (MNIST-5k subset, 1,000 digits not seen in training)")
    print(f"spikes per image in {args.num_steps} time steps:")
    for row in ksbp.analysis.activity(run).rows:
        print(f"  {row['layer']:8s} {row['spikes']:8.1f}   ({row['spikes_per_neuron']:.2f} per neuron)")
    print(f"time per epoch: {seconds:.1f} s")
    draw(model, x_test, y_test, run.outputs, args.output / "demo.png")
    print(f"model: {args.output / 'spiking_lenet.keras'}\npicture: {args.output / 'demo.png'}")


if __name__ == "__main__":
    main()
