"""The formats of picture files, each recognised by its first bytes."""

import base64
import functools
import importlib
import re
from contextlib import suppress
from typing import NamedTuple

from PIL.ImageFile import ImageFile

from model.errors import BadImage, refusal


class Format(NamedTuple):
    """A format that is read."""

    # For Pillow, and for people.
    name: str
    title: str
    # The endings of file names, in lower case, between spaces.
    suffixes: str
    # A regular expression for the first bytes.
    signature: bytes
    # The module with the class that reads it. Pillow's own way of finding that imports all modules, which takes 40 ms.
    module: str
    # What that module needs, which it hides that it could not load.
    library: str = "PIL._imaging"
    # Whether there are rare kinds that the library does not decode.
    is_varied: bool = False


class UnreadKind(NamedTuple):
    """A kind of file that is not read."""

    signature: bytes
    # What it is, and what to send instead.
    advice: str
    suffix: str = ""


# Files of both may have the brand mif1.
AVIF_SIGNATURE = rb"....ftyp(?:....)*avi[fs]"
HEIF_SIGNATURE = rb"(?!%b)....ftyp(?:....)*(?:hei[cmsx]|hev[cx]|m[is]f1)" % AVIF_SIGNATURE
# Many files begin with BM; the size of its second header is one of these.
BMP_SIGNATURE = rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"
JPEG2000_SIGNATURE = rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"
FORMATS = (
    Format("PNG", "PNG", ".png .apng", rb"\x89PNG\r\n\x1a\n", "PIL.PngImagePlugin"),
    Format("JPEG", "JPEG", ".jpg .jpeg .jpe .jfif .mpo", rb"\xff\xd8\xff", "PIL.JpegImagePlugin"),
    Format(
        "HEIF", "HEIC", ".heic .heif .hif .heics .heifs", HEIF_SIGNATURE, "pillow_heif", "_pillow_heif", is_varied=True
    ),
    Format("WEBP", "WebP", ".webp", rb"RIFF....WEBP", "PIL.WebPImagePlugin", "PIL._webp"),
    Format("AVIF", "AVIF", ".avif", AVIF_SIGNATURE, "PIL.AvifImagePlugin", "PIL._avif", is_varied=True),
    Format("TIFF", "TIFF", ".tif .tiff", rb"II[*+]\0|MM\0[*+]", "PIL.TiffImagePlugin", is_varied=True),
    Format("GIF", "GIF", ".gif", rb"GIF8[79]a", "PIL.GifImagePlugin"),
    Format("BMP", "BMP", ".bmp .dib", BMP_SIGNATURE, "PIL.BmpImagePlugin"),
    Format("JPEG2000", "JPEG 2000", ".jp2 .j2k .jpf .jpx", JPEG2000_SIGNATURE, "PIL.Jpeg2KImagePlugin", is_varied=True),
)
UNREAD_KINDS = (
    UnreadKind(rb"%PDF", "a PDF file: send the page as a picture, such as a screenshot", ".pdf"),
    UnreadKind(rb"PK\x03\x04", "a ZIP archive or an Office document: send the pictures in it, one at a time"),
    UnreadKind(rb"8BPS", "a Photoshop file: export it as a PNG or JPEG file", ".psd"),
    UnreadKind(rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL file: export it as a PNG or JPEG file", ".jxl"),
    UnreadKind(rb"\0\0\x01\0", "an icon file: export it as a PNG file", ".ico"),
    UnreadKind(rb"....ftyp", "a video or a recording, not a picture: send a photo"),
    UnreadKind(rb"(?i)\s*<(?:!doctype )?html", "a web page, not a picture: send the picture that it shows"),
    UnreadKind(rb"(?i).*<svg", "an SVG file: export it as a PNG file", ".svg"),
)
SUFFIXES = tuple(suffix for each in FORMATS for suffix in each.suffixes.split())
# Of pictures that are answered with advice; some have no signature.
OTHER_SUFFIXES = (".tga", ".ppm", ".dng", ".cr2", ".cr3", ".nef", ".arw")
UNREAD_SUFFIXES = tuple(kind.suffix for kind in UNREAD_KINDS if kind.suffix) + OTHER_SUFFIXES
*TITLES, LAST_TITLE = (each.title for each in FORMATS)
ADVICE = f"send a {', '.join(TITLES)} or {LAST_TITLE} file"

SIGNATURES = tuple((re.compile(each.signature, re.DOTALL), each) for each in FORMATS)
# A PNG or JPEG is also found after spare bytes, such as a line break, a form's headers or a camera's own header.
SPARE_BYTES = 1024
# A picture as base64, in either alphabet, or as a data URL; no picture file begins like that. Nothing is matched again
# (possessive quantifiers), or a few thousand spaces would take minutes.
TEXT = re.compile(rb"\s*+(?:data:image/[\w.+-]++;base64,)?+[\w+/\s-]{40,}+={0,2}+\s*+", re.ASCII)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
STANDARD_ALPHABET = str.maketrans("-_", "+/")


def identify(upload: bytes) -> tuple[Format, bytes]:
    """Return the format and the bytes of the picture file in an upload, which may be base64. Raises BadImage."""
    upload = upload.removeprefix(BYTE_ORDER_MARK)
    if TEXT.fullmatch(upload):
        with suppress(ValueError):
            upload = decode_base64(upload.decode())
    head = upload[:SPARE_BYTES]
    if head[4:8] == b"ftyp":
        # The box that names the brands ends here.
        head = head[: max(12, int.from_bytes(head[:4], "big"))]
    for signature, each in SIGNATURES:
        if signature.match(head):
            return each, upload
    for kind in UNREAD_KINDS:
        if re.match(kind.signature, head, re.DOTALL):
            raise BadImage(f"This is {kind.advice}.", "not_a_picture")
    starts = [(found.start(), each) for signature, each in SIGNATURES[:2] if (found := signature.search(head))]
    if starts:
        start, each = min(starts)
        return each, upload[start:]
    raise BadImage(describe(head), "not_a_picture")


def decode_base64(text: str) -> bytes:
    """Return what base64 stands for, or a data URL: padding may be lost, plus signs be spaces. Raises ValueError."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    packed = "".join(text.strip().replace(" ", "+").split()).translate(STANDARD_ALPHABET).rstrip("=")
    return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)


def describe(head: bytes) -> str:
    """Return a sentence that says what a file seems to be by its first bytes, and what to send instead."""
    head = head.lstrip().lower()
    if head.startswith((b"data:image/", b"ivborw0kggo", b"/9j/")):
        return "The base64 of this picture is damaged."
    if not is_text(head):
        return f"This is not a picture: {ADVICE}."
    kind = "JSON" if head.startswith((b"{", b"[")) else "XML" if head.startswith(b"<?xml") else "text"
    return f"This is {kind}, not a picture: {ADVICE}."


def is_text(head: bytes) -> bool:
    """Return whether the first bytes of a file are UTF-8 without control characters; its last one may be cut."""
    if any(byte < 32 and byte not in b"\t\n\f\r\x1b" for byte in head):
        return False
    return len(head.decode("utf-8", "ignore").encode()) > len(head) - 4


@functools.cache
def load_reader(file_format: Format) -> type[ImageFile]:
    """Return the class that reads a format, imported when the first such file comes.

    Raises BadImage if there is no memory for it; the next such file tries again.
    """
    try:
        importlib.import_module(file_format.library)
        module = importlib.import_module(file_format.module)
    except (ImportError, MemoryError) as cause:
        raise refusal("no_memory") from cause
    return next(each for each in vars(module).values() if getattr(each, "format", "") == file_format.name)
