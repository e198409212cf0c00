"""Compares an ANN, a network converted from it and one trained with spikes: python -m examples.compare."""

import argparse

import keras

import keras_spiking_bp as ksbp
from examples import PROGRESS


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3, help="of both trainings")
    parser.add_argument("--num-steps", type=int, default=25)
    args = parser.parse_args(arguments)
    keras.utils.set_random_seed(0)
    (x_train, y_train), (x_test, y_test) = ksbp.datasets.mnist_5k()

    direct = ksbp.models.spiking_lenet(encoder=ksbp.PoissonEncoder(args.num_steps, scale=0.5, seed=0), seed=0)
    direct.compile(keras.optimizers.Adam(1e-3), ksbp.losses.SparseSumSquaredError(), metrics=["accuracy"])
    ann = ksbp.ann_counterpart(direct)
    logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    ann.compile(keras.optimizers.Adam(1e-3), logits, metrics=["accuracy"])
    for model in (direct, ann):
        model.fit(x_train, y_train, batch_size=32, epochs=args.epochs, verbose=PROGRESS)
    converted = ksbp.convert_to_snn(ann, x_train[:500], num_steps=args.num_steps)

    networks = {"ANN": ann, "converted": converted, "direct": direct}
    comparison = ksbp.analysis.compare(networks, x_test, y_test, verbose=0)
    print(f"\n{comparison}")
    return comparison


if __name__ == "__main__":
    main()
