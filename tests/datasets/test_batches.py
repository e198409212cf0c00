"""The order of the data, and its randomness, follow from seed and epoch."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_bp.datasets import Batches


def numbers(n=12, batch_size=4, seed=0, transform=None):
    """Example i is the number i, its label 100 + i."""
    return Batches(np.arange(n), 100 + np.arange(n), batch_size, transform, seed)


def noise(example, seed):
    """Adds a random number below 1: order and randomness can both be seen."""
    return tf.cast(example, tf.float32) + tf.random.stateless_uniform([], seed)


def seen(dataset):
    """All examples of a data set, in their order."""
    return np.concatenate([x.numpy() for x, _ in dataset])


def test_order_and_randomness_follow_from_seed_and_epoch():
    used = numbers(seed=5, transform=noise)
    seen(used.epoch(0))
    tf.random.set_seed(99)
    fresh = numbers(seed=5, transform=noise)
    np.testing.assert_array_equal(seen(used.epoch(3)), seen(fresh.epoch(3)))
    order = np.floor(seen(fresh.epoch(3)))
    assert (np.floor(seen(fresh.epoch(4))) != order).any()
    assert (np.floor(seen(numbers(seed=6, transform=noise).epoch(3))) != order).any()


def test_each_example_once_an_epoch_with_its_label():
    for epoch in range(3):
        examples, labels = zip(*numbers().epoch(epoch), strict=True)
        assert [len(x) for x in examples] == [4, 4, 4]
        assert sorted(np.concatenate(examples)) == list(range(12))
        np.testing.assert_array_equal(np.concatenate(labels), 100 + np.concatenate(examples))


def test_what_the_last_full_batch_leaves_over_comes_in_another_epoch():
    batches = numbers(n=11)
    assert batches.steps_per_epoch == 2
    epochs = [seen(batches.epoch(epoch)).tolist() for epoch in range(5)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert set().union(*epochs) == set(range(11))


def test_epochs_from_the_middle_of_the_first():
    batches = numbers(transform=noise)
    together = batches.epochs(2, 4, first_batch=2)
    assert together.cardinality() == 4
    np.testing.assert_array_equal(seen(together), np.concatenate([seen(batches.epoch(2, 2)), seen(batches.epoch(3))]))


def test_the_description_tells_data_apart():
    names = np.array(["a.png", "b.png", "c.png"])
    data = [np.arange(3.0), np.array([0.0, 1, 3]), np.arange(3), names, names[::-1]]
    descriptions = [Batches(x, np.zeros(3), 1).description() for x in data]
    assert all(one != other for i, one in enumerate(descriptions) for other in descriptions[:i])
    assert Batches(names.copy(), np.zeros(3), 1).description() == descriptions[3]
    assert Batches(names, np.ones(3), 1).description() != descriptions[3]
    for other in (Batches(names, np.zeros(3), 3), Batches(names, np.zeros(3), 1, seed=1)):
        assert other.description() != descriptions[3]


def test_randomness_differs_between_epochs_and_between_examples():
    def of_epoch(epoch):
        return np.sort(seen(numbers(transform=noise).epoch(epoch))) % 1

    assert len(set(of_epoch(0))) == 12
    assert (of_epoch(0) != of_epoch(1)).all()


def test_several_inputs_are_a_dictionary():
    """Order and randomness are those of one input; every input of an example stays with the others."""
    inputs = {"b": np.arange(12), "a": np.arange(24).reshape(12, 2)}
    both = list(Batches(inputs, 100 + np.arange(12), 4, seed=5).epoch(3))
    for (x, labels), (alone, _) in zip(both, numbers(seed=5).epoch(3), strict=True):
        np.testing.assert_array_equal(x["b"], alone)
        np.testing.assert_array_equal(x["a"], np.stack([2 * alone, 2 * alone + 1], axis=1))
        np.testing.assert_array_equal(labels, 100 + alone)
    transformed = Batches(inputs, np.arange(12), 4, lambda x, seed: {**x, "b": noise(x["b"], seed)}, seed=5)
    expected = [x.numpy() for x, _ in numbers(seed=5, transform=noise).epoch(3)]
    np.testing.assert_array_equal([x["b"] for x, _ in transformed.epoch(3)], expected)
    changed = {**inputs, "a": inputs["a"] + 1}
    descriptions = [Batches(examples, np.arange(12), 4).description() for examples in (inputs, dict(inputs), changed)]
    assert descriptions[0] == descriptions[1] != descriptions[2]


def test_paths():
    names = ["a.png", "b/c.png"]
    paths = Batches([Path(name) for name in names], [0, 1], 2)
    assert paths.description() == Batches(names, [0, 1], 2).description()
    (x, labels), *_ = paths.epoch(0)
    assert [names[label].encode() for label in labels] == list(x.numpy())


@pytest.mark.parametrize(("make", "argument"), [
    (lambda: Batches(np.zeros(3), np.zeros(2), 1), "`y`"),
    (lambda: Batches({"a": np.zeros(3), "b": np.zeros(2)}, np.zeros(3), 1), "`y`"),
    (lambda: Batches([np.zeros((3, 4))] * 2, np.zeros(3), 1), "dictionary"),
    (lambda: numbers(batch_size=13), "`batch_size`"),
    (lambda: numbers(batch_size=0), "`batch_size`"),
])  # fmt: skip
def test_refused(make, argument):
    with pytest.raises(ValueError, match=argument):
        make()
