"""Make tests/pictures/: MNIST test digits as people send them, one file per digit, each of another kind."""

from pathlib import Path

import numpy as np
from mnist import read_test
from numpy.typing import NDArray
from PIL import Image

PICTURES = Path(__file__).parent / "pictures"
EXIF_ORIENTATION = 0x0112
ROTATE_90 = 6


def main() -> None:
    """Write the ten files."""
    paper = paint(0, (640, 480), (214, 206, 190), (38, 44, 92), shadow=70)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = ROTATE_90
    paper.transpose(Image.Transpose.ROTATE_90).save(PICTURES / "0.jpg", quality=80, exif=exif)

    ink = coverage(1, (300, 400))
    transparent = Image.new("RGBA", (300, 400), (0, 0, 0, 0))
    transparent.putalpha(Image.fromarray(np.rint(255 * ink).astype(np.uint8)))
    transparent.save(PICTURES / "1.png")

    paint(2, (800, 600), (236, 234, 228), (150, 150, 155), shadow=40).save(PICTURES / "2.webp", quality=70)
    paint(3, (200, 200), (255, 255, 255), (0, 0, 0)).quantize(16).save(PICTURES / "3.gif")
    paint(4, (90, 120), (255, 255, 255), (200, 20, 30)).save(PICTURES / "4.bmp")
    deep = np.rint(65535 * (1 - 0.9 * coverage(5, (160, 160)))).astype(np.uint16)
    Image.fromarray(deep).save(PICTURES / "5.png")
    paint(6, (280, 280), (0, 0, 0), (255, 255, 255)).convert("L").save(PICTURES / "6.png")
    paint(7, (640, 480), (200, 196, 186), (25, 25, 30), shadow=60, noise=4).save(PICTURES / "7.jpg", quality=75)
    paint(8, (600, 400), (38, 70, 54), (225, 228, 220), noise=6).save(PICTURES / "8.jpg", quality=70)
    paint(9, (900, 300), (250, 250, 250), (20, 60, 160)).convert("CMYK").save(PICTURES / "9.jpg", quality=80)


def coverage(digit: int, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return (h, w) shares 0..1 of ink: an MNIST test digit, smooth at any size, a little off the middle."""
    pixels, digits = read_test()
    glyph = Image.fromarray(pixels[digits == digit][4, 0].numpy())
    width, height = size
    side = int(0.75 * min(size))
    smooth = np.asarray(glyph.resize((side, side), Image.Resampling.BICUBIC), np.float64)
    ink = np.zeros((height, width))
    top, left = (height - side) // 3, (width - side) * 3 // 5
    ink[top : top + side, left : left + side] = 1 / (1 + np.exp((110 - smooth) / 12))
    ink[ink < 0.01] = 0
    return ink


def paint(
    digit: int,
    size: tuple[int, int],
    ground: tuple[int, int, int],
    pen: tuple[int, int, int],
    shadow: float = 0,
    noise: float = 2,
) -> Image.Image:
    """Return an RGB picture (width, height) of a digit; shadow and noise are in brightness steps of 255."""
    ink = coverage(digit, size)[:, :, None]
    height, width = ink.shape[:2]
    picture = (1 - ink) * np.array(ground) + ink * np.array(pen)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    picture -= shadow * (x * x + y * y)[:, :, None] / 2
    if shadow or noise > 2:
        picture += np.random.default_rng(digit).normal(0, noise, (height, width, 1))
    return Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
