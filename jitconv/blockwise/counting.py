"""What the blocks counted, added up: the report of the whole image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..costs.formula import Costs, Formula
from ..costs.report import CostReport, Pass
from ..methods import both

SAMPLES = None, "samples"  # of a deformable convolution, in the image


def counted(report: CostReport) -> Counter:
    """Return what a block counted, and what it had to count by its own formulas.

    Parameters
    ----------
    report : CostReport
        Of the block.

    Returns
    -------
    Counter
        Numbers by (kind of pass, what they are), which add up over blocks.
    """
    found: Counter[Any] = Counter(
        {SAMPLES: of_variant(report.find_costs).keywords.get("samples", 0)}
    )
    for done in report.passes:
        kind = done._replace(multiplies=0, on_padding=0)
        found[kind, "blocks"] = 1
        found[kind, "multiplies"] = done.multiplies
        found[kind, "on padding"] = done.on_padding
        found[kind, "by formula"] = int(report.value(done.equals))
    return found


def report_of_whole(total: Counter, paper: CostReport) -> CostReport:
    """Put the counts of all blocks into the report that has the formulas of the whole image."""
    find_costs: Any = paper.find_costs
    if "samples" in of_variant(find_costs).keywords:
        find_costs = partial(find_costs, samples=total[SAMPLES])
    kinds: dict[str, list[Pass]] = {}
    for kind, what in total:
        if what == "blocks":
            kinds.setdefault(kind.name, []).append(kind)

    def count(what: str, some: Sequence[Pass]) -> int:
        return sum(total[kind, what] for kind in some)

    passes = [
        some[0]._replace(multiplies=count("multiplies", some), on_padding=count("on padding", some))
        for some in kinds.values()
    ]
    costs = find_costs()
    met = [  # "" where no formula of the whole gives the sum
        next((k.equals for k in some if costs[k.equals].value == count("by formula", some)), "")
        for some in kinds.values()
    ]
    if "" in met:
        sums = [sum_over_blocks(f", {name}", some, total) for name, some in kinds.items()]
        whole = sum_over_blocks("", [kind for some in kinds.values() for kind in some], total)
        sums = [whole, *sums] if len(sums) > 1 else [whole]
        met = [formula.name for formula in sums[-len(passes) :]]
        find_costs = partial(and_sums, find_costs, sums)
    passes = [done._replace(equals=name) for done, name in zip(passes, met, strict=True)]
    return replace(paper, passes=tuple(passes), find_costs=find_costs)


def sum_over_blocks(of: str, kinds: Sequence[Pass], total: Counter) -> Formula:
    """Return the formula of counts that no formula of the whole image gives.

    Some blocks may leave out taps on padding that others multiply; and what Winograd's method makes
    of the weight, each block makes anew.
    """
    blocks: Counter = Counter()
    numbers: Counter = Counter()
    for kind in kinds:
        word = kind.equals.partition(",")[0]
        blocks[word] = max(blocks[word], total[kind, "blocks"])
        numbers[word] += total[kind, "by formula"]
    return Formula(
        f"by blocks{of}",
        " + ".join(f"{word} of {some:,} block{'s' * (some > 1)}" for word, some in blocks.items()),
        " + ".join(f"{number:,}" for number in numbers.values()),
        sum(numbers.values()),
        "block by block",
    )


def and_sums(find_costs: Callable[[], Costs], sums: Sequence[Formula]) -> Costs:
    """Return the formulas with some added."""
    costs = find_costs()
    return Costs([*costs.values(), *sums], costs.seen_as)


def of_variant(find_costs: Any) -> partial:
    """Return the variant's own formulas, without those of a method."""
    return find_costs.args[0] if find_costs.func is both else find_costs


def of_images(find_costs: Any, N: int) -> partial:
    """Return the formulas of a call with so many images: in all of them that comes first."""
    if find_costs.func is both:
        return partial(both, *(of_images(each, N) for each in find_costs.args))
    return partial(find_costs.func, N, *find_costs.args[1:], **find_costs.keywords)
