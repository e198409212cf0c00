"""Training hyper-parameters as data: the paper's, and faster ones of our own."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from keras_spiking_bp import PoissonEncoder, models, optimizers
from keras_spiking_bp.losses import SumSquaredError
from keras_spiking_bp.models.parts import PRESETS
from keras_spiking_bp.rnn.derivative import GRADIENTS
from keras_spiking_bp.utils.validation import check_choice

#: Names of factories, without `spiking_`.
NETWORKS = ("lenet", "vgg7", "vgg9", "resnet7", "resnet9", "resnet11", "resnet20")


_CHOICES = {
    "network": NETWORKS,
    "optimizer": ("sgd", "adam", "muon"),
    "loss": ("squared", "cross_entropy"),
    "preset": tuple(PRESETS),
    "gradient": GRADIENTS,
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train one network on one data set.

    Attributes:
        network: name of a factory without `spiking_`, such as `"vgg9"`.
        dataset: name of a data set (`datasets.load_images`, or `"nmnist"`).
        num_steps: time steps T in training.
        test_steps: time steps of the final test.
        batch_size: samples in a batch; the loss is a sum over them.
        learning_rate: of the first epoch.
        epochs: number of epochs.
        drop_epochs: after each of these epochs the learning rate is divided by 5; if empty, it falls to 0, along a line
            with Muon, else along a cosine.
        optimizer: `"sgd"`, `"adam"` or `"muon"`.
        momentum: of SGD.
        weight_decay: with value w, each step subtracts `learning_rate * w` times each weight; of Muon, each kernel but
            the last.
        loss: `"squared"` (the paper's: summed over classes and batch) or `"cross_entropy"` (mean over the batch; the
            outputs are logits).
        label_smoothing: share of each target spread evenly over all classes, in `"cross_entropy"`.
        preset: of the factory; not its `num_steps`.
        signed, dropout: of the LIF neurons.
        kappa: initial weights have standard deviation `sqrt(kappa / fan_in)`; None for that of the factory.
        scale: of the Poisson encoder of preset `"paper"`; events have none.
        augment: random crops, and flips where the data allows them.
        gradient: `"bptt"` (the authors' code) or `"accumulated"`.
        policy: dtype policy of the synapses, or None.
    """

    network: str
    dataset: str
    num_steps: int
    test_steps: int
    batch_size: int
    learning_rate: float
    epochs: int
    drop_epochs: tuple[int, ...] = ()
    optimizer: str = "sgd"
    momentum: float = 0.0
    weight_decay: float = 5e-4
    loss: str = "squared"
    label_smoothing: float = 0.0
    preset: str = "paper"
    signed: bool = False
    dropout: float = 0.0
    kappa: float | None = None
    scale: float = 1.0
    augment: bool = False
    gradient: str = "accumulated"
    policy: str | None = None

    def __post_init__(self):
        for name, allowed in _CHOICES.items():
            check_choice(name, getattr(self, name), allowed)
        if list(self.drop_epochs) != sorted({epoch for epoch in self.drop_epochs if epoch >= 1}):
            raise ValueError(f"`drop_epochs` must be rising epochs. Received: drop_epochs={self.drop_epochs!r}")

    @classmethod
    def from_dict(cls, fields: dict) -> Recipe:
        """The recipe from its fields, as in a report; those that an older one lacks have defaults."""
        return cls(**{**fields, "drop_epochs": tuple(fields["drop_epochs"])})

    def build(self, input_shape: tuple[int, ...], classes: int, num_steps: int, seed: int) -> keras.Model:
        """The untrained network for `num_steps` time steps; its input is spikes for events, else images."""
        settings: dict[str, Any] = {} if self.kappa is None else {"kappa": self.kappa}
        if self.dataset == "nmnist":
            settings["encoder"] = None
        elif self.preset == "paper":
            settings["encoder"] = PoissonEncoder(num_steps, self.scale, seed=seed)
        return getattr(models, f"spiking_{self.network}")(
            input_shape,
            classes,
            num_steps,
            preset=self.preset,
            dropout=self.dropout,
            gradient=self.gradient,
            dtype=self.policy,
            seed=seed,
            signed=self.signed,
            **settings,
        )

    def compile(self, model: keras.Model, steps_per_epoch: int) -> None:
        """Compiles with the loss, accuracy, and optimizer of this recipe."""
        rate, decay = self.schedule(steps_per_epoch), self.weight_decay or None
        if self.optimizer == "muon":
            dtype = keras.DTypePolicy(self.policy or "float32").compute_dtype
            optimizer = optimizers.Muon(rate, self.weight_decay, ns_dtype=dtype)
        elif self.optimizer == "adam":
            optimizer = keras.optimizers.AdamW(rate, weight_decay=self.weight_decay)
        else:
            optimizer = keras.optimizers.SGD(rate, self.momentum, weight_decay=decay)
        loss = SumSquaredError()
        if self.loss == "cross_entropy":
            loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=self.label_smoothing)
        model.compile(optimizer, loss=loss, metrics=["accuracy"])

    def schedule(self, steps_per_epoch: int) -> keras.optimizers.schedules.LearningRateSchedule:
        """The learning rate at each step."""
        schedules, steps = keras.optimizers.schedules, self.epochs * steps_per_epoch
        if self.drop_epochs:
            return schedules.PiecewiseConstantDecay(
                [epoch * steps_per_epoch - 1 for epoch in self.drop_epochs],  # the last step of the old rate
                [self.learning_rate / 5**i for i in range(len(self.drop_epochs) + 1)],
            )
        if self.optimizer == "muon":
            return schedules.PolynomialDecay(self.learning_rate, steps, 0.0)
        return schedules.CosineDecay(self.learning_rate, steps)


_LENET = Recipe("lenet", "mnist", 100, 100, 64, 0.0085, 125, (75,), scale=0.5, gradient="bptt")
_VGG9 = Recipe("vgg9", "cifar10", 100, 100, 16, 0.0033, 150, (70, 100, 125), dropout=0.2, augment=True, gradient="bptt")
_RESNET11 = Recipe(
    "resnet11", "cifar10", 100, 100, 16, 0.0025, 150, (70, 100, 125), dropout=0.25, augment=True, gradient="bptt",
)  # fmt: skip

#: The paper's (arXiv 1903.06379, the authors' code). It gives those of LeNet on MNIST, VGG9 and ResNet11 on CIFAR-10;
#: the others are our reading: the same as the nearest of those three.
PAPER = {
    ("lenet", "mnist"): _LENET,
    ("lenet", "nmnist"): dataclasses.replace(_LENET, dataset="nmnist", scale=1.0),
    ("vgg7", "svhn_cropped"): dataclasses.replace(_VGG9, network="vgg7", dataset="svhn_cropped"),
    ("resnet7", "svhn_cropped"): dataclasses.replace(_RESNET11, network="resnet7", dataset="svhn_cropped"),
    ("vgg9", "cifar10"): _VGG9,
    ("resnet9", "cifar10"): dataclasses.replace(_RESNET11, network="resnet9"),
    ("resnet11", "cifar10"): _RESNET11,
}

#: Ours with the paper's neurons, on totals, with a cosine schedule.
FAST = {
    ("lenet", "mnist"): Recipe(
        "lenet", "mnist", 25, 100, 64, 0.002, 12, momentum=0.9, weight_decay=5e-3, scale=0.5, augment=True
    ),
}


_DEEP: dict[str, Any] = {
    "num_steps": 4, "test_steps": 4, "batch_size": 250, "learning_rate": 0.02, "optimizer": "muon",
    "weight_decay": 0.25, "loss": "cross_entropy", "label_smoothing": 0.1, "preset": "deep", "signed": True,
    "augment": True,
}  # fmt: skip
#: Ours for few time steps, with signed neurons, by Muon.
DEEP = {
    ("lenet", "mnist"): Recipe("lenet", "mnist", epochs=20, **_DEEP),
    ("lenet", "nmnist"): Recipe(
        "lenet", "nmnist", epochs=60, **{**_DEEP, "num_steps": 10, "test_steps": 10, "batch_size": 50}
    ),
    ("vgg7", "fashion_mnist"): Recipe("vgg7", "fashion_mnist", epochs=8, **_DEEP),
    ("vgg9", "cifar10"): Recipe("vgg9", "cifar10", epochs=8, **_DEEP),
    ("resnet11", "cifar10"): Recipe("resnet11", "cifar10", epochs=8, **_DEEP),
    ("resnet20", "cifar10"): Recipe("resnet20", "cifar10", epochs=12, **_DEEP),
}

RECIPES = {"fast": FAST, "deep": DEEP, "paper": PAPER}


def recipe(network: str, dataset: str, which: str | None = None) -> Recipe:
    """The recipe of a network on a data set.

    Args:
        network: name of a factory without its `spiking_`.
        dataset: name of the data set.
        which: one of `RECIPES`; None for the first that has one.

    Raises:
        ValueError: if there is none.

    Example:
        >>> recipe("vgg9", "cifar10", "paper").learning_rate
        0.0033
    """
    names = tuple(RECIPES) if which is None else (check_choice("which", which, tuple(RECIPES)),)
    for name in names:
        if (network, dataset) in RECIPES[name]:
            return RECIPES[name][network, dataset]
    known = [" on ".join(pair) for name in names for pair in RECIPES[name]]
    raise ValueError(f"There is no recipe for `network` {network!r} on `dataset` {dataset!r}, only for {known}")
