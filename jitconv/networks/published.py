"""Figures that papers and libraries print, and the convention that gives each of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from .. import table
from .network import Network
from .zoo import squeezenet

UNITS: dict[str, int | Fraction] = {"": 1, "K": 1000, "M": 10**6, "G": 10**9, "%": Fraction(1, 100)}
BURDEN = "not reproduced: counts biases, element-wise work and pooling as well"
MORE = "not reproduced: it is more than the multiplies, perhaps by element-wise work"
CHANNELS = "does not follow from the channels that the table lists"
HEAD, ALIGN = ("source", "prints", "about", "exact", "convention"), "<><><"


class Printed(NamedTuple):
    """A figure as it was printed.

    Attributes
    ----------
    source : str
        Where it stands.
    text : str
        The figure and its unit: "569 M", "94.86 %", "1,248,424".
    of : str
        'multiplies' or 'parameters', or the share of either.
    part : str
        The kind of layer, or the layers (by name, or what stands before a '/'), that it is about;
        the network where it is empty.
    why : str
        Why no convention gives it, where none does.
    setting : str
        How that network differed from this one.
    build : callable, optional
        Returns that network.
    """

    source: str
    text: str
    of: str
    part: str = ""
    why: str = ""
    setting: str = ""
    build: Callable[[], Network] | None = None


class Reconciled(NamedTuple):
    """A printed figure beside the exact one.

    Attributes
    ----------
    printed : Printed
        What was printed.
    exact : int, fractions.Fraction or None
        What rounds, or is cut, to the printed figure; None where nothing does.
    convention : str
        What was counted; or why nothing gives the figure.
    """

    printed: Printed
    exact: int | Fraction | None
    convention: str


class Reconciliation(tuple[Reconciled, ...]):
    """All printed figures of a network, shown as a table."""

    title = "published figures"

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for printed, exact, convention in self:
            if isinstance(exact, Fraction):
                shown = f"{float(exact):.3%}"
            else:
                shown = "–" if exact is None else f"{exact:,}"
            of = f"{printed.of}, {printed.part}" if printed.part else printed.of
            rows.append((printed.source, printed.text, of, shown, convention))
        return rows

    def __str__(self) -> str:
        return "\n".join(table.text(HEAD, self._rows(), ALIGN, width=150))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return table.html(HEAD, self._rows(), ALIGN, self.title)

    def to_markdown(self) -> str:
        """Return the figures as a Markdown table."""
        return table.markdown(HEAD, self._rows(), ALIGN)


def published(network: Network) -> tuple[Printed, ...]:
    """Return what is printed of a network, found by its name and input; often nothing.

    Examples
    --------
    >>> from jitconv.networks import mobilenet_v1
    >>> mobilenet_v1().published[0].text
    '569 M'
    """
    width = network.input_shape[-1] if network.rows else 0
    return FIGURES.get((network.name, width), ())


def reconcile(network: Network) -> Reconciliation:
    """Say for each printed figure of a network which convention gives it.

    Multiplies are tried with and without fully connected layers, and as two FLOPs each; parameters
    as weights, with biases and batch normalisation, and with its running statistics; a K also as
    1024. A figure is given if the exact number rounds to it, or is cut to it.

    Examples
    --------
    >>> from jitconv.networks import mobilenet_v1
    >>> for printed, exact, convention in reconcile(mobilenet_v1())[:2]:
    ...     print(printed.text, exact, convention)
    569 M 568740352 multiplies
    4.2 M 4209088 weights alone or weights, biases, gammas, betas
    """
    return Reconciliation(_reconcile(network, printed) for printed in published(network))


def _reconcile(network: Network, printed: Printed) -> Reconciled:
    if printed.build:
        network = printed.build()
    found: dict[str, int | Fraction] = {}
    for name, exact in _conventions(network, printed).items():
        if exact not in found.values():
            found |= {f"{name}{words}": exact for words in _readings(printed.text, exact)}
    if not found:
        return Reconciled(printed, None, printed.why or "none is known")
    whole = [name for name in found if not name.endswith((", cut", "1024"))] or list(found)
    convention = " or ".join(whole[:2]) + (f", {printed.setting}" if printed.setting else "")
    return Reconciled(printed, found[whole[0]], convention)


def _conventions(network: Network, printed: Printed) -> dict[str, int | Fraction]:
    def mine(row) -> bool:
        return printed.part in ("", row.kind, row.layer.name, row.layer.name.split("/")[0])

    rows = [row for row in network.rows if mine(row)]
    multiplies, weights = sum(r.multiplies for r in rows), sum(r.weights for r in rows)
    if printed.of == "share of multiplies":
        return {"share of all multiplies": Fraction(multiplies, network.multiplies)}
    if printed.of == "share of parameters":
        return {"share of all weights": Fraction(weights, network.weights)}
    if printed.of == "parameters" and printed.part:
        return {"weights": weights}
    if printed.of == "parameters":
        learned = sum(row.parameters for row in rows)
        moving = sum(2 * row.layer.channels for row in rows if row.layer.norm)
        biases = "biases" if any(row.layer.bias for row in rows) else ""
        norms = "gammas, betas" if moving else ""
        names = ", ".join(name for name in ("weights", biases, norms) if name)
        return {
            "weights alone": weights,
            names: learned,
            f"{names}, running means and variances": learned + moving,
        }
    alone = sum(row.multiplies for row in rows if row.layer.operation != "linear")
    return {
        "multiplies": multiplies,
        "multiplies of convolutions": alone,
        "two FLOPs a multiply": 2 * multiplies,
        "two FLOPs a multiply of convolutions": 2 * alone,
    }


def _readings(text: str, exact: int | Fraction) -> list[str]:
    """Return in which ways the printed text is that number."""
    number, _, unit = text.partition(" ")
    number = number.replace(",", "")
    value, decimals = Fraction(number), len(number.partition(".")[2])
    units: dict[str, int | Fraction] = {"": UNITS[unit]}
    if unit == "K":
        units[", K = 1024"] = 1024
    readings = []
    for words, size in units.items():
        scaled = Fraction(exact) / size * 10**decimals
        if math.floor(scaled + Fraction(1, 2)) == value * 10**decimals:
            readings.append(words)
        elif math.floor(scaled) == value * 10**decimals:
            readings.append(f"{words}, cut")
    return readings


def _padded_squeezenet() -> Network:
    network = squeezenet(resolution=227)
    layers = [replace(v, padding=1) if v.name == "conv10" else v for v in network.layers]
    return Network("SqueezeNet 1.0, conv10 padded", network.input_shape, layers)


def _mobilenet() -> tuple[Printed, ...]:
    paper = "Howard et al., arXiv:1704.04861, "
    shares = {
        "pointwise": ("94.86 %", "74.59 %"),
        "depthwise": ("3.06 %", "1.06 %"),
        "standard": ("1.19 %", "0.02 %"),
        "linear": ("0.18 %", "24.33 %"),
    }
    misprint = "misprint of 1.91 %: with it the column sums to 100"
    rows = []
    for kind, (multiplies, parameters) in shares.items():
        rows.append(Printed(f"{paper}Table 2", multiplies, "share of multiplies", kind, misprint))
        rows.append(Printed(f"{paper}Table 2", parameters, "share of parameters", kind))
    return (
        Printed(f"{paper}Table 4", "569 M", "multiplies"),
        Printed(f"{paper}Table 4", "4.2 M", "parameters"),
        *rows,
        Printed("Keras", "4,253,864", "parameters"),
    )


def _googlenet() -> tuple[Printed, ...]:
    paper = "Szegedy et al., arXiv:1409.4842, Table 1"
    factored = "printed for a factored kernel, 7×1 and 1×7; a 7×7 one has more"
    printed = {
        "conv1": ("2.7 K", "34 M"),
        "conv2": ("112 K", "360 M"),
        "3a": ("159 K", "128 M"),
        "3b": ("380 K", "304 M"),
        "4a": ("364 K", "73 M"),
        "4b": ("437 K", "88 M"),
        "4c": ("463 K", "100 M"),
        "4d": ("580 K", "119 M"),
        "4e": ("840 K", "170 M"),
        "5a": ("1072 K", "54 M"),
        "5b": ("1388 K", "71 M"),
        "fc": ("1000 K", "1 M"),
    }
    rows = []
    for part, (parameters, multiplies) in printed.items():
        why = factored if part == "conv1" else CHANNELS
        rows.append(Printed(paper, parameters, "parameters", part, why))
        rows.append(Printed(paper, multiplies, "multiplies", part, why))
    return (
        Printed("Caffe's model", "6,998,552", "parameters"),
        Printed("Szegedy et al., arXiv:1409.4842", "1.5 G", "multiplies"),
        Printed("Howard et al., arXiv:1704.04861, Table 8", "1550 M", "multiplies"),
        *rows,
    )


HE, XIE = "He et al., arXiv:1512.03385, Table 1", "Xie et al., arXiv:1611.05431, Table 1"
FIGURES: dict[tuple[str, int], tuple[Printed, ...]] = {
    ("MobileNet v1", 224): _mobilenet(),
    ("Conv MobileNet v1", 224): (
        Printed("Howard et al., arXiv:1704.04861, Table 4", "4866 M", "multiplies"),
        Printed("Howard et al., arXiv:1704.04861, Table 4", "29.3 M", "parameters"),
    ),
    ("SqueezeNet 1.0", 224): (
        Printed("Iandola et al., arXiv:1602.07360, Table 1", "1,248,424", "parameters"),
        Printed("torchvision", "0.819 G", "multiplies"),
        Printed("thop's README", "0.82 G", "multiplies"),
        Printed(
            "its authors' README",
            "1.72 G",
            "multiplies",
            setting="at 227×227, conv10 padded by 1",
            build=_padded_squeezenet,
        ),
        Printed(
            "Zhang et al., arXiv:1707.01083, Table 6",
            "833 M",
            "multiplies",
            setting="at 227×227",
            build=lambda: squeezenet(resolution=227),
        ),
        Printed("convnet-burden's README", "837 M", "multiplies", why=BURDEN),
        Printed("imgclsmob", "823.67 M", "multiplies", why=MORE),
    ),
    ("SqueezeNet 1.1", 224): (
        Printed("torchvision", "1,235,496", "parameters"),
        Printed("torchvision", "0.349 G", "multiplies"),
        Printed("thop's README", "0.35 G", "multiplies"),
        Printed(
            "its authors' README",
            "0.72 G",
            "multiplies",
            why="no size of image gives it; it is 1.72 / 2.4, rounded",
        ),
        Printed("convnet-burden's README", "360 M", "multiplies", why=BURDEN),
        Printed("imgclsmob", "352.02 M", "multiplies", why=MORE),
    ),
    ("GoogLeNet (Inception v1)", 224): _googlenet(),
    ("GoogLeNet (Inception v1), 3×3 for 5×5", 224): (
        Printed("torchvision", "6,624,904", "parameters"),
        Printed("torchvision", "1.498 G", "multiplies"),
    ),
    ("Xception", 299): (
        Printed("Chollet, arXiv:1610.02357, Table 3", "22,855,952", "parameters"),
        Printed("Keras", "22,910,480", "parameters"),
        Printed("imgclsmob", "8403.63 M", "multiplies", why=MORE),
    ),
    ("ResNet-50", 224): (
        Printed("torchvision", "25,557,032", "parameters"),
        Printed("torchvision", "4.089 G", "multiplies"),
        Printed(XIE, "25.5 M", "parameters"),
        Printed(XIE, "4.1 G", "multiplies"),
    ),
    ("ResNet-101", 224): (Printed("torchvision", "7.801 G", "multiplies"),),
    ("ResNet-152", 224): (Printed("torchvision", "11.514 G", "multiplies"),),
    ("ResNet-50, stride on 1×1", 224): (Printed(HE, "3.8 G", "multiplies"),),
    ("ResNet-101, stride on 1×1", 224): (Printed(HE, "7.6 G", "multiplies"),),
    ("ResNet-152, stride on 1×1", 224): (Printed(HE, "11.3 G", "multiplies"),),
    ("ResNeXt-50 32×4d", 224): (
        Printed("torchvision", "25,028,904", "parameters"),
        Printed("torchvision", "4.23 G", "multiplies"),
        Printed("Keras", "25,097,128", "parameters"),
        Printed(XIE, "25.0 M", "parameters"),
        Printed(XIE, "4.2 G", "multiplies"),
        Printed(
            "ResNeXt's README",
            "4.1 G",
            "multiplies",
            why="the figure of ResNet-50, printed for both",
        ),
    ),
}
