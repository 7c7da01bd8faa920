"""Any picture becomes pixels in MNIST's geometry, or is refused with a sentence for its sender."""

import base64
import contextlib
import random
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image
from torch import Tensor

from model.decode import TURN_BACK, decode, decode_image, decode_small_png, open_image
from model.engine import Engine
from model.errors import BadImage
from model.geometry import Ink, centre_of_mass, is_mnist
from model.limits import MAX_SCANS
from model.recognise import Reading, recognise
from tests.harness.service import EXAMPLES
from tests.model.pictures import EMPTY, FILES, PAPER, animate, encode

Pixels = NDArray[np.uint8]


def read(engine: Engine, upload: bytes) -> Reading:
    """Return what is read in an upload. Raises BadImage."""
    (reading,) = recognise([decode(upload)], engine)
    if isinstance(reading, BadImage):
        raise reading
    return reading


def enlarge(glyph: Pixels, side: int = 336, margin: int = 40) -> Image.Image:
    """Return (28, 28) ink as a large smooth picture in mode L, bright on dark, with a margin to the left."""
    smooth = np.asarray(Image.fromarray(glyph).resize((side, side), Image.Resampling.BICUBIC), np.float64)
    ink = 255 / (1 + np.exp((110 - smooth) / 12))
    return Image.fromarray(np.pad(np.where(ink < 2, 0, ink), ((0, 0), (margin, 0))).astype(np.uint8))


def with_alpha(ink: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """Return ink of a colour on a transparent background."""
    picture = Image.new("RGBA", ink.size, (*colour, 0))
    picture.putalpha(ink)
    return picture


def palette_with_transparency(ink: Image.Image) -> Image.Image:
    """Return black ink in a palette whose other entry is transparent."""
    picture = ink.point(lambda level: int(level > 127)).convert("P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.info["transparency"] = 0
    return picture


def invert(ink: Image.Image) -> Image.Image:
    """Return dark ink on white."""
    return ink.point(lambda level: 255 - level)


def shaded(ink: Image.Image) -> Image.Image:
    """Return dark ink on paper, one side of which is darker in its shadow than the ink on the other side."""
    light = np.linspace(250, 90, ink.width)[None, :]
    return Image.fromarray((light * (1 - 0.55 * np.asarray(ink) / 255)).astype(np.uint8))


def noisy(ink: Image.Image, deviation: float = 40.0) -> Image.Image:
    """Return dark grey ink on light grey paper under a camera's noise, its standard deviation in grey levels."""
    page = 230 - 180 / 255 * np.asarray(ink)
    noise = np.random.default_rng(0).normal(0, deviation, page.shape)
    return Image.fromarray(np.clip(page + noise, 0, 255).astype(np.uint8))


KINDS: dict[str, Callable[[Image.Image], bytes]] = {
    "white on black": encode,
    "black on white": lambda ink: encode(invert(ink)),
    "JPEG": lambda ink: encode(invert(ink), "JPEG", quality=40),
    "one bit": lambda ink: encode(invert(ink).convert("1"), "BMP"),
    "CMYK": lambda ink: encode(invert(ink).convert("CMYK"), "JPEG"),
    "black on transparent": lambda ink: encode(with_alpha(ink, (0, 0, 0))),
    "white on transparent": lambda ink: encode(with_alpha(ink, (255, 255, 255))),
    "red on transparent": lambda ink: encode(with_alpha(ink, (220, 20, 30)), "WEBP", lossless=True),
    "transparent palette": lambda ink: encode(palette_with_transparency(ink), "PNG", transparency=0),
    "blue on yellow": lambda ink: encode(
        Image.composite(Image.new("RGB", ink.size, "navy"), Image.new("RGB", ink.size, "gold"), ink)
    ),
    "red on green": lambda ink: encode(
        Image.composite(Image.new("RGB", ink.size, (190, 40, 40)), Image.new("RGB", ink.size, (60, 105, 60)), ink)
    ),
    "yellow on white": lambda ink: encode(
        Image.composite(Image.new("RGB", ink.size, (255, 240, 90)), Image.new("RGB", ink.size, "white"), ink), "JPEG"
    ),
    "shadow": lambda ink: encode(shaded(ink)),
    "noise": lambda ink: encode(noisy(ink)),
    "wide": lambda ink: encode(Image.fromarray(np.pad(np.asarray(invert(ink)), ((0, 0), (0, 900)), mode="edge"))),
    "tall": lambda ink: encode(Image.fromarray(np.pad(np.asarray(invert(ink)), ((0, 900), (0, 0)), mode="edge"))),
    "huge": lambda ink: encode(invert(ink).resize((3760, 3360)), "JPEG"),
    "small": lambda ink: encode(invert(ink).resize((30, 27), Image.Resampling.BOX)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_digit_is_read_in_every_kind_of_picture(
    kind: str, engine: Engine, mnist_test: tuple[Tensor, Tensor]
) -> None:
    pixels, digits = mnist_test
    for digit in range(10):
        glyph = pixels[digits == digit][7, 0].numpy()
        assert read(engine, KINDS[kind](enlarge(glyph))).digit == digit


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_may_be_held_any_way(orientation: int, engine: Engine, mnist_test: tuple[Tensor, Tensor]) -> None:
    pixels, digits = mnist_test
    picture = invert(enlarge(pixels[digits == 4][7, 0].numpy()))
    if orientation in TURN_BACK:
        picture = picture.transpose(TURN_BACK[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    for file_format in ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF"):
        assert read(engine, encode(picture.convert("RGB"), file_format, exif=exif.tobytes())).digit == 4


def test_every_mnist_picture_passes_unchanged(mnist_test: tuple[Tensor, Tensor]) -> None:
    pixels = mnist_test[0][:, 0].numpy()
    assert all(is_mnist(picture) for picture in pixels)
    for picture in pixels[:200]:
        for shade in (picture, 255 - picture):
            ink = decode(encode(Image.fromarray(shade)))
            assert isinstance(ink, Ink)
            assert np.array_equal(ink.pixels[0], picture)


def test_pixels_have_the_geometry_of_mnist(engine: Engine) -> None:
    for path in EXAMPLES.values():
        pixels = read(engine, path.read_bytes()).ink.pixels
        assert pixels.shape == (1, 28, 28)
        assert pixels.dtype == np.uint8
        assert pixels.max() == 255
        rows, columns = np.nonzero(pixels[0].any(1))[0], np.nonzero(pixels[0].any(0))[0]
        assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
        assert centre_of_mass(pixels[0]) == pytest.approx((14, 14), abs=0.55)


NOISE = random.Random(0).randbytes(5000)
DOTS = np.zeros((200, 200), np.uint8)
DOTS[5::20, 5::20] = 200
PROGRESSIVE = encode(Image.new("RGB", (99, 99)), "JPEG", progressive=True)
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0"/></svg>'
REFUSED = {
    "nothing": (b"", "is empty"),
    "text": (b"seven", "text, not a picture"),
    "cut text": ("für".encode() * 1000, "text, not a picture"),
    "a million spaces": (b" " * 1_000_000 + b"!", "text, not a picture"),
    "noise": (NOISE, "not a picture"),
    "SVG": (SVG, "SVG file: export"),
    "XML": (b"<?xml version='1.0'?><digit/>", "XML, not a picture"),
    "PDF": (b"%PDF-1.7\n" + EXAMPLES[7].read_bytes(), "PDF file: send the page"),
    "ZIP": (b"PK\x03\x04" + EXAMPLES[7].read_bytes(), "ZIP archive or an Office document: send the pictures in it"),
    "HTML": (b"\n<!DOCTYPE html><title>7</title>", "web page, not a picture"),
    "JSON": (b'["7"]', "JSON, not a picture"),
    "damaged base64": (base64.b64encode(encode(PAPER)) + b"%", "base64 of this picture is damaged"),
    "a damaged data URL": (b"data:image/jpeg;base64,/9j/%" + bytes(99), "base64 of this picture is damaged"),
    "a data URL of an SVG file": (b"data:image/svg+xml;base64," + base64.b64encode(SVG), "SVG file: export"),
    "a long word": (b"digit" * 99, "not a picture"),
    "video": (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", "video or a recording"),
    "JPEG XL": (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL file: export"),
    "white": (encode(Image.new("L", (200, 200), 255)), "blank"),
    "black": (encode(Image.new("RGB", (28, 28))), "blank"),
    "an animation of nothing": (animate("GIF", EMPTY, EMPTY, EMPTY), "blank"),
    "one pixel": (encode(Image.new("L", (1, 1), 7)), "too small"),
    "a line": (encode(Image.new("L", (9000, 3), 7), "JPEG"), "too small"),
    "fully transparent": (encode(Image.new("RGBA", (99, 99))), "blank"),
    "paper": (encode(Image.fromarray(np.random.default_rng(0).normal(200, 3, (300, 300)).astype(np.uint8))), "blank"),
    "too many pixels": (encode(Image.new("1", (6000, 5000))), "30.0 megapixels: send at most 25."),
    "a decompression bomb": (encode(Image.new("1", (30_000, 30_000))), "900.0 megapixels"),
    "a large TIFF": (encode(Image.new("1", (6000, 5000)), "TIFF", compression="group4"), "30.0 megapixels"),
    "a very large JPEG": (encode(Image.new("L", (11_000, 10_000)), "JPEG"), "110.0 megapixels: send at most 100"),
    "a very large progressive JPEG": (encode(Image.new("L", (9000, 9000)), "JPEG", progressive=True), "or 25 if"),
    "too many scans": (PROGRESSIVE[:-2] + PROGRESSIVE[-99:-2].join([b"\xff\xda"] * (MAX_SCANS + 1)), "scans"),
    "scattered dots": (encode(Image.fromarray(DOTS)), "blank"),
    "cut off": (EXAMPLES[7].read_bytes()[:9000], "cut off"),
    "a cut off HEIC": (FILES["HEIF"][:900], "HEIF file is damaged, or of a rare kind"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_bad_picture_is_refused_with_a_sentence(kind: str, engine: Engine) -> None:
    upload, reason = REFUSED[kind]
    with pytest.raises(BadImage, match=reason) as refusal:
        read(engine, upload)
    assert str(refusal.value).endswith(".")


LARGE = {
    "JPEG of 35 megapixels": encode(PAPER.resize((5000, 7000)), "JPEG"),
    "progressive JPEG of 35 megapixels": encode(PAPER.resize((5000, 7000)), "JPEG", progressive=True),
    "JPEG 2000": encode(PAPER.resize((1800, 1600)), "JPEG2000"),
    "JPEG 2000 that cannot be halved": encode(PAPER.resize((1800, 1600)), "JPEG2000", num_resolutions=1),
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_large_scan_is_decoded_at_a_fraction_of_its_size(kind: str, engine: Engine) -> None:
    assert read(engine, LARGE[kind]).digit == 7


def test_a_long_animation_is_not_followed_to_its_end() -> None:
    still = encode(Image.new("1", (500, 500)), "GIF")
    frame = still[still.index(b",") : -1]
    start = time.monotonic()
    with contextlib.suppress(BadImage):
        decode(still[:-1] + frame * 20_000 + b";")
    assert time.monotonic() - start < 10


SIZES = [(8, 8), (8, 900), (900, 8), (9, 41), (41, 9), (28, 28), (41, 41), (40, 300), (130, 90), (1, 500), (7, 7)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_anything_painted_gives_pixels_or_bad_image_and_nothing_else(size: tuple[int, int], engine: Engine) -> None:
    chance = np.random.default_rng(size)
    height, width = size
    for kind in range(60):
        page = [
            np.full(size, kind),
            chance.integers(0, 256, size),
            chance.integers(0, 2, size) * 255,
            np.linspace(0, 255, height * width).reshape(size),
            chance.normal(128, 10, size).clip(0, 255),
            (chance.random(size) < 0.02) * 255,
        ][kind % 6].astype(np.uint8)
        for _ in range(kind % 4):
            y, x = chance.integers(height), chance.integers(width)
            page[y : y + chance.integers(1, 40), x : x + chance.integers(1, 40)] = chance.integers(256)
        grey = Image.fromarray(page)
        picture = grey if kind % 2 else Image.merge("RGB", [grey, invert(grey), grey.point(lambda v: v * 3 % 256)])
        with contextlib.suppress(BadImage):
            pixels = read(engine, encode(picture)).ink.pixels
            assert pixels.shape == (1, 28, 28)
            assert pixels.any()


DAMAGED = {path.name: path.read_bytes() for path in EXAMPLES.values()} | FILES


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_gives_pixels_or_bad_image_and_nothing_else(kind: str, engine: Engine) -> None:
    chance = random.Random(kind)
    start = time.monotonic()
    for _ in range(60):
        upload = bytearray(DAMAGED[kind])
        for _ in range(chance.randint(1, 20)):
            upload[chance.randrange(min(len(upload), chance.choice([100, 10**6])))] = chance.randrange(256)
        with contextlib.suppress(BadImage):
            assert read(engine, bytes(upload[: chance.randint(1, len(upload))])).ink.pixels.shape == (1, 28, 28)
    assert time.monotonic() - start < 60


def test_small_grey_pngs_are_read_alike_on_the_short_way(mnist_test: tuple[Tensor, Tensor]) -> None:
    short = 0
    for number, pixels in enumerate(mnist_test[0][:60, 0].numpy()):
        side, turned = 8 + number % 33, number % 7
        picture = Image.fromarray(pixels if number % 2 else 255 - pixels)
        if number % 3:
            picture = picture.resize((side, 28))
        if turned in TURN_BACK:
            picture.getexif()[ExifTags.Base.Orientation] = turned
        upload = encode(picture, "PNG", exif=picture.getexif()) if turned in TURN_BACK else encode(picture, "PNG")
        ink = decode_small_png(upload)
        usual = decode_image(open_image(upload), upload)
        assert isinstance(usual, Ink)
        if ink is not None:
            short += 1
            assert np.array_equal(ink.pixels, usual.pixels)
            assert ink.box == usual.box
        assert (ink is None) == (turned in TURN_BACK)
    assert short > 10
