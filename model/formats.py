"""Tells from the first bytes of a file which format it has: one of the pictures that are read, or what else it is."""

import base64
import functools
import importlib
import re
import sys

from PIL.ImageFile import ImageFile

# The endings of the names of pictures that are read, in lower case, by the names of their formats.
SUFFIXES_OF = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "HEIF": (".heic", ".heif", ".hif", ".heics", ".heifs"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx"),
}
SUFFIXES = tuple(suffix for suffixes in SUFFIXES_OF.values() for suffix in suffixes)
ADVICE = "send a PNG, JPEG, HEIC, WebP, AVIF, TIFF, GIF, BMP or JPEG 2000 file"

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
SIGNATURES = (
    (PNG, "PNG"),
    (JPEG, "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
AVIF_BRANDS = {b"avif", b"avis"}
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
# A PNG or JPEG is also found after spare bytes, such as a line break, a form's headers or a camera's own header.
SPARE_BYTES = 1024

UNREAD_SIGNATURES = (
    (b"%PDF", "a PDF file", "send the page as a picture, such as a screenshot"),
    (b"PK\x03\x04", "a ZIP archive or an Office document", "send the pictures in it, one at a time"),
    (b"8BPS", "a Photoshop file", "export it as a PNG or JPEG file"),
    (b"\xff\x0a", "a JPEG XL file", "export it as a PNG or JPEG file"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL file", "export it as a PNG or JPEG file"),
    (b"\0\0\x01\0", "an icon file", "export it as a PNG file"),
)
# A picture as base64, in either alphabet, or as a data URL; no picture file begins like that.
TEXT = re.compile(rb"\s*(?:data:image/[\w.+-]+;base64,)?[\w+/\s-]{40,}={0,2}\s*", re.ASCII)
STANDARD_ALPHABET = str.maketrans("-_", "+/")
# Where the class is that reads a format. Pillow's own way of finding it imports them all, which takes 40 ms.
READERS = {
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "HEIF": ("pillow_heif", "HeifImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "JPEG2000": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
}


def recognise(upload: bytes) -> tuple[str, int]:
    """Return the name of the format of a picture file and the byte where it starts, or ("", 0)."""
    for signature, name in SIGNATURES:
        if upload.startswith(signature):
            return name, 0
    if upload.startswith(b"RIFF") and upload[8:12] == b"WEBP":
        return "WEBP", 0
    if upload.startswith(b"BM") and int.from_bytes(upload[14:18], "little") in BMP_HEADER_SIZES:
        return "BMP", 0
    if upload[4:8] == b"ftyp":
        brands = read_brands(upload)
        return ("AVIF" if brands & AVIF_BRANDS else "HEIF" if brands & HEIF_BRANDS else ""), 0
    if any(upload.startswith(signature) for signature, *_ in UNREAD_SIGNATURES):
        return "", 0
    starts = [(upload.find(signature, 0, SPARE_BYTES), name) for signature, name in ((PNG, "PNG"), (JPEG, "JPEG"))]
    start, name = min((each for each in starts if each[0] > 0), default=(0, ""))
    return name, start


def read_brands(upload: bytes) -> set[bytes]:
    """Return the four-letter names of the formats with which an ISO media file says that it complies."""
    end = min(int.from_bytes(upload[:4], "big"), SPARE_BYTES)
    return {upload[8:12]} | {upload[place : place + 4] for place in range(16, end, 4)}


def decode_base64(text: str) -> bytes:
    """Return what base64 stands for, or a data URL: padding may be lost, plus signs be spaces. Raises ValueError."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    packed = "".join(text.strip().replace(" ", "+").split()).translate(STANDARD_ALPHABET).rstrip("=")
    return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)


def unpack_text(upload: bytes) -> bytes:
    """Return the file that an upload holds as base64 text, or nothing if it is not such a text."""
    try:
        return decode_base64(upload.decode()) if TEXT.fullmatch(upload) else b""
    except ValueError:
        return b""


def describe_unread(upload: bytes) -> str:
    """Return a sentence that says what a file is that recognise does not know, and what to send instead."""
    for signature, what, advice in UNREAD_SIGNATURES:
        if upload.startswith(signature):
            return f"This is {what}: {advice}."
    if upload[4:8] == b"ftyp":
        return "This is a video or a recording, not a picture: send a photo."
    head = upload[:SPARE_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "This is a web page, not a picture: send the picture that it shows."
    if b"<svg" in head:
        return "This is an SVG file: export it as a PNG file."
    if head.startswith((b"data:image/", b"ivborw0kggo", b"/9j/")):
        return "The base64 of this picture is damaged."
    if not is_text(head):
        return f"This is not a picture: {ADVICE}."
    kind = "JSON" if head.startswith((b"{", b"[")) else "XML" if head.startswith(b"<?xml") else "text"
    return f"This is {kind}, not a picture: {ADVICE}."


def is_text(head: bytes) -> bool:
    """Tell whether the first bytes of a file are text: no control characters, and valid UTF-8 but for a cut end."""
    if any(byte < 32 and byte not in b"\t\n\f\r\x1b" for byte in head):
        return False
    return len(head.decode("utf-8", "ignore").encode()) > len(head) - 4


@functools.cache
def find_reader(name: str) -> type[ImageFile]:
    """Return the class that reads a format, imported when the first such file comes. Raises MemoryError.

    A library that could not be loaded is tried again with the next such file.
    """
    module, reader = READERS[name]
    try:
        loaded = importlib.import_module(module)
    except ImportError as cause:
        raise MemoryError from cause
    if not getattr(loaded, "SUPPORTED", True):
        # Pillow hides that the library behind this module could not be loaded.
        del sys.modules[module]
        raise MemoryError
    return getattr(loaded, reader)
