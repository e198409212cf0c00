"""Evaluates a packaged network on the whole test set: python -m examples.pretrained --dataset mnist."""

import argparse

import keras_spiking_bp as ksbp
from examples import PROGRESS
from examples.experiments.pretrained import images_of


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", choices=["mnist", "cifar10"], required=True)
    parser.add_argument("--data-dir", help="folder of prepared data (default: it is downloaded)")
    parser.add_argument("--num-steps", type=int, nargs="+", help="numbers of time steps to test (default: as the card)")
    args = parser.parse_args(arguments)
    card = ksbp.models.model_card(args.dataset)
    data = images_of(args.dataset, args.data_dir)
    accuracies = {}
    for num_steps in args.num_steps or map(int, card["test_by_num_steps"]):
        model = ksbp.models.load_pretrained(args.dataset, num_steps, seed=0)
        run = ksbp.analysis.run(model, data.test_batches(200), verbose=PROGRESS)
        accuracies[num_steps] = float(run.correct()[:, -1].mean())
        spikes = ksbp.analysis.activity(run).rows[-1]["spikes"]
        print(f"T = {num_steps}: accuracy {accuracies[num_steps]:.4f}, {spikes:,.0f} spikes per image")
    return accuracies


if __name__ == "__main__":
    main()
