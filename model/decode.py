"""The way from the bytes of a picture file to the grey levels in which the nets look for a digit."""

import io
import re
import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from model.errors import BadImage, refusal
from model.formats import FORMATS, identify, load_reader
from model.geometry import Ink
from model.grey import FINE_PX, SEARCH_PX, reduction, shrink, to_grey
from model.limits import MAX_MEGAPIXELS, check_scans, check_size, count_megapixels
from model.thumbnail import THUMBNAIL_PX, keep_mnist, separate_ink

VARIED = {each.name for each in FORMATS if each.is_varied}

# An animation that starts blank is followed for this long, a file of blank pages for so many.
MAX_FRAMES, MAX_FRAMES_MEGAPIXELS = 1000, 100
MAX_PAGES = 20
# A frame is blank if its grey levels differ by no more than this.
BLANK_CONTRAST = 8

# A picture that is narrower or lower than this once reduced holds no digit.
NARROWEST_PX = 8
# The first bytes of a PNG of 8 to THUMBNAIL_PX pixels each way with 8-bit grey levels, not interlaced.
SMALL_GREY_PNG = re.compile(
    rb"\x89PNG\r\n\x1a\n\0\0\0\rIHDR(?:\0\0\0[%b-%b]){2}\x08\0\0\0\0" % (bytes([NARROWEST_PX]), bytes([THUMBNAIL_PX]))
)

# What undoes each of EXIF's ways to turn a picture.
TURN_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

# What Pillow's decoders raise for damaged files, besides its own errors (which are OSErrors).
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    AssertionError,
    # From libheif, for sizes beyond its limits.
    MemoryError,
    Image.DecompressionBombError,
    struct.error,
    zlib.error,
)


class Picture(NamedTuple):
    """A decoded picture, in which InkNet looks for the digit's ink."""

    # (h, w) uint8 grey levels, upright, no side above SEARCH_PX.
    grey: NDArray[np.uint8]
    # Pixels of the upload for one of the grey levels.
    scale: float
    # EXIF's number for how it was turned, 1 if it was not.
    orientation: int
    # The file, from which more pixels can be had.
    upload: bytes


def decode(upload: bytes) -> Picture | Ink:
    """Decode the bytes of a picture file; a thumbnail or one of MNIST's form becomes its ink. Raises BadImage."""
    return decode_small_png(upload) or decode_image(open_image(upload), upload)


def decode_small_png(upload: bytes) -> Ink | None:
    """Return the ink in a PNG of at most THUMBNAIL_PX a side with 8-bit grey levels and nothing else, None for others.

    Most programs send those. It is what decode_image does with them, on the shortest way.
    """
    if not SMALL_GREY_PNG.match(upload):
        return None
    try:
        image = PngImageFile(io.BytesIO(upload))
        image.load()
    except DECODE_ERRORS:
        return None
    if image.info:
        return None
    grey = np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width)
    return keep_mnist(grey) or separate_ink(grey)


def decode_all(uploads: Iterable[bytes | Ink | BadImage]) -> list[Picture | Ink | BadImage]:
    """Decode the picture files among the uploads of one request; together they may have as many megapixels as one."""
    decoded: list[Picture | Ink | BadImage] = []
    left = float(MAX_MEGAPIXELS)
    for upload in uploads:
        if not isinstance(upload, bytes):
            decoded.append(upload)
            continue
        try:
            image = open_image(upload)
            left -= count_megapixels(image)
            if left < 0:
                sentence = f"The pictures of this request have more than {MAX_MEGAPIXELS} megapixels together: "
                raise BadImage(sentence + "send fewer at a time.", "too_many_megapixels")
            decoded.append(decode_image(image, upload))
        except BadImage as error:
            decoded.append(error.without_traceback())
    return decoded


def turn_back(picture: Picture) -> Picture:
    """Return a picture as it is stored: some programs turn one and leave EXIF's note that it is to be turned."""
    return picture._replace(grey=turn(picture.grey, picture.orientation), orientation=1)


def turn(grey: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return (h, w) grey levels as they are stored, of which EXIF has this number."""
    return np.asarray(Image.fromarray(grey).transpose(TURN_BACK[orientation]))


def open_image(upload: bytes) -> Image.Image:
    """Open an upload in a known format and of a size within the limits, without decoding it. Raises BadImage."""
    if not upload:
        raise BadImage("The picture is empty: send the bytes of a picture file.", "not_a_picture")
    file_format, file = identify(upload)
    reader = load_reader(file_format)
    try:
        image = reader(io.BytesIO(file))
    except Image.DecompressionBombError as cause:
        sentence = f"The picture has too many pixels: send at most {MAX_MEGAPIXELS} megapixels."
        raise BadImage(sentence, "too_many_megapixels") from cause
    except DECODE_ERRORS as cause:
        raise refuse_damaged(file_format.name, cause) from cause
    check_size(image)
    check_scans(image, file)
    return image


def refuse_damaged(name: str | None, cause: Exception) -> BadImage:
    """Return the refusal of a file of a format for what its decoder raised."""
    # libheif raises MemoryError for files that claim too much, too.
    if isinstance(cause, MemoryError) and name != "HEIF":
        return refusal("no_memory")
    if name in VARIED:
        sentence = f"The {name} file is damaged, or of a rare kind: save the picture as a PNG or JPEG file."
        return BadImage(sentence, "damaged")
    return refusal("damaged")


def decode_finer(picture: Picture) -> NDArray[np.uint8]:
    """Return a picture's grey levels as its file has them, reduced until no side is above FINE_PX. Raises BadImage."""
    if picture.scale <= 1:
        return picture.grey
    grey, orientation = load_grey(open_image(picture.upload), FINE_PX)
    return grey if orientation == picture.orientation else turn(grey, orientation)


def decode_image(image: Image.Image, upload: bytes) -> Picture | Ink:
    """Decode an open picture, as decode does. Raises BadImage."""
    longer = max(image.size)
    grey, orientation = load_grey(image)
    if min(grey.shape) < NARROWEST_PX:
        sentence = f"The picture is too small or too narrow: send one of at least {NARROWEST_PX} pixels each way."
        raise BadImage(sentence, "too_small")
    if max(grey.shape) > THUMBNAIL_PX:
        return Picture(grey, longer / max(grey.shape), orientation, upload)
    ink = keep_mnist(grey) or separate_ink(grey)
    if ink is None:
        raise refusal("blank")
    return ink


def load_grey(image: Image.Image, longest: int = SEARCH_PX) -> tuple[NDArray[np.uint8], int]:
    """Return what a picture shows as (h, w) uint8 grey levels, upright, with no side above the longest.

    That is the first frame, unless it is blank: then the last of an animation, or the first page that is not blank. The
    number is EXIF's for how it was turned, 1 if it was not. Raises BadImage.
    """
    name = image.format
    try:
        if isinstance(image, JpegImageFile):
            factor = reduction(image, longest)
            if factor > 1:
                # JPEG decodes at a half, a quarter or an eighth of its size at a fraction of the cost.
                image.draft(None, (image.width // factor or 1, image.height // factor or 1))
        elif isinstance(image, Jpeg2KImageFile):
            load_halved(image, longest)
        elif name != "HEIF" and getattr(image, "is_animated", False):
            leave_blank_frames(image)
        image.load()
        if image.mode in ("L", "RGB"):
            image = shrink(image, longest)
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        if orientation != 1:
            ImageOps.exif_transpose(image, in_place=True)
        grey = to_grey(image, longest)
    except DECODE_ERRORS as cause:
        raise refuse_damaged(name, cause) from cause
    return np.asarray(shrink(grey, longest)), orientation if orientation in TURN_BACK else 1


def load_halved(image: Jpeg2KImageFile, longest: int) -> None:
    """Decode a JPEG 2000 at a half of its size, a quarter and so on, as far as it was made for that."""
    data = cast("io.BytesIO", image.fp).getvalue()
    coding_style = data.find(b"\xff\x52", data.find(b"\xff\x4f\xff\x51"))
    if image.mode != "P":
        image.reduce = min(data[coding_style + 9], reduction(image, longest).bit_length() - 1)
    image.load()
    # While this is set, Pillow hides the method of the same name.
    image.reduce = 0


def leave_blank_frames(image: Image.Image) -> None:
    """Seek the last frame of an animation that starts blank, or the first page of a file that is not. Raises BadImage.

    A drawing that grows is whole in its last frame.
    """
    has_pages = image.format == "TIFF"
    affordable = int(MAX_FRAMES_MEGAPIXELS * 1e6) // (image.width * image.height)
    for number in range(1, min(affordable, MAX_PAGES if has_pages else MAX_FRAMES)):
        if (has_pages or number == 1) and not is_blank(image):
            break
        try:
            image.seek(number)
        except EOFError:
            break
        check_size(image)


def is_blank(image: Image.Image) -> bool:
    """Return whether the current frame shows nothing."""
    image.load()
    return int(np.ptp(np.asarray(to_grey(image)))) <= BLANK_CONTRAST
