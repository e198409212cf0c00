"""Names of networks and data sets on the results pages."""

TITLES = {
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "svhn_cropped": "SVHN",
    "nmnist": "N-MNIST",
    "spoken_digits": "spoken digits",
    "speech": "A recurrent network",
    "lenet": "LeNet",
    "vgg7": "VGG7",
    "vgg9": "VGG9",
    "resnet7": "ResNet7",
    "resnet9": "ResNet9",
    "resnet11": "ResNet11",
    "resnet20": "ResNet20",
}
