"""Hostile uploads: mutated files of every format that the service reads, and small files that claim to be huge."""

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pillow_heif
from hypothesis import strategies as st
from PIL import Image

from model.formats import FORMATS
from operate.examples import list_examples

# Mutated files are small, so that many can be sent.
SIDE_PX = 96
PNG_SIGNATURE_BYTES = 8
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

# Ways to save a picture in Pillow, by the name of what comes of it.
SAVED: dict[str, tuple[str, dict[str, Any]]] = {
    "PNG": ("PNG", {}),
    "PNG, animated": ("PNG", {"save_all": True, "frames": 3}),
    "JPEG": ("JPEG", {"quality": 90}),
    "JPEG, progressive": ("JPEG", {"quality": 90, "progressive": True, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}),
    "WEBP": ("WEBP", {"quality": 80}),
    "WEBP, lossless": ("WEBP", {"lossless": True}),
    "WEBP, animated": ("WEBP", {"save_all": True, "frames": 3}),
    "AVIF": ("AVIF", {"quality": 80, "speed": 10}),
    "TIFF": ("TIFF", {}),
    "TIFF, LZW": ("TIFF", {"compression": "tiff_lzw"}),
    "TIFF, deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "TIFF, JPEG": ("TIFF", {"compression": "jpeg"}),
    "TIFF, pages": ("TIFF", {"save_all": True, "frames": 3}),
    "GIF": ("GIF", {}),
    "GIF, animated": ("GIF", {"save_all": True, "frames": 3}),
    "BMP": ("BMP", {}),
    "JPEG2000": ("JPEG2000", {"num_resolutions": 3}),
    "JPEG2000, bare": ("JPEG2000", {"no_jp2": True}),
}


def make_files() -> dict[str, bytes]:
    """Return a small picture of a digit in every format that is read."""
    picture = Image.open(list_examples()[7]).convert("RGB").resize((SIDE_PX, SIDE_PX))
    files = {name: save(picture, *how) for name, how in SAVED.items()}
    heic = io.BytesIO()
    pillow_heif.from_pillow(picture).save(heic)
    files["HEIF"] = heic.getvalue()
    missing = {each.name for each in FORMATS} - {name.partition(",")[0] for name in files}
    if missing:
        raise ValueError(f"no file of {missing}")
    return files


def save(picture: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    """Return a picture as a file."""
    file = io.BytesIO()
    frames = options.get("frames", 0)
    more = {"append_images": [picture.rotate(30 * number) for number in range(1, frames)]} if frames else {}
    picture.save(file, kind, **{key: value for key, value in options.items() if key != "frames"}, **more)
    return file.getvalue()


@st.composite
def mutated(draw: st.DrawFn, files: dict[str, bytes]) -> tuple[str, bytes]:
    """Draw a file with damage, and the name of its format."""
    name = draw(st.sampled_from(sorted(files)))
    file = bytearray(files[name])
    for _ in range(draw(st.integers(1, 6))):
        # Most of what decides is in the first bytes.
        end = len(file) if draw(st.booleans()) else min(len(file), 200)
        place = draw(st.integers(0, max(0, end - 1)))
        kind = draw(st.sampled_from(("byte", "number", "cut", "drop", "double", "insert", "splice")))
        if kind == "byte":
            file[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "number":
            code = draw(st.sampled_from((">H", "<H", ">I", "<I")))
            number = draw(st.sampled_from(NUMBERS)) & (0xFFFF if code[1] == "H" else 0xFFFFFFFF)
            file[place : place + struct.calcsize(code)] = struct.pack(code, number)
        elif kind == "cut":
            del file[place:]
        elif kind == "drop":
            del file[place : place + draw(st.integers(1, 64))]
        elif kind == "double":
            file[place:place] = file[place : place + draw(st.integers(1, 64))]
        elif kind == "insert":
            file[place:place] = draw(st.binary(max_size=64))
        else:
            other = files[draw(st.sampled_from(sorted(files)))]
            file[place:] = other[min(place, len(other)) :]
    changed = bytes(file)
    if name.startswith("PNG") and draw(st.booleans()):
        changed = mend_png(changed)
    return name, changed


def mend_png(file: bytes) -> bytes:
    """Return a PNG with right checksums, so that its decoder looks at what is in its chunks."""
    mended, place = bytearray(file[:PNG_SIGNATURE_BYTES]), PNG_SIGNATURE_BYTES
    while place + 12 <= len(file):
        length = int.from_bytes(file[place : place + 4], "big")
        body = file[place + 4 : place + 8 + length]
        if len(body) < 4 + length:
            break
        mended += file[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return bytes(mended) + file[place:]


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, depth: int = 1, colours: int = 0) -> bytes:
    """Return a PNG that claims a size, with chunks between its first and its last."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def zeros(size: int) -> bytes:
    """Return a zlib stream of that many zero bytes, made without holding them."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*parts, packer.compress(bytes(size & ((1 << 20) - 1))), packer.flush()])


def patch(file: bytes, mark: bytes, offset: int, code: str, *numbers: int) -> bytes:
    """Return a file with numbers written at an offset from each place of a mark."""
    changed, place = bytearray(file), file.find(mark)
    if place < 0:
        raise ValueError(f"no {mark!r} in the file")
    while place >= 0:
        struct.pack_into(code, changed, place + offset, *numbers)
        place = file.find(mark, place + 1)
    return bytes(changed)


def blank(kind: str, side: int, mode: str = "L", **options: Any) -> bytes:  # noqa: ANN401
    """Return a blank square picture, which compresses best."""
    return save(Image.new(mode, (side, side)), kind, options)


def tiff(width: int, height: int, strip: bytes, compression: int, following: int = 0) -> bytes:
    """Return a TIFF of one strip that claims a size; its directory, at 8, names the place of the one that follows."""
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, compression), (262, 3, 1)]
    entries += [(273, 4, 8 + 2 + 12 * 9 + 4), (277, 3, 1), (278, 4, height), (279, 4, len(strip))]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", following) + strip


def bmp(width: int, height: int, bits: int, compression: int, body: bytes) -> bytes:
    """Return a BMP that claims a size."""
    palette = bytes(1024) if bits == 8 else b""
    start = 54 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0) + palette + body


def gif(width: int, height: int, frames: int, side: int) -> bytes:
    """Return a GIF of blank frames."""
    file = blank("GIF", side)
    # The frame without the head of 13 bytes, its colours and the end.
    start = file.index(b",\0\0\0\0")
    frame = b"!\xf9\x04\0\x01\0\0\0" + file[start:-1]
    return file[:6] + struct.pack("<HH", width, height) + file[10:start] + frame * frames + b";"


def jpeg_of_scans(scans: int) -> bytes:
    """Return a progressive JPEG with its last scan many times over."""
    file = save(Image.new("L", (2400, 2400)), "JPEG", {"progressive": True})
    last = file.rindex(b"\xff\xda")
    return file[:-2] + file[last:-2] * scans + b"\xff\xd9"


def make_bombs() -> dict[str, Callable[[], bytes]]:
    """Return what makes each small file that would take much memory or time, by a name that says why."""
    files = make_files()
    return {
        "PNG of 65500x65500, cut off": lambda: png(65500, 65500, chunk(b"IDAT", zeros(1 << 20))),
        "PNG of 30000x30000 in full": lambda: png(30000, 30000, chunk(b"IDAT", zeros(30000 * 3751))),
        "PNG of 2^31-1 by 1": lambda: png(0x7FFFFFFF, 1, chunk(b"IDAT", zeros(1 << 20))),
        "PNG of 25 megapixels of 16 bits": lambda: png(
            5000, 5000, chunk(b"IDAT", zeros(5000 * 40001)), depth=16, colours=6
        ),
        "PNG with 200 MB behind its pixels": lambda: png(28, 28, chunk(b"IDAT", zeros(200 << 20))),
        "PNG with 100 MB of text": lambda: png(
            28, 28, chunk(b"zTXt", b"a\0\0" + zeros(100 << 20)), chunk(b"IDAT", zeros(28 * 5))
        ),
        "PNG with 100 MB of colour profile": lambda: png(
            28, 28, chunk(b"iCCP", b"a\0\0" + zeros(100 << 20)), chunk(b"IDAT", zeros(28 * 5))
        ),
        "PNG of 2^31 frames": lambda: png(
            28, 28, chunk(b"acTL", struct.pack(">II", 0x7FFFFFFF, 0)), chunk(b"IDAT", zeros(28 * 5))
        ),
        "JPEG of 65500x65500": lambda: patch(files["JPEG"], b"\xff\xc0", 5, ">HH", 65500, 65500),
        "JPEG of 1 by 65500": lambda: patch(files["JPEG"], b"\xff\xc0", 5, ">HH", 65500, 1),
        "JPEG, progressive, of 65500x65500": lambda: patch(
            files["JPEG, progressive"], b"\xff\xc2", 5, ">HH", 65500, 65500
        ),
        "JPEG of 100 megapixels": lambda: blank("JPEG", 10000),
        "JPEG, progressive, of 25 megapixels": lambda: blank("JPEG", 5000, "RGB", progressive=True),
        "JPEG of 99 scans more": lambda: jpeg_of_scans(99),
        "JPEG of 3000 scans": lambda: jpeg_of_scans(3000),
        "WebP of 16384x16384": lambda: patch(
            blank("WEBP", 28, "RGB", lossless=True), b"VP8L", 9, "<I", 0x3FFF | 0x3FFF << 14
        ),
        "WebP of 25 megapixels": lambda: blank("WEBP", 5000, "RGB", lossless=True, method=0, quality=0),
        "AVIF of 65535x65535": lambda: patch(files["AVIF"], b"ispe", 8, ">II", 65535, 65535),
        "AVIF of 2^32-1 by 2^32-1": lambda: patch(files["AVIF"], b"ispe", 8, ">II", 0xFFFFFFFF, 0xFFFFFFFF),
        "AVIF of 16 megapixels": lambda: blank("AVIF", 4000, speed=10),
        "HEIC of 65535x65535": lambda: patch(files["HEIF"], b"ispe", 8, ">II", 65535, 65535),
        "HEIC of 4800x4800": lambda: patch(files["HEIF"], b"ispe", 8, ">II", 4800, 4800),
        "TIFF of 65535x65535": lambda: tiff(65535, 65535, zeros(1 << 20), 8),
        "TIFF of 2^32-1 by 2^32-1": lambda: tiff(0xFFFFFFFF, 0xFFFFFFFF, zeros(1 << 20), 8),
        "TIFF of 25 megapixels, deflate": lambda: tiff(5000, 5000, zeros(25_000_000), 8),
        "TIFF with 200 MB behind its pixels": lambda: tiff(28, 28, zeros(200 << 20), 8),
        "TIFF whose directory follows itself": lambda: tiff(1000, 1000, zeros(1_000_000), 8, 8),
        "TIFF of 500 blank pages": lambda: save(
            Image.new("L", (400, 400)),
            "TIFF",
            {"save_all": True, "append_images": [Image.new("L", (400, 400))] * 499, "compression": "tiff_lzw"},
        ),
        "GIF of 65535x65535": lambda: gif(65535, 65535, 1, 100),
        "GIF of 25 megapixels": lambda: gif(5000, 5000, 1, 5000),
        "GIF of 3000 blank frames": lambda: gif(300, 300, 3000, 300),
        "GIF of 100 frames of 1 megapixel": lambda: gif(1000, 1000, 100, 1000),
        "BMP of 2^31-1 by 2^31-1": lambda: bmp(0x7FFFFFFF, 0x7FFFFFFF, 24, 0, bytes(100)),
        "BMP of -2^31 by -2^31": lambda: bmp(-0x80000000, -0x80000000, 24, 0, bytes(100)),
        "BMP of 25 megapixels in a few bytes": lambda: bmp(5000, 5000, 8, 1, b"\xff\x01" * 100 + b"\0\x01"),
        "BMP of 25 megapixels in runs": lambda: bmp(5000, 5000, 8, 1, (b"\xfa\0" * 20 + b"\0\0") * 5000 + b"\0\x01"),
        "JPEG 2000 of 2^32-1 by 2^32-1": lambda: patch(
            files["JPEG2000, bare"], b"\xff\x51", 6, ">II", 0xFFFFFFFF, 0xFFFFFFFF
        ),
        "JPEG 2000 of 5000x5000, one tile sent": lambda: patch(
            files["JPEG2000, bare"], b"\xff\x51", 6, ">II", 5000, 5000
        ),
        "JPEG 2000 of 25 million tiles": lambda: patch(
            patch(files["JPEG2000, bare"], b"\xff\x51", 6, ">II", 5000, 5000), b"\xff\x51", 22, ">II", 1, 1
        ),
        "JPEG 2000 of 25 megapixels": lambda: blank("JPEG2000", 5000, num_resolutions=1),
    }


def make_packed_bodies() -> dict[str, tuple[bytes, str]]:
    """Return bodies that are small only while they are packed, each with its Content-Encoding."""
    packed = gzip_zeros(256 << 20)
    return {
        "256 MB as gzip": (packed, "gzip"),
        "256 MB as deflate": (zeros(256 << 20), "deflate"),
        "gzip in gzip": (gzip.compress(packed), "gzip"),
        "gzip, gzip": (gzip.compress(packed), "gzip, gzip"),
        "100,000 empty members of gzip": (gzip.compress(b"") * 100_000, "gzip"),
        "gzip cut off": (gzip_zeros(1 << 20)[:-9], "gzip"),
        "gzip of another length": (gzip.compress(b"hello")[:-4] + b"\xff\xff\xff\xff", "gzip"),
        "no gzip": (b"hello", "gzip"),
        "an unknown encoding": (b"hello", "zstd"),
    }


def gzip_zeros(size: int) -> bytes:
    """Return a gzip file of that many zero bytes, made without holding them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*parts, packer.flush()])
