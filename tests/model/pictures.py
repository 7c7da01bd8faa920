"""Files of every format that show the same paper, and how tests make others."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from pillow_heif import register_heif_opener

from tests.harness.service import EXAMPLES

# The tests also write such files.
register_heif_opener()


def encode(picture: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of a picture file."""
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def animate(file_format: str, *frames: Image.Image) -> bytes:
    """Return the bytes of a file with several frames or pages."""
    return encode(frames[0], file_format, save_all=True, append_images=frames[1:])


PAPER = Image.open(EXAMPLES[7]).convert("RGB").resize((360, 320))
PAPER_GREY = PAPER.convert("L")
FAX = PAPER_GREY.point(lambda level: 255 * (level > 128)).convert("1")
EMPTY = Image.new("RGB", PAPER.size, "white")
BEGUN = EMPTY.copy()
BEGUN.paste(PAPER.crop((0, 0, 360, 160)))


def with_bits(bits: int) -> Image.Image:
    """Return the paper with so many bits in each pixel of 16."""
    return Image.fromarray(np.asarray(PAPER_GREY).astype(np.uint16) << (bits - 8))


def in_lab(picture: Image.Image) -> Image.Image:
    """Return a picture in the colours of CIE 1976."""
    spaces = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(picture, *spaces, outputMode="LAB")
    assert converted is not None
    return converted


def make_chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_chunk(png: bytes, name: bytes, content: bytes) -> bytes:
    """Return a PNG with one more chunk behind its header."""
    return png[:33] + make_chunk(name, content) + png[33:]


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# By format and kind: a file that shows the paper.
FILES = {
    "PNG": encode(PAPER),
    "PNG, gamma": with_chunk(encode(PAPER), b"gAMA", (100_000).to_bytes(4, "big")),
    "PNG, colour profile": encode(PAPER, icc_profile=SRGB),
    "PNG, broken colour profile": with_chunk(encode(PAPER), b"iCCP", b"broken\0\0profile"),
    "PNG, 16 bits": encode(with_bits(16)),
    "PNG, 12 of 16 bits": encode(with_bits(12)),
    "PNG, 10 of 16 bits": encode(with_bits(10)),
    "PNG, spare bytes": b"\r\n\r\n" + encode(PAPER),
    "PNG, animated": animate("PNG", EMPTY, BEGUN, PAPER),
    "JPEG": encode(PAPER, "JPEG"),
    "JPEG, progressive": encode(PAPER, "JPEG", progressive=True, exif=b"Exif\0\0II*\0\x08" + bytes(9)),
    "JPEG, CMYK": encode(PAPER.convert("CMYK"), "JPEG"),
    "JPEG, spare bytes": b"Content-Type: image/jpeg\r\n\r\n" + encode(PAPER, "JPEG"),
    "JPEG, MPO": animate("MPO", PAPER, EMPTY),
    "HEIF": encode(PAPER, "HEIF"),
    "HEIF, 10 bits": encode(with_bits(16), "HEIF"),
    "HEIF, two pictures": animate("HEIF", PAPER, EMPTY),
    "WEBP": encode(PAPER, "WEBP"),
    "WEBP, lossless": encode(PAPER, "WEBP", lossless=True),
    "WEBP, animated": animate("WEBP", EMPTY, BEGUN, PAPER),
    "AVIF": encode(PAPER, "AVIF"),
    "AVIF, animated": animate("AVIF", EMPTY, BEGUN, PAPER),
    "TIFF": encode(PAPER, "TIFF"),
    "TIFF, LZW": encode(PAPER, "TIFF", compression="tiff_lzw"),
    "TIFF, deflate": encode(PAPER, "TIFF", compression="tiff_adobe_deflate"),
    "TIFF, JPEG": encode(PAPER, "TIFF", compression="jpeg"),
    "TIFF, fax G4": encode(FAX, "TIFF", compression="group4"),
    "TIFF, 16 bits": encode(with_bits(16), "TIFF"),
    "TIFF, 12 of 16 bits": encode(with_bits(12), "TIFF"),
    "TIFF, float": encode(Image.fromarray(np.asarray(PAPER_GREY).astype(np.float32) / 255), "TIFF"),
    "TIFF, CMYK": encode(PAPER.convert("CMYK"), "TIFF"),
    "TIFF, Lab": encode(in_lab(PAPER), "TIFF"),
    "TIFF, pages": animate("TIFF", EMPTY, EMPTY, PAPER, EMPTY),
    "GIF": encode(PAPER, "GIF"),
    "GIF, animated": animate("GIF", EMPTY, BEGUN, PAPER),
    "BMP": encode(PAPER, "BMP"),
    "JPEG2000": encode(PAPER, "JPEG2000"),
    "JPEG2000, codestream": encode(PAPER, "JPEG2000", no_jp2=True),
}
