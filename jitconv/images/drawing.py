"""A sharp picture, drawn by formulas."""

from __future__ import annotations

import numpy as np

WORD = (
    ".###...###..#...#.#...#",
    "#...#.#...#.##..#.#...#",
    "#.....#...#.##..#.#...#",
    "#.....#...#.#.#.#..#.#.",
    "#.....#...#.#..##..#.#.",
    "#...#.#...#.#..##...#..",
    ".###...###..#...#...#..",
)


def drawing() -> np.ndarray:
    """Draw a test card: a word in three sizes, rings, discs, a grid, a comb of lines, and rays.

    A photo is blurred everywhere, a little; here edges are sharp, lines thin and areas flat, so
    that what a kernel does to them can be seen.

    Returns
    -------
    numpy.ndarray (3, 128, 128)
        float32 between 0 and 1, as from `load_image`: black on white, the discs coloured.

    Examples
    --------
    >>> picture = drawing()
    >>> picture.shape, float(picture.min()), float(picture.max())
    ((3, 128, 128), 0.0, 1.0)
    """
    picture = np.ones((3, 128, 128), np.float32)
    row, column = np.mgrid[:128, :128]

    def paint(covered: np.ndarray, colour: tuple[float, float, float] = (0, 0, 0)) -> None:
        share = np.clip(covered, 0, 1)  # of each pixel
        picture[:] = (1 - share) * picture + share * np.reshape(colour, (3, 1, 1))

    word = np.array([[letter == "#" for letter in line] for line in WORD])
    for size, top, left in ((3, 6, 6), (2, 34, 6), (1, 34, 58)):
        inked = np.kron(word, np.ones((size, size)))
        paint(np.pad(inked, ((top, 128 - top - 7 * size), (left, 128 - left - 23 * size))))

    away = np.hypot(row - 26, column - 103)
    for radius in (2, 5, 9, 14, 20):
        paint(1 - np.abs(away - radius))
    discs = {13: (0.9, 0.1, 0.1), 9: (0.1, 0.6, 0.1), 6: (0.1, 0.2, 0.9), 4: (1, 0.8, 0)}
    for left, (radius, colour) in zip((19, 46, 65, 79), discs.items(), strict=True):
        paint(radius + 0.5 - np.hypot(row - 66, column - left), colour)

    inside = (row >= 86) & (row <= 122)
    paint(inside & (column >= 6) & (column <= 42) & ((row % 6 == 2) | (column % 6 == 0)))
    lines = 49 + np.cumsum((0, 2, 2, 2, 3, 3, 3, 4, 4, 5))
    paint(inside & np.isin(column, lines))
    down, across = row - 85.0, column - 103.0
    for angle in np.radians(np.arange(0, 180, 15)):
        off = np.abs(down * np.cos(angle) - across * np.sin(angle))
        paint((1 - off) * (np.hypot(down, across) < 22) * (np.hypot(down, across) > 4))
    return picture
