"""Reading an image between its pixels: bilinear interpolation (이중선형 보간), counted.

Each of the four corner pixels of a sample counts only if it lies in the image, its weight
unchanged: a sample fades to zero between −1 and 0, and between H − 1 and H.
"""

from __future__ import annotations

import numpy as np

from .jit import njit


@njit
def place_samples(dy, dx, h, w, step, H, W, place, corners, outside, slopes=False):
    # dy, dx (OW,): offsets of one tap along an output row; h, w: its first place without offset;
    # filled: place (OW,), the upper left corner pixel in a padded plane of (H + 3) * (W + 3),
    # corners (4, OW), the weights of the four corner pixels, outside (OW,), none is in the image.
    # Where slopes are wanted, a sample at −1 itself stays: it is zero, but grows from there on
    multiplies = 0
    for ow in range(dy.size):
        ih, iw = h + np.float64(dy[ow]), w + ow * step + np.float64(dx[ow])
        # before any conversion to an integer, and true for NaN
        outside[ow] = not (ih > -1 and ih < H and iw > -1 and iw < W)
        if outside[ow] and not (slopes and -1 <= ih < H and -1 <= iw < W):
            ih, iw = float(H), float(W)  # there the padding is zero at all four corners
        below, right = ih - np.floor(ih), iw - np.floor(iw)
        place[ow] = (int(np.floor(ih)) + 1) * (W + 3) + int(np.floor(iw)) + 1
        corners[0, ow], corners[1, ow] = (1 - below) * (1 - right), (1 - below) * right
        corners[2, ow], corners[3, ow] = below * (1 - right), below * right
        multiplies += 4
    return multiplies


@njit
def sample_row(pixels, W, place, corners, sample):
    # pixels ((H + 3) * (W + 3),): one padded channel; filled: sample (OW,), between the corners
    below = pixels[W + 3 :]
    multiplies = 0
    for ow in range(sample.size):
        i, j = np.uintp(place[ow]), np.uintp(place[ow] + 1)
        sample[ow] = corners[0, ow] * pixels[i] + corners[1, ow] * pixels[j]
        sample[ow] += corners[2, ow] * below[i] + corners[3, ow] * below[j]
        multiplies += 4
    return multiplies
