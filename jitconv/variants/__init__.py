"""One room a section of the document: the idea, the loops, the public function.

Extents are upper case, and the index that walks one is its lower-case letter: N images, C input
channels, M output channels, H × W input, OH × OW output, KH × KW kernel; ih, iw stand in the input,
oh, ow in the output. SH, SW are the stride, DH, DW the dilation, HP × WP the padded input. The
arrays are x, weight, bias and y.

In every loop nest one `prange` job makes one output row and has counter cells of its own; `job` is
taken apart into n, m and oh. The innermost loop walks along the row, where neighbours in memory
fill the processor's vector registers. Its index is made unsigned, ``np.uintp(ow * SW)``, because a
test for negative indices, which count from the end in Python, would stand in the way of that.

Reading order: standard, dilated, grouped, depthwise and pointwise are one loop nest with one thing
changed each; then separable, depthwise_separable, transposed, deformable.
"""
