"""A network as data: layers with their sizes, weights and multiplies, by formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from .. import checks, shapes, table
from ..costs import formulas
from ..costs.formula import Costs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What the first output sees, along each axis: from which pixel on, up to which, and how many
# pixels further the next one looks.
View = tuple[tuple[int, int, int], ...]

POOLS, JOINS = ("max pool", "average pool"), ("add", "concatenate")
CONV = {"channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias", "norm"}
POOL = {"kernel_size", "stride", "padding", "ceil"}
TAKES = {  # besides name, operation, relu and inputs
    "conv": CONV,
    "transposed": CONV | {"output_padding"},
    "linear": {"channels", "bias", "norm"},
    "max pool": POOL,
    "average pool": POOL,
    "global average pool": set(),
    "add": set(),
    "concatenate": set(),
    "shuffle": {"groups"},
}


@dataclass(frozen=True)
class Layer:
    """A row of a paper's table.

    Attributes
    ----------
    name : str
        What other layers call it.
    operation : str
        'conv', 'transposed', 'linear' (a 1×1 convolution of the flattened input), 'max pool',
        'average pool', 'global average pool', 'add', 'concatenate' or 'shuffle'.
    channels : int
        Output channels of a convolution.
    kernel_size, stride, padding, dilation, groups, output_padding
        As in `conv2d`, `conv_transpose2d` and `max_pool2d`; a shuffle takes `groups` alone.
    bias, norm, relu : bool
        Whether a convolution has a bias, batch normalisation, and a ReLU behind it.
    ceil : bool
        Whether a pooling that does not fit gets one more output.
    inputs : tuple of str
        Layers that it reads; the layer before it, or the image, where there is none.
    """

    name: str
    operation: str = "conv"
    channels: int = 0
    kernel_size: Any = 1
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1
    output_padding: Any = 0
    bias: bool = False
    norm: bool = False
    relu: bool = False
    ceil: bool = False
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A layer in its place in a network, for one image.

    Attributes
    ----------
    layer : Layer
        What the network was given.
    input_shapes : tuple of (C, H, W)
        Of each layer that it reads.
    output_shape : (C, H, W)
        Of its output.
    window : Window or None
        The geometry of a convolution or pooling.
    costs : dict of str to int
        "parameters" (its kernel's weights), "document", "dense" and "in bounds" of a convolution;
        empty for another layer.
    receptive_field : int or None
        How many pixels of the image it sees on each side; None for a whole image, where it is no
        square, and behind a transposed convolution.
    """

    layer: Layer
    input_shapes: tuple[tuple[int, int, int], ...]
    output_shape: tuple[int, int, int]
    window: shapes.Window | None = None
    costs: dict[str, int] = field(default_factory=dict)
    receptive_field: int | None = None

    @property
    def kind(self) -> str:
        """The variant of a convolution, with its kernel where that tells more, or the operation."""
        layer, C = self.layer, self.input_shapes[0][0]
        if layer.operation != "conv" or self.window is None:
            return layer.operation
        if layer.groups == C > 1:
            return "depthwise"
        if layer.groups > 1:
            return "grouped"
        if self.window.kernel == (1, 1):
            return "pointwise"
        return "dilated" if self.window.dilation != (1, 1) else "standard"

    @property
    def label(self) -> str:
        """The layer's name."""
        return self.layer.name

    @property
    def weights(self) -> int:
        """Weights of the kernel."""
        return self.costs.get("parameters", 0)

    @property
    def parameters(self) -> int:
        """Weights, biases, and gamma and beta of a batch normalisation."""
        return (
            self.weights + (bool(self.layer.bias) + 2 * bool(self.layer.norm)) * self.layer.channels
        )

    @property
    def multiplies(self) -> int:
        """Every tap of every output; for a transposed convolution, of every input."""
        name = "document" if self.layer.operation == "transposed" else "dense"
        return self.costs.get(name, 0)


class Network:
    """Layers, each reading the one before it or those that it names.

    Parameters
    ----------
    name : str
        What to call it.
    input_shape : (C, H, W)
        Of one image.
    layers : iterable of Layer
        In an order in which they can run.

    Raises
    ------
    TypeError, ValueError
        If a layer is ill-formed, has a name that is taken, reads one that is not above it, or does
        not fit what it reads.

    Examples
    --------
    >>> layers = Layer("a", channels=4, kernel_size=3), Layer("b", channels=2)
    >>> network = Network("two", (3, 8, 8), layers)
    >>> network.weights, network.multiplies, network.rows[-1].output_shape
    (116, 4176, (2, 6, 6))
    """

    # What reads a network stands above it, and is made its method in `jitconv.networks`.
    run: Callable[..., Any]
    published: Any
    reconcile: Callable[..., Any]

    def __init__(self, name: str, input_shape: Sequence[int], layers: Iterable[Layer]):
        if not hasattr(input_shape, "__len__") or len(input_shape) != 3:
            raise ValueError(f"input_shape: must be (C, H, W), got {input_shape!r}")
        self.name = name
        self.input_shape = tuple(checks.integer("input_shape", n, 1) for n in input_shape)
        # of each output: its shape, and what it sees
        places: dict[str, tuple[tuple[int, ...], View | None]] = {
            "": (self.input_shape, ((0, 1, 1), (0, 1, 1)))
        }
        rows, before = [], ""
        for layer in layers:
            if not isinstance(layer, Layer) or isinstance(layer.inputs, str):
                raise TypeError(f"layers: must be Layers with a tuple of inputs, got {layer!r}")
            if not layer.name or layer.name in places:
                raise ValueError(f"{layer.name!r}: must be a name of its own")
            reads = layer.inputs or (before,)
            for read in reads:
                if read not in places:
                    raise ValueError(f"{layer.name}: reads {read!r}, which is no layer above it")
            try:
                row, view = _place(layer, [places[read] for read in reads])
            except (TypeError, ValueError) as error:
                raise type(error)(f"{layer.name}: {error}") from None
            places[layer.name] = row.output_shape, view
            rows.append(row)
            before = layer.name
        if not rows:
            raise ValueError("layers: must hold at least one")
        self.rows: tuple[Row, ...] = tuple(rows)
        self.connected = True

    @classmethod
    def of_layers(cls, name: str, layers: Iterable[tuple[Layer, tuple[int, int, int]]]) -> Network:
        """Return a network of layers whose connections are not known: it can be costed, not run.

        Parameters
        ----------
        name : str
            What to call it.
        layers : iterable of (Layer, (C, H, W))
            Each with the shape that it reads.

        Examples
        --------
        >>> two = Network.of_layers("two", [(Layer("a", channels=4), (3, 8, 8))] * 2)
        >>> two.multiplies, two.connected
        (1536, False)
        """
        network = cls.__new__(cls)
        network.name, network.connected = name, False
        network.rows = tuple(_place(layer, [(shape, None)])[0] for layer, shape in layers)
        network.input_shape = network.rows[0].input_shapes[0] if network.rows else ()
        return network

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What the network was made of."""
        return tuple(row.layer for row in self.rows)

    @property
    def weights(self) -> int:
        """Weights of all kernels, fully connected layers included."""
        return sum(row.weights for row in self.rows)

    @property
    def parameters(self) -> int:
        """What is learned: weights, biases, and gamma and beta of batch normalisations."""
        return sum(row.parameters for row in self.rows)

    @property
    def parameters_with_running_stats(self) -> int:
        """Parameters, and running mean and variance of batch normalisations."""
        return self.parameters + sum(2 * layer.channels for layer in self.layers if layer.norm)

    @property
    def multiplies(self) -> int:
        """Dense multiplies of one image, fully connected layers included."""
        return sum(row.multiplies for row in self.rows)

    @property
    def multiplies_in_bounds(self) -> int:
        """Multiplies of one image on its pixels: none on padding, none that is cropped."""
        return sum(row.costs.get("in bounds", 0) for row in self.rows)

    @property
    def conv_multiplies(self) -> int:
        """Dense multiplies of one image in convolutions alone."""
        return sum(row.multiplies for row in self.rows if row.layer.operation != "linear")

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """Return the multiplies and weights of each kind of layer, the largest first."""
        kinds: dict[str, tuple[int, int]] = {}
        for row in self.rows:
            if row.costs:
                multiplies, weights = kinds.get(row.kind, (0, 0))
                kinds[row.kind] = multiplies + row.multiplies, weights + row.weights
        return dict(sorted(kinds.items(), key=lambda item: -item[1][0]))

    def plot(self) -> Figure:
        """Draw the multiplies and weights of each layer, coloured by its kind."""
        from ..plots.networks import plot_network

        return plot_network(self)

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
        head = ("layer", "kind", "kernel", "output", "sees", "parameters", "document's", "dense")
        rows = []
        for row in self.rows:
            kernel = "×".join(map(str, row.window.kernel)) if row.window else ""
            stride = row.window.stride if row.window else (1, 1)
            kernel += f" /{stride[0]}" if max(stride) > 1 else ""
            counts = [row.parameters, row.costs.get("document", 0), row.multiplies]
            numbers = [f"{count:,}" for count in [*counts, row.costs.get("in bounds", 0)]]
            sees = "" if row.receptive_field is None else f"{row.receptive_field}"
            shape = "×".join(map(str, row.output_shape))
            shown = numbers if row.costs else [""] * 4
            rows.append((row.layer.name, row.kind, kernel, shape, sees, *shown))
        totals = (self.parameters, None, self.multiplies, self.multiplies_in_bounds)
        shown = ["" if total is None else f"{total:,}" for total in totals]
        rows.append(("total", "", "", "", "", *shown))
        return (*head, "in bounds"), rows, "<<<<>>>>>"

    def __str__(self) -> str:
        return "\n".join([self.title, *table.text(*self._table(), width=140)])

    def __repr__(self) -> str:
        return f"<Network {self.title}>"

    @property
    def title(self) -> str:
        """Name, input and totals on a line."""
        shape = "×".join(map(str, self.input_shape))
        return (
            f"{self.name}, {shape}: {self.parameters:,} parameters, {self.multiplies:,} multiplies"
        )

    def _repr_html_(self) -> str:
        return table.html(*self._table(), self.title)

    def to_markdown(self) -> str:
        """Return the layers as a Markdown table."""
        return "\n\n".join([self.title, table.markdown(*self._table())])

    def to_dict(self) -> dict[str, Any]:
        """Return the network as plain values that `json.dump` takes."""
        rows = [
            {
                "name": row.layer.name,
                "kind": row.kind,
                "input_shapes": row.input_shapes,
                "output_shape": row.output_shape,
                "receptive_field": row.receptive_field,
                "weights": row.weights,
                "parameters": row.parameters,
                "multiplies": {name: n for name, n in row.costs.items() if name != "parameters"},
            }
            for row in self.rows
        ]
        totals = (
            "weights",
            "parameters",
            "parameters_with_running_stats",
            "multiplies",
            "conv_multiplies",
        )
        return {
            "name": self.name,
            "input_shape": self.input_shape,
            **{name: getattr(self, name) for name in totals},
            "layers": rows,
        }


def summary(networks: Mapping[str, Network]) -> list[str]:
    """Return a table of networks, a line each: totals, and the share of each kind of layer.

    Examples
    --------
    >>> layers = Layer("a", channels=4, kernel_size=3), Layer("b", channels=2)
    >>> network = Network("two", (3, 8, 8), layers)
    >>> summary({"two": network})[1].split()
    ['two', '3×8×8', '116', '116', '4,176', '4,176', 'standard', '93%,', 'pointwise', '7%']
    """
    head = ("network", "input", "weights", "parameters", "multiplies", "in bounds", "multiplies in")
    rows = []
    for name, network in networks.items():
        shares = ", ".join(
            f"{kind} {multiplies / network.multiplies:.0%}"
            for kind, (multiplies, _) in network.by_kind().items()
            if multiplies >= 0.01 * network.multiplies
        )
        totals = (
            network.weights,
            network.parameters,
            network.multiplies,
            network.multiplies_in_bounds,
        )
        shape = "×".join(map(str, network.input_shape))
        rows.append((name, shape, *(f"{total:,}" for total in totals), shares))
    return table.text(head, rows, "<<>>>><", width=150)


def _seen(view: View | None) -> int | None:
    """Return how many pixels high and wide a view is, if it is a square."""
    sizes = {end - begin for begin, end, _ in view or ()}
    return sizes.pop() if len(sizes) == 1 else None


def _place(layer: Layer, reads: list[tuple]) -> tuple[Row, View | None]:
    """Return the layer's row, and what its first output sees."""
    inputs, views = zip(*reads, strict=True)
    view = None
    if None not in views:  # all that its inputs see
        view = tuple(
            (min(begins), max(ends), max(steps))
            for begins, ends, steps in (
                zip(*axis, strict=True) for axis in zip(*views, strict=True)
            )
        )
    (C, H, W), operation = inputs[0], layer.operation
    if operation not in TAKES:
        raise ValueError(f"operation: must be one of {', '.join(TAKES)}, got {operation!r}")
    for option in fields(layer):
        taken = option.name in TAKES[operation] | {"name", "operation", "relu", "inputs"}
        if not taken and getattr(layer, option.name) != option.default:
            raise ValueError(f"{option.name}: {operation} takes none, leave it out")
    if operation in JOINS:
        sizes = {shape[operation == "concatenate" :] for shape in inputs}
        if len(sizes) > 1:
            raise ValueError(f"inputs: must be of one size, got {', '.join(map(str, inputs))}")
        M = sum(shape[0] for shape in inputs) if operation == "concatenate" else C
        return Row(layer, inputs, (M, H, W), receptive_field=_seen(view)), view
    if len(inputs) > 1:
        raise ValueError(f"inputs: must be one layer, got {', '.join(layer.inputs)}")
    if operation == "shuffle":
        checks.divides("groups", checks.integer("groups", layer.groups, 1), C, "the input channels")
        return Row(layer, inputs, inputs[0], receptive_field=_seen(view)), view
    if operation == "global average pool":
        return Row(layer, inputs, (C, 1, 1)), None

    if operation in POOLS:
        window = _pool_window(layer, (H, W))
        costs, M = {}, C
    else:
        M = checks.integer("channels", layer.channels, 1)
        window, found = _cost(layer, C, M, (H, W))
        names = ("parameters", "document", "dense", "in bounds")
        costs = {name: int(found[name].value) for name in names}
    if operation in ("transposed", "linear"):
        view = None
    if view is not None:
        axes = zip(view, window.kernel, window.stride, window.dilation, window.padding, strict=True)
        view = tuple(
            (begin - before * step, end + ((K - 1) * D - before) * step, step * S)
            for (begin, end, step), K, S, D, (before, _) in axes
        )
    return Row(layer, inputs, (M, *window.output), window, costs, _seen(view)), view


def _pool_window(layer: Layer, size: tuple[int, int]) -> shapes.Window:
    options = layer.kernel_size, layer.stride
    window = shapes.window(size, *options, layer.padding)
    if not layer.ceil:
        return window
    ends = []
    for length, kernel, stride, (before, after) in zip(
        size, window.kernel, window.stride, window.padding, strict=True
    ):
        last = -(-(length + before + after - kernel) // stride) * stride
        last -= stride * (last >= length + before)  # it must begin before the image ends
        ends.append((before, max(after, last + kernel - length - before)))
    return shapes.window(size, *options, ends)


def _cost(layer: Layer, C: int, M: int, size: tuple[int, int]) -> tuple[shapes.Window, Costs]:
    if layer.operation == "linear":
        window = shapes.window(1, 1)
        return window, formulas.pointwise(1, C * math.prod(size), M, window)
    groups = checks.integer("groups", layer.groups, 1)
    checks.divides("groups", groups, C, "the input channels")
    checks.divides("groups", groups, M, "the output channels")
    options = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    if layer.operation == "transposed":
        window = shapes.transposed_window(size, *options, layer.output_padding)
        return window, formulas.transposed(1, C, M, window, groups=groups)
    window = shapes.window(size, *options)
    if groups > 1:
        return window, formulas.grouped(1, C, M, window, groups=groups)
    return window, formulas.standard(1, C, M, window)
