"""Small random networks of all kinds of layers that C has."""

import keras
import numpy as np

import keras_spiking_bp as ksbp

SERIES = ("series same", "series causal", "series depthwise")
KINDS = (
    "dense", "valid", "same", "padded", "dilated", "groups", "depthwise", *SERIES, "pooling neurons", "average",
    "global average", "max of spikes", "max of counts", "identity", "shortcut", "add", "concatenate", "recurrent",
)  # fmt: skip
INPUTS = ("poisson", "constant", "free")


class Maker:
    """Layers and neurons of random sizes. Weights are multiples of 1/32, so that no sum depends on its order."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def pick(self, *options):
        return options[self.rng.integers(len(options))]

    def often(self):
        return bool(self.rng.random() < 0.5)

    def neurons(self, synapse, cell=ksbp.LIFCell, **kwargs):
        """With one threshold, leak and start, or learned ones of each channel."""
        options = {"beta": self.pick(1.0, 0.5, 0.75), "initial_membrane": self.pick(0.0, 0.5)}
        options |= self.pick(
            {}, {"reset_mechanism": "subtract"}, {"reset_mechanism": "subtract", "signed": True}, {"synaptic_beta": 0.5}
        )
        options["threshold"] = 0.75 + 2**-9 / 3  # no sum is as large
        if self.often():
            channels = self.channels(synapse)
            learned = {"learn_beta": True, "learn_threshold": True, "surrogate": "atan"}
            options |= {"beta": self.rng.choice([0.5, 0.75], channels)} | (learned if self.often() else {})
            options["threshold"] = 0.75 * self.rng.choice([0.5, 1.0], channels) + 2**-9 / 3
        return cell(synapse, **options | kwargs)

    def channels(self, synapse):
        last = getattr(synapse, "layers", [synapse])
        sizes = [getattr(layer, "filters", None) or getattr(layer, "units", None) for layer in last]
        return next((size for size in sizes if size), 1)

    def conv(self, kind="same", channels=4, filters=4, stride=None, kernel=None):
        """A convolution; some of the simple ones with batch normalisation."""
        kernel, stride = kernel or self.pick(2, 3), stride or self.pick(1, 2)
        usual = {"use_bias": self.often()}
        if kind == "padded":
            sides = ((1, 0), (2, 1))
            return keras.Sequential(
                [keras.layers.ZeroPadding2D(sides), keras.layers.Conv2D(filters, 3, stride, **usual)]
            )
        if kind == "dilated":
            return keras.layers.Conv2D(filters, 2, padding="same", dilation_rate=(2, 1), **usual)
        if kind == "groups":
            return keras.layers.Conv2D(filters, kernel, stride, "same", groups=2, **usual)
        if kind == "depthwise":
            return keras.layers.DepthwiseConv2D(kernel, stride, "same", depth_multiplier=2, **usual)
        if kind == "series depthwise":
            return keras.layers.DepthwiseConv1D(kernel, stride, "valid", **usual)
        if kind.startswith("series"):
            padding = kind.split()[-1]
            dilation = {"dilation_rate": 2} if padding == "causal" else {"strides": stride}
            return keras.layers.Conv1D(filters, kernel, padding=padding, **dilation, **usual)
        conv = keras.layers.Conv2D(filters, kernel, stride, kind, **usual)
        return keras.Sequential([conv, keras.layers.BatchNormalization()]) if self.often() else conv

    def of_kind(self, kind):
        """Cells and layers from spikes of 4 channels to spikes."""
        pool, recurrent = keras.layers.MaxPooling2D, keras.layers.Conv2D(4, 3, padding="same", use_bias=self.often())
        same = {"stride": 1}
        if kind == "dense":
            return [keras.layers.Flatten(), self.neurons(keras.layers.Dense(self.pick(3, 8)))]
        if kind == "pooling neurons":
            return [ksbp.PoolingCell(keras.layers.AveragePooling2D(2), initial_membrane=self.pick(0.0, 0.5))]
        if kind == "average":
            return [keras.layers.AveragePooling2D(2, strides=self.pick(1, 2))]
        if kind == "global average":
            return [keras.layers.GlobalAveragePooling2D(keepdims=self.often())]
        if kind.startswith("max"):
            size, stride, padding = self.pick((2, 2, "valid"), (3, 2, "same"), (2, 1, "same"))
            return [ksbp.MaxPoolingCell(pool(size, stride, padding), of=kind.split()[-1])]
        if kind == "identity":
            return [ksbp.ResidualCell(self.neurons(self.conv(**same)), self.neurons(self.conv(**same)))]
        if kind == "shortcut":
            halved = {"stride": 2, "kernel": 2}
            body, junction = self.neurons(self.conv("valid", **halved)), self.neurons(self.conv(**same))
            pooled = keras.Sequential([keras.layers.AveragePooling2D(2), keras.layers.Conv2D(4, 1)])
            return [ksbp.ResidualCell(body, junction, self.pick(self.conv("valid", **halved), pooled))]
        if kind == "add":
            left, right = self.neurons(self.conv(**same)), self.neurons(self.conv(**same))
            nodes = [
                (left, "input"),
                (right, left.name),
                (keras.layers.Add(name="sum"), [left.name, right.name, "input"]),
            ]
            return [ksbp.GraphCell([*nodes, (self.neurons(self.conv()), "sum")])]
        if kind == "concatenate":
            left, right = self.neurons(self.conv(filters=2, **same)), self.neurons(self.conv(filters=3, **same))
            nodes = [
                (left, "input"),
                (right, "input"),
                (keras.layers.Concatenate(name="both"), [right.name, left.name]),
            ]
            return [ksbp.GraphCell([*nodes, (self.neurons(self.conv("valid")), "both")])]
        if kind == "recurrent":
            return [ksbp.RecurrentCell(self.neurons(self.conv(**same)), recurrent)]
        return [self.neurons(self.conv(kind))]


def random_network(seed, kind, code):
    """A network with layers of `kind` and of others, and one input (T, ...) that suits it."""
    make = Maker(seed)
    series = kind in SERIES
    shape = (9, 4) if series else (8, make.pick(7, 8), 2)
    if series:
        cells = [make.neurons(make.conv(kind)) for _ in range(2)]
    else:
        cells = [make.neurons(make.conv("same", stride=1))]
        if make.often():
            others = [other for other in KINDS if other not in (*SERIES, "dense", "depthwise", "global average")]
            cells += make.of_kind(make.pick(*others))
        cells += make.of_kind(kind)
    cells.append(keras.layers.Flatten())
    if make.often():
        cells.append(make.neurons(keras.layers.Dense(6)))
    last = keras.layers.Dense(3, name="last")
    ends_in_spikes = make.rng.random() < 0.25
    beta = make.pick(1.0, 0.5, [0.5, 0.75, 1.0])
    cells.append(make.neurons(last) if ends_in_spikes else ksbp.ReadoutCell(last, beta=beta))
    layer, steps = ksbp.SpikingRNN(ksbp.SequentialCell(cells), gradient="bptt"), 6
    if code == "free":
        sequences = images = keras.Input((None, *shape))
        inputs = make.rng.integers(-32, 33, (steps, *shape)) / 16
    else:
        images = keras.Input(shape)
        encoder = ksbp.PoissonEncoder(steps) if code == "poisson" else ksbp.ConstantEncoder(steps, scale=0.5)
        sequences = encoder(images)
        inputs = np.repeat(make.rng.integers(-16, 17, (1, *shape)) / 16, steps, axis=0)
    model = keras.Model(images, layer(sequences))
    _weighted(model, make.rng)
    return model, inputs.astype("float32")


def _weighted(model, rng):
    for part in model._flatten_layers():
        if isinstance(part, keras.layers.BatchNormalization):
            part.moving_mean.assign(rng.integers(-8, 9, part.moving_mean.shape) / 32)
            part.moving_variance.assign(4.0 ** rng.integers(-1, 2, part.gamma.shape) - part.epsilon)
            part.gamma.assign(2.0 ** rng.integers(-1, 1, part.gamma.shape))
            part.beta.assign(rng.integers(-4, 9, part.beta.shape) / 32)
        elif hasattr(part, "kernel"):
            fan_in = np.prod(part.kernel.shape[:-1])
            part.kernel.assign(
                np.round(32 * rng.normal(0.3 / fan_in**0.5, (3 / fan_in) ** 0.5, part.kernel.shape)) / 32
            )
            if part.name == "last":
                part.bias.assign(np.ones(part.bias.shape))  # it fires
            elif part.bias is not None:
                part.bias.assign(rng.integers(-2, 9, part.bias.shape) / 32)
