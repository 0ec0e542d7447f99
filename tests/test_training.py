"""The layers around the gradients: their ways back beside differences, and that training learns."""

import numpy as np
import pytest

import jitconv
from jitconv.learn import training
from jitconv.learn.training import Layer


def slope(loss_of, array):
    """The gradient of a function of an array, by central differences."""
    grad = np.empty_like(array)
    for place in np.ndindex(array.shape):
        value, sides = array[place], []
        for step in (1e-6, -1e-6):
            array[place] = value + step
            sides.append(loss_of())
        array[place] = value
        grad[place] = (sides[0] - sides[1]) / 2e-6
    return grad


@pytest.mark.parametrize(
    "layer", [training.relu, training.pool, training.upsample, training.mean, training.flatten]
)
def test_ways_back_without_weights(layer, rng):
    x = rng.standard_normal((2, 3, 4, 6))
    y, back = layer(x)
    dy = rng.standard_normal(y.shape)
    np.testing.assert_allclose(
        back(dy), slope(lambda: (layer(x)[0] * dy).sum(), x), rtol=1e-6, atol=1e-8
    )


def test_pooling_of_equal_pixels_has_one_way_back():
    y, back = training.pool(np.ones((1, 1, 2, 4)))
    assert y.tolist() == [[[[1, 1]]]]
    assert back(np.array([[[[5.0, 7]]]])).tolist() == [[[[5, 0, 7, 0], [0, 0, 0, 0]]]]


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 4, 5)])
def test_losses(shape, rng):
    scores, labels = rng.standard_normal((2, *shape)), rng.integers(0, 3, (2, *shape[1:]))
    for loss, wanted in ((training.cross_entropy, labels), (training.squared_error, 0.5 * scores)):
        _, grad = loss(scores, wanted)
        expected = slope(lambda: loss(scores, wanted)[0], scores)  # noqa: B023
        np.testing.assert_allclose(grad, expected, rtol=1e-6, atol=1e-9)


def test_a_network_goes_back_through_every_layer(rng):
    w = rng.standard_normal
    x, labels = w((2, 2, 8, 8)), rng.integers(0, 3, (2, 1, 1))
    deformable = {"offset_weight": 0.1 * w((18, 4, 3, 3)), "offset_bias": 0.1 * w(18)}
    layers = [
        Layer(jitconv.conv2d, weight=w((4, 2, 3, 3)), bias=w(4), padding=1),
        training.relu,
        training.pool,
        Layer(jitconv.separable_conv2d, column=w(3), row=w(3), padding=1),
        Layer(jitconv.deformable_layer, weight=w((4, 4, 3, 3)), bias=w(4), **deformable, padding=1),
        Layer(jitconv.conv_transpose2d, weight=w((4, 2, 2, 2)), bias=w(2), stride=2),
        training.flatten,
        Layer(jitconv.pointwise_conv2d, weight=w((3, 128, 1, 1)), bias=w(3)),
    ]

    def loss():
        return training.cross_entropy(training.forward(layers, x)[0], labels)

    training.forward(layers[3:], w((1, 4, 4, 4)))  # in which the first layer is another
    y, backs = training.forward(layers, x)
    training.backward(backs, training.cross_entropy(y, labels)[1])
    learning = [layer for layer in layers if isinstance(layer, Layer)]
    assert learning[0].reports[1].parts.keys() == {"weight"}  # nothing needs the photo's gradient
    for layer in learning:
        grads = dict(layer.grads)
        for name, array in layer.arrays.items():
            some = array.reshape(-1)[:20]  # a view: a step in it is a step in the layer
            expected = slope(lambda: loss()[0], some)
            np.testing.assert_allclose(
                grads[name].reshape(-1)[:20], expected, rtol=2e-4, atol=1e-7, err_msg=name
            )


def test_it_learns_which_way_a_line_runs(rng):
    x = np.zeros((40, 1, 6, 6), np.float32)
    labels = np.arange(40) % 2
    for image, label, place in zip(x[:, 0], labels, rng.integers(0, 6, 40), strict=True):
        image[(slice(None), place)[:: 1 - 2 * label]] = 1

    def made():
        start = np.random.default_rng(1)
        first = training.weights(start, 4, 1, 3, 3)
        return [
            Layer(jitconv.conv2d, weight=first, bias=training.zeros(4)),
            training.relu,
            training.mean,
            Layer(jitconv.pointwise_conv2d, weight=training.weights(start, 2, 4, 1, 1)),
        ]

    layers, again = made(), made()
    losses = training.train(layers, x, labels[:, None, None], epochs=15, batch=7)
    assert training.train(again, x, labels[:, None, None], epochs=15, batch=7) == losses
    assert training.accuracy(layers, x, labels[:, None, None]) == 1
    costs = training.costs(layers, x[:1])
    # 4 filters × 9 taps × 16 places, and 2 × 4 weights; the first layer has no input gradient
    assert costs == (36 + 4 + 8, 576 + 8, 2 * 576 + 3 * 8)


def test_what_does_not_fit_is_said():
    layer = Layer(jitconv.conv2d, weight=np.ones((1, 1, 1, 1)))
    x = np.ones((2, 1, 2, 2))
    with pytest.raises(ValueError, match="layers: a Layer can stand in a network once"):
        training.forward([layer, layer], x)
    with pytest.raises(ValueError, match=r"labels: needs one for each place .* got \(2,\)"):
        training.train([layer], x, np.zeros(2, int), epochs=1)
    with pytest.raises(ValueError, match="labels: needs one for each place"):
        training.accuracy([layer], x, np.zeros(2, int))
    with pytest.raises(ValueError, match=r"wanted: needs the shape of the output, \(2, 1, 2, 2\)"):
        training.squared_error(x, x[:, 0])
    labels = np.array([0, 1]).reshape(2, 1, 1)
    for beyond in (labels - 1, labels + 2):
        with pytest.raises(ValueError, match="labels: must be 0 to 1, the classes of the scores"):
            training.cross_entropy(np.ones((2, 2, 1, 1)), beyond)
    with pytest.raises(ValueError, match="x: needs an even height and width"):
        training.pool(np.ones((1, 1, 4, 5)))
    with pytest.raises(ValueError, match="wanted: needs one for each of the 2 examples, got 3"):
        training.train([layer], x, np.zeros((3, 2, 2), int), epochs=1)
    with pytest.raises(ValueError, match="batch: must be at least 1, got 0"):
        training.train([layer], x, np.zeros((2, 2, 2), int), epochs=1, batch=0)


def test_a_network_that_learns_nothing_costs_nothing():
    assert training.costs([training.relu], np.ones((1, 2, 3))).training == 0
