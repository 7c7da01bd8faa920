"""Write a picture of made-up sheets, each beside the ink that InkNet is to find on it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from train.record import positive
from train.samples import read_held_out_samples
from train.sheets.sheet import RandomSheets, Sheet

SIDE_PX, GAP_PX = 120, 4
COLUMNS = 6
GREY = 128


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the picture; return 1 if that is impossible."""
    parser = argparse.ArgumentParser(prog="scripts/contact-sheet", description=__doc__)
    parser.add_argument("file", metavar="FILE", type=Path, help="PNG or JPEG to write")
    parser.add_argument("--pages", metavar="N", type=positive, default=60, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers (%(default)s)")
    options = parser.parse_args(arguments)
    if options.file.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        parser.error(f"{options.file} must end in .png or .jpg")
    sheets = RandomSheets(read_held_out_samples(), options.pages, options.seed)
    picture = tile_sheets([sheets[number] for number in range(len(sheets))])
    _, file = cv2.imencode(options.file.suffix.lower(), picture)
    try:
        options.file.write_bytes(file.tobytes())
    except OSError as error:
        print(f"{options.file}: {error.strerror}.", file=sys.stderr)
        return 1
    print(f"Wrote {options.file}.")
    return 0


def tile_sheets(sheets: Sequence[Sheet]) -> NDArray[np.uint8]:
    """Return (h, w) uint8 grey levels with all sheets and their ink."""
    tiles = [np.hstack([tile(sheet.grey), tile(np.rint(sheet.ink * 255).astype(np.uint8))]) for sheet in sheets]
    tiles += [np.full_like(tiles[0], GREY)] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[first : first + COLUMNS]) for first in range(0, len(tiles), COLUMNS)]
    return np.vstack(rows)


def tile(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (h, w) uint8 grey levels in a square tile."""
    square = np.full((SIDE_PX + GAP_PX, SIDE_PX + GAP_PX), GREY, np.uint8)
    scale = SIDE_PX / max(picture.shape)
    height, width = (max(1, round(side * scale)) for side in picture.shape)
    square[:height, :width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return square


if __name__ == "__main__":
    sys.exit(main())
