"""Converts an ANN to a spiking network and shows its accuracy after each time step: python -m examples.convert."""

import argparse

import keras

import keras_spiking_bp as ksbp
from examples import PROGRESS


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5, help="of the ANN")
    parser.add_argument("--num-steps", type=int, default=32)
    args = parser.parse_args(arguments)
    keras.utils.set_random_seed(0)
    (x_train, y_train), (x_test, y_test) = ksbp.datasets.mnist_5k()
    ann = keras.Sequential([
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(16, 3, padding="same", use_bias=False),
        keras.layers.BatchNormalization(momentum=0.9),
        keras.layers.ReLU(),
        keras.layers.MaxPooling2D(2),
        keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
        keras.layers.AveragePooling2D(2),
        keras.layers.Flatten(),
        keras.layers.Dense(10),
    ])  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    ann.compile("adam", loss, metrics=["accuracy"])
    ann.fit(x_train, y_train, epochs=args.epochs, verbose=PROGRESS)

    accuracy = ann.evaluate(x_test, y_test, verbose=0)[1]
    print(f"\nANN: {accuracy:.3f}")
    snn = ksbp.convert_to_snn(ann, x_train[:500], num_steps=args.num_steps, initial_membrane=0.5)
    curve = ksbp.analysis.accuracy_over_time(snn, x_test, y_test, verbose=0)
    for row in curve.rows:
        if row["steps"] & (row["steps"] - 1) == 0:  # 1, 2, 4, 8, ...
            print(
                f"spiking, {row['steps']:3d} time steps: {row['accuracy']:.3f}, {row['spikes']:,.0f} spikes per image"
            )
    return accuracy, curve


if __name__ == "__main__":
    main()
