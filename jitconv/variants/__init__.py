"""A room per section of the document: the idea, the loops, the public function, the record.

Extents are upper case, and the index that walks one is its lower-case letter: N images, C input
channels, M output channels, H × W input, OH × OW output, KH × KW kernel; ih, iw stand in the input,
oh, ow in the output. SH, SW are the stride, DH, DW the dilation, HP × WP the padded input. The
arrays are x, weight, bias and y.

In every loop nest one `prange` job makes one output row and has counter cells of its own; `job` is
taken apart into n, m and oh. The innermost loop walks along the row, where neighbours in memory
fill the processor's vector registers. Its index is made unsigned, ``np.uintp(ow * SW)``, because a
test for negative indices, which count from the end in Python, would stand in the way of that.

Reading order: standard, dilated, grouped, depthwise and pointwise are one loop nest with one thing
changed each; then separable, depthwise_separable, transposed, deformable. "Document §1" is the
first section of the Korean text that docs/document.md summarises in English.
"""

import time

import numpy as np
from numpy.typing import DTypeLike

from .. import checks
from ..variant import Variant
from .deformable import DEFORMABLE
from .depthwise import DEPTHWISE
from .depthwise_separable import DEPTHWISE_SEPARABLE
from .dilated import DILATED
from .grouped import GROUPED
from .pointwise import POINTWISE
from .separable import SEPARABLE
from .standard import STANDARD
from .transposed import TRANSPOSED

# In the order of the document: whatever walks over the variants walks over these.
VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        STANDARD,
        DILATED,
        TRANSPOSED,
        SEPARABLE,
        DEPTHWISE,
        DEPTHWISE_SEPARABLE,
        POINTWISE,
        GROUPED,
        DEFORMABLE,
    )
}


def warm_up(dtype: DTypeLike = np.float32) -> float:
    """Compile the loops that the nine variants choose, or load them from Numba's cache.

    Parameters
    ----------
    dtype : data-type
        float32 or float64: each has machine code of its own.

    Returns
    -------
    float
        How many seconds that took.

    Raises
    ------
    TypeError
        If dtype is another type.

    Examples
    --------
    >>> seconds = warm_up()
    """
    begin, dtype = time.perf_counter(), checks.float_type(dtype)
    for variant in VARIANTS.values():
        sizes = {"C": 2, "B": 2, "M": 2, "H": 3, "W": 3, "KH": 2, "KW": 2}
        sizes["g"] = variant.options.get("groups", 1)
        shapes = variant.shapes(sizes, **variant.options)
        arrays = {name: np.zeros(shape, dtype) for name, shape in shapes.items()}
        variant.function(**arrays, **variant.options)
    return time.perf_counter() - begin
