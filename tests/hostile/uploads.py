"""Hostile uploads: damaged files of every format that the service reads, and small files that would grow huge."""

import struct
import zlib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from tests.model.pictures import FILES, encode, make_chunk

PNG_SIGNATURE_BYTES = 8
MB = 1 << 20
MOST = 0xFFFFFFFF
NUMBERS = [struct.pack(f"{order}I", number) for order in "<>" for number in (0, 1, 0x7FFF, 0xFFFF, 1 << 31, MOST)]


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """Draw a file with damage: parts replaced, dropped, doubled, cut off, or taken from a file of another kind."""
    name = draw(st.sampled_from(sorted(FILES)))
    file, other = bytearray(FILES[name]), FILES[draw(st.sampled_from(sorted(FILES)))]
    for _ in range(draw(st.integers(1, 6))):
        # Most of what decides is in the first bytes.
        place = draw(st.integers(0, 200) | st.integers(0, len(file)))
        pieces = st.sampled_from([*NUMBERS, bytes(file[place : place + 32]), other[place:]])
        length = draw(st.sampled_from([0, 1, 2, 4, 32, len(file)]))
        file[place : place + length] = draw(pieces | st.binary(max_size=64))
    return mend_png(bytes(file)) if name.startswith("PNG") and draw(st.booleans()) else bytes(file)


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


def png(width: int, height: int, pixels: int, *chunks: bytes, depth: int = 1, colours: int = 0) -> bytes:
    """Return a PNG that claims a size, with that many bytes of pixels, and chunks before them."""
    head = make_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))
    body = make_chunk(b"IDAT", pack_zeros(pixels))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + body + make_chunk(b"IEND", b"")


def pack_zeros(size: int) -> bytes:
    """Return a zlib stream of that many zero bytes, made without holding them."""
    packer = zlib.compressobj(1)
    parts = [packer.compress(bytes(MB)) for _ in range(size // MB)]
    return b"".join([*parts, packer.compress(bytes(size % MB)), packer.flush()])


def patch(file: bytes, mark: bytes, offset: int, code: str, *numbers: int) -> bytes:
    """Return a file with numbers written at an offset from each place of a mark."""
    changed, place = bytearray(file), file.index(mark)
    while place >= 0:
        struct.pack_into(code, changed, place + offset, *numbers)
        place = file.find(mark, place + 1)
    return bytes(changed)


def blank(kind: str, side: int, mode: str = "L", **options: Any) -> bytes:
    """Return a blank square picture, which compresses best."""
    return encode(Image.new(mode, (side, side)), kind, **options)


def gif(width: int, height: int, frames: int, side: int) -> bytes:
    """Return a GIF of blank frames."""
    file = blank("GIF", side)
    # The frame without the head of 13 bytes, its colours and the end.
    start = file.index(b",\0\0\0\0")
    frame = b"!\xf9\x04\0\x01\0\0\0" + file[start:-1]
    return file[:6] + struct.pack("<HH", width, height) + file[10:start] + frame * frames + b";"


FRAMES = make_chunk(b"acTL", struct.pack(">II", 0x7FFFFFFF, 0))
J2K = blank("JPEG2000", 96, no_jp2=True)
PAGES = [Image.new("L", (400, 400))] * 499

# What makes each small file that would take much memory or time, by what it claims.
BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG of 65500x65500, cut off": lambda: png(65500, 65500, MB),
    "PNG of 30000x30000 in full": lambda: png(30000, 30000, 30000 * 3751),
    "PNG of 2^31-1 by 1": lambda: png(0x7FFFFFFF, 1, MB),
    "PNG of 25 megapixels of 16 bits": lambda: png(5000, 5000, 5000 * 40001, depth=16, colours=6),
    "PNG with 200 MB behind its pixels": lambda: png(28, 28, 200 * MB),
    "PNG with 100 MB of text": lambda: png(28, 28, 140, make_chunk(b"zTXt", b"a\0\0" + pack_zeros(100 * MB))),
    "PNG with 100 MB of colour profile": lambda: png(28, 28, 140, make_chunk(b"iCCP", b"a\0\0" + pack_zeros(100 * MB))),
    "PNG of 2^31 frames": lambda: png(28, 28, 140, FRAMES),
    "JPEG of 65500x65500": lambda: patch(FILES["JPEG"], b"\xff\xc0", 5, ">HH", 65500, 65500),
    "JPEG of 1 by 65500": lambda: patch(FILES["JPEG"], b"\xff\xc0", 5, ">HH", 65500, 1),
    "progressive JPEG of 65500x65500": lambda: patch(FILES["JPEG, progressive"], b"\xff\xc2", 5, ">HH", 65500, 65500),
    "JPEG of 100 megapixels": lambda: blank("JPEG", 10000),
    "progressive JPEG of 25 megapixels": lambda: blank("JPEG", 5000, "RGB", progressive=True),
    "WebP of 16384x16384": lambda: patch(FILES["WEBP, lossless"], b"VP8L", 9, "<I", 0x3FFF | 0x3FFF << 14),
    "WebP of 25 megapixels": lambda: blank("WEBP", 5000, "RGB", lossless=True, method=0, quality=0),
    "AVIF of 65535x65535": lambda: patch(FILES["AVIF"], b"ispe", 8, ">II", 65535, 65535),
    "AVIF of 2^32-1 by 2^32-1": lambda: patch(FILES["AVIF"], b"ispe", 8, ">II", MOST, MOST),
    "AVIF of 16 megapixels": lambda: blank("AVIF", 4000, speed=10),
    "HEIC of 65535x65535": lambda: patch(FILES["HEIF"], b"ispe", 8, ">II", 65535, 65535),
    "HEIC of 4800x4800": lambda: patch(FILES["HEIF"], b"ispe", 8, ">II", 4800, 4800),
    "TIFF of 2^32-1 by 320": lambda: patch(FILES["TIFF"], b"\0\1\4\0\1\0\0\0", 8, "<I", MOST),
    "TIFF of 25 megapixels": lambda: blank("TIFF", 5000, compression="tiff_adobe_deflate"),
    "TIFF of 500 pages": lambda: blank("TIFF", 400, compression="tiff_lzw", save_all=True, append_images=PAGES),
    "GIF of 65535x65535": lambda: gif(65535, 65535, 1, 100),
    "GIF of 25 megapixels": lambda: gif(5000, 5000, 1, 5000),
    "GIF of 3000 frames": lambda: gif(300, 300, 3000, 300),
    "GIF of 100 frames of 1 megapixel": lambda: gif(1000, 1000, 100, 1000),
    "BMP of 2^31-1 by 2^31-1": lambda: patch(FILES["BMP"], b"BM", 18, "<ii", 0x7FFFFFFF, 0x7FFFFFFF),
    "BMP of -2^31 by -2^31": lambda: patch(FILES["BMP"], b"BM", 18, "<ii", -0x80000000, -0x80000000),
    "JPEG 2000 of 2^32-1 by 2^32-1": lambda: patch(J2K, b"\xff\x51", 6, ">II", MOST, MOST),
    "JPEG 2000 of 5000x5000, one tile sent": lambda: patch(J2K, b"\xff\x51", 6, ">II", 5000, 5000),
    "JPEG 2000 of 25 million tiles": lambda: patch(J2K, b"\xff\x51", 6, ">6I", 5000, 5000, 0, 0, 1, 1),
    "JPEG 2000 of 25 megapixels": lambda: blank("JPEG2000", 5000, num_resolutions=1),
}
