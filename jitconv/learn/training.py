"""Layers that learn: the least NumPy around `jitconv.gradients` that trains a network.

A layer is a function that takes x and returns y and the way back: a function that takes the
gradient with respect to y and returns that with respect to x. A network is a list of layers.
Its last layer's output goes into a loss, which returns a number and its gradient; from there the
ways back are taken in reverse, and every weight moves against its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .. import checks, gradients
from ..jit import limited_threads

Back = Callable[[np.ndarray], Any]


class Layer:
    """A function of jitconv that learns its arrays.

    Parameters
    ----------
    function : callable
        Such as `jitconv.conv2d`; its gradient is found by its name.
    **settings
        The arrays that it learns, as NumPy arrays, and its options, by the names of the function's
        arguments.

    Attributes
    ----------
    arrays, grads : dict of str to numpy.ndarray
        What it learns, and their gradients in the last step.
    needs_x : bool
        Whether a layer before it learns too, and needs the gradient with respect to x.
    reports : list of CostReport
        Of the last forward pass and, after a step, of the last backward one.

    Examples
    --------
    >>> import jitconv
    >>> layer = Layer(jitconv.conv2d, weight=np.ones((1, 1, 1, 2)), bias=np.zeros(1))
    >>> y, back = layer(np.array([[[[1.0, 2, 4]]]]))
    >>> y, back(np.array([[[[1.0, 10]]]]))
    (array([[[[3., 6.]]]]), array([[[[ 1., 11., 10.]]]]))
    >>> layer.grads["weight"], layer.grads["bias"]
    (array([[[[21., 42.]]]]), array([11.]))
    """

    def __init__(self, function: Callable, **settings: Any) -> None:
        self.function = function
        self.arrays = {k: v for k, v in settings.items() if isinstance(v, np.ndarray)}
        self.options = {k: v for k, v in settings.items() if k not in self.arrays}
        self.needs_x = True
        self.reports: list = []

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, Back]:
        """Return the function of x (N, C, H, W), and the way back."""
        y, report = self.function(x, **self.arrays, **self.options)
        self.reports, needs_x = [report], self.needs_x

        def back(dy: np.ndarray) -> np.ndarray | None:
            read = {name: array for name, array in self.arrays.items() if name != "bias"}
            needs = {*self.arrays, "x"} if needs_x else {*self.arrays}
            gradient = getattr(gradients, self.function.__name__)
            grads, report = gradient(dy, x, **read, **self.options, needs=needs)
            self.grads = {name: getattr(grads, name) for name in self.arrays}
            self.reports.append(report)
            return grads.x

        return y, back


def weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return random float32 weights (M, C, …) or (K,), as large as ReLU needs them.

    References
    ----------
    He et al., arXiv:1502.01852: a variance of 2 by the values that a sum takes in.
    """
    return rng.normal(0, np.sqrt(2 / np.prod(shape[1:] or shape)), shape).astype(np.float32)


def zeros(*shape: int) -> np.ndarray:
    """Return float32 zeros, of which a bias is made."""
    return np.zeros(shape, np.float32)


def relu(x: np.ndarray) -> tuple[np.ndarray, Back]:
    """Keep what is positive."""
    return np.maximum(x, 0), lambda dy: dy * (x > 0)


def pool(x: np.ndarray) -> tuple[np.ndarray, Back]:
    """Keep the largest of each 2×2 pixels, the first of them if several are as large."""
    if x.shape[2] % 2 or x.shape[3] % 2:
        raise ValueError(f"x: needs an even height and width for 2×2 pixels, got shape {x.shape}")
    places = [np.s_[:, :, i::2, j::2] for i, j in np.ndindex(2, 2)]
    cells = np.stack([x[place] for place in places])
    largest = cells.argmax(axis=0)

    def back(dy: np.ndarray) -> np.ndarray:
        dx = np.zeros_like(x)
        for number, place in enumerate(places):
            dx[place] = dy * (largest == number)
        return dx

    return cells.max(axis=0), back


def upsample(x: np.ndarray) -> tuple[np.ndarray, Back]:
    """Repeat each pixel 2×2 times."""
    N, C, H, W = x.shape
    y = x.repeat(2, axis=2).repeat(2, axis=3)
    return y, lambda dy: dy.reshape(N, C, H, 2, W, 2).sum(axis=(3, 5))


def mean(x: np.ndarray) -> tuple[np.ndarray, Back]:
    """Take the mean of each channel, (N, C, 1, 1)."""
    y = x.mean(axis=(2, 3), keepdims=True)
    return y, lambda dy: np.broadcast_to(dy / (x.shape[2] * x.shape[3]), x.shape).copy()


def flatten(x: np.ndarray) -> tuple[np.ndarray, Back]:
    """Make every pixel a channel, (N, C·H·W, 1, 1), as a fully connected layer reads them."""
    return x.reshape(len(x), -1, 1, 1), lambda dy: dy.reshape(x.shape)


def _fitting(scores: np.ndarray, labels: np.ndarray) -> None:
    if labels.shape != (scores.shape[0], *scores.shape[2:]):
        raise ValueError(
            f"labels: needs one for each place of the scores {scores.shape}, got {labels.shape}"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < scores.shape[1]:
        raise ValueError(
            f"labels: must be 0 to {scores.shape[1] - 1}, the classes of the scores, "
            f"got {labels.min()} to {labels.max()}"
        )


def cross_entropy(scores: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Return how little scores (N, classes, OH, OW) expect labels (N, OH, OW), and the gradient."""
    _fitting(scores, labels)
    shifted = scores - scores.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    likely, at = np.exp(logs), np.expand_dims(labels, 1)
    loss = -np.take_along_axis(logs, at, 1).mean()
    right = np.arange(scores.shape[1]).reshape(-1, *[1] * (labels.ndim - 1)) == at
    return float(loss), (likely - right).astype(scores.dtype) / labels.size


def squared_error(y: np.ndarray, wanted: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean of the squared differences, and its gradient."""
    if y.shape != wanted.shape:
        raise ValueError(f"wanted: needs the shape of the output, {y.shape}, got {wanted.shape}")
    return float(((y - wanted) ** 2).mean()), 2 * (y - wanted) / y.size


def forward(layers: Sequence[Callable], x: np.ndarray) -> tuple[np.ndarray, list[Back]]:
    """Return what the last layer makes of x, and every layer's way back."""
    learning, backs = [layer for layer in layers if isinstance(layer, Layer)], []
    if len(set(map(id, learning))) < len(learning):
        raise ValueError("layers: a Layer can stand in a network once")
    for learner in learning:
        learner.needs_x = learner is not learning[0]
    for layer in layers:
        x, back = layer(x)
        backs.append(back)
    return x, backs


def backward(backs: list[Back], dy: np.ndarray) -> None:
    """Go all the ways back, from the last to the first layer that learns."""
    while backs and dy is not None:
        dy = backs.pop()(dy)


one_thread = partial(limited_threads, 1)  # a context, or the decorator of a function


@one_thread()
def train(
    layers: Sequence[Callable],
    x: np.ndarray,
    wanted: np.ndarray,
    loss: Callable = cross_entropy,
    *,
    epochs: int,
    batch: int = 32,
    rate: float = 0.01,
    seed: int = 0,
) -> list[float]:
    """Train the layers by Adam (Kingma and Ba, arXiv:1412.6980), and return each epoch's mean loss.

    The loops run on one thread: on maps as small as in a lesson, more of them only wait.

    Parameters
    ----------
    layers : sequence of callable
        `Layer`, `relu`, …; the arrays of the former are changed.
    x, wanted : numpy.ndarray (N, …)
        Examples, and the labels or images that should come of them.
    loss : callable
        `cross_entropy` or `squared_error`.
    epochs, batch, rate, seed
        How often all examples are seen, how many at once, how far a step goes, in which order.

    Returns
    -------
    list of float

    Raises
    ------
    ValueError
        If x and `wanted` are not as many, or none, or a batch holds no example.
    """
    if not 0 < len(x) == len(wanted):
        raise ValueError(f"wanted: needs one for each of the {len(x)} examples, got {len(wanted)}")
    batch = checks.integer("batch", batch, 1)
    learning = [layer for layer in layers if isinstance(layer, Layer)]
    moments = [{k: (0 * a, 0 * a) for k, a in layer.arrays.items()} for layer in learning]
    order, losses, step = np.random.default_rng(seed), [], 0
    for _ in range(epochs):
        total = 0.0
        for some in np.array_split(order.permutation(len(x)), -(-len(x) // batch)):
            y, backs = forward(layers, x[some])
            value, dy = loss(y, wanted[some])
            backward(backs, dy)
            total, step = total + value * len(some), step + 1
            for layer, moment in zip(learning, moments, strict=True):
                for name, grad in layer.grads.items():
                    m, v = moment[name]
                    m += 0.1 * (grad - m)  # the mean of its gradients
                    v += 0.001 * (grad**2 - v)  # and of their squares
                    size = np.sqrt(v / (1 - 0.999**step)) + 1e-8
                    layer.arrays[name] -= rate * m / (1 - 0.9**step) / size
        losses.append(total / len(x))
    return losses


def accuracy(layers: Sequence[Callable], x: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of the labels (N, OH, OW) that have the highest score."""
    scores, _ = forward(layers, x)
    _fitting(scores, labels)
    return float((scores.argmax(axis=1) == labels).mean())


class Costs(NamedTuple):
    """What a network holds, and what it multiplies for one example.

    Attributes
    ----------
    parameters : int
    inference, training : int
        Measured multiplies of a pass forward, and of one forward and back.
    """

    parameters: int
    inference: int
    training: int


def costs(layers: Sequence[Callable], x: np.ndarray) -> Costs:
    """Return what the layers cost for one example (1, C, H, W), measured."""
    y, backs = forward(layers, x)
    backward(backs, y)
    learning = [layer for layer in layers if isinstance(layer, Layer)]
    return Costs(
        sum(array.size for layer in learning for array in layer.arrays.values()),
        sum(layer.reports[0].multiplies for layer in learning),
        sum(report.multiplies for layer in learning for report in layer.reports),
    )
