"""What if some layers were of another kind? The saving, layer by layer and in total."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from dataclasses import replace as changed
from itertools import count
from typing import Any

from .. import checks, table
from .network import Layer, Network, Row

HEAD, ALIGN = ("layer", "multiplies", "then", "×", "weights", "then", "×"), "<>>>>>>"


@dataclass(frozen=True, repr=False)
class WhatIf:
    """A network, and the same with some layers exchanged.

    Attributes
    ----------
    before, after : Network
        Both.
    exchanged : dict of str to tuple of str
        The layers that took the place of each.
    """

    before: Network
    after: Network
    exchanged: dict[str, tuple[str, ...]]

    @property
    def saving(self) -> tuple[float, float]:
        """How many times fewer multiplies and weights the whole network has."""
        return (
            self.before.multiplies / self.after.multiplies,
            self.before.weights / self.after.weights,
        )

    def _rows(self) -> list[tuple[str, ...]]:
        new = {row.layer.name: row for row in self.after.rows}
        rows = []
        for row in self.before.rows:
            if row.layer.name in self.exchanged:
                now = [new[name] for name in self.exchanged[row.layer.name]]
                multiplies, weights = sum(r.multiplies for r in now), sum(r.weights for r in now)
                rows.append(
                    (
                        row.layer.name,
                        *_fewer(row.multiplies, multiplies),
                        *_fewer(row.weights, weights),
                    )
                )
        before, after = self.before, self.after
        totals = (
            *_fewer(before.multiplies, after.multiplies),
            *_fewer(before.weights, after.weights),
        )
        return [*rows, ("whole network", *totals)]

    def __str__(self) -> str:
        return "\n".join([self.after.name, *table.text(HEAD, self._rows(), ALIGN)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return table.html(HEAD, self._rows(), ALIGN, self.after.name)

    def to_markdown(self) -> str:
        """Return the savings as a Markdown table."""
        return table.markdown(HEAD, self._rows(), ALIGN)


def _fewer(before: int, after: int) -> tuple[str, str, str]:
    return f"{before:,}", f"{after:,}", f"{before / after:.3f}"


def whatif(
    network: Any,
    replace: str = "standard",
    by: str = "depthwise separable",
    *,
    groups: int = 2,
    keep: Collection[str] = (),
) -> WhatIf:
    """Exchange every convolution of a kind for another with the same shapes.

    Parameters
    ----------
    network : Network or jitconv.models.Measured
        What to change; it stays as it is. Of a measured model the layers that have weights are
        compared, for one image, in multiplies by formula, every tap counted.
    replace : str
        Which kind goes: 'standard', 'dilated', 'pointwise' or 'grouped'.
    by : 'depthwise separable', 'grouped' or 'standard'
        What comes. The depthwise half takes stride and padding, the pointwise one the name.
    groups : int
        Groups of grouped ones; layers whose channels they do not divide stay.
    keep : collection of str
        Names of layers that stay.

    Returns
    -------
    WhatIf
        Savings of each layer and of the network.

    Raises
    ------
    TypeError, ValueError
        If a word is another, groups is no integer of at least 1, a name in `keep` is no layer's, or
        nothing would change.

    Examples
    --------
    MobileNet is what its paper's standard twin becomes:

    >>> from jitconv.networks import mobilenet_v1
    >>> twin = mobilenet_v1(separable=False)
    >>> done = whatif(twin, keep=["conv1"])
    >>> done.after.multiplies == mobilenet_v1().multiplies, round(done.saving[0], 3)
    (True, 8.558)
    """
    if replace not in ("standard", "dilated", "pointwise", "grouped"):
        raise ValueError(
            f"replace: must be 'standard', 'dilated', 'pointwise' or 'grouped', got {replace!r}"
        )
    if by not in ("depthwise separable", "grouped", "standard"):
        raise ValueError(f"by: must be 'depthwise separable', 'grouped' or 'standard', got {by!r}")
    groups = checks.integer("groups", groups, 1)
    if not isinstance(network, Network):
        if not hasattr(network, "network"):
            raise TypeError(
                "network: must be a Network or what jitconv.measure returned, "
                f"got {type(network).__name__}"
            )
        network = network.network
    if isinstance(keep, str) or not all(isinstance(name, str) for name in keep):
        raise TypeError(f"keep: must be a list of layers' names, got {keep!r}")
    unknown = set(keep) - {layer.name for layer in network.layers}
    if unknown:
        raise ValueError(
            f"keep: {', '.join(sorted(unknown))} is no layer of {network.name}, "
            f"whose layers are {', '.join(layer.name for layer in network.layers)}"
        )
    taken = {layer.name for layer in network.layers}
    layers: list[Layer] = []
    reads: list[tuple[int, int, int]] = []
    exchanged: dict[str, tuple[str, ...]] = {}
    for row in network.rows:
        now = [row.layer]
        if row.kind == replace and row.layer.name not in keep:
            half = next(n for i in count() if (n := f"{row.layer.name}/dw{i or ''}") not in taken)
            now = list(_exchanged(row, by, groups, half))
        if now != [row.layer]:
            exchanged[row.layer.name] = tuple(layer.name for layer in now)
        layers += now
        (C, H, W), (_, OH, OW) = row.input_shapes[0], row.output_shape
        reads += [(C, H, W), (C, OH, OW)][: len(now)]
    if not exchanged:
        raise ValueError(f"replace: no {replace} layer of {network.name} can become {by}")
    name = f"{network.name}, {replace} → {by}" + f", {groups} groups" * (by == "grouped")
    if network.connected:
        after = Network(name, network.input_shape, layers)
    else:
        after = Network.of_layers(name, zip(layers, reads, strict=True))
    return WhatIf(network, after, exchanged)


def _exchanged(row: Row, by: str, groups: int, half: str) -> Iterator[Layer]:
    layer, C = row.layer, row.input_shapes[0][0]
    if by == "depthwise separable":
        yield changed(layer, name=half, channels=C, groups=C)
        yield Layer(
            layer.name,
            channels=layer.channels,
            bias=layer.bias,
            norm=layer.norm,
            relu=layer.relu,
            inputs=(half,),
        )
    elif by == "standard":
        yield changed(layer, groups=1)
    elif C % groups or layer.channels % groups:
        yield layer
    else:
        yield changed(layer, groups=groups)
