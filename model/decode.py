"""The way from the bytes of a picture file to the grey levels in which the nets look for a digit."""

import io
import struct
import warnings
import zlib
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile

from model.errors import BadImage, blank, undecodable
from model.formats import describe_unread, find_reader, recognise, unpack_text
from model.geometry import SIDE_PX, Ink, is_mnist, ready
from model.grey import reduction, shrink, to_grey
from model.thumbnail import THUMBNAIL_PX, read_thumbnail

# Pillow warns of sizes, which are checked here, and of every odd tag.
warnings.filterwarnings("ignore", module=r"PIL\.")

# What is decoded at once: 100 MB as Pillow holds it.
MAX_MEGAPIXELS = 25
# A JPEG of more than MAX_MEGAPIXELS is decoded at an eighth of its size, so that it takes little memory.
MAX_JPEG_MEGAPIXELS = 100
# Unless it has several scans. Then the coefficients of all are kept: with these bytes, 25 megapixels in full colour.
MAX_COEFFICIENT_BYTES = 150e6
# Each scan of a progressive JPEG takes time, though its bytes may be few; cameras and programs write 3 to 20.
MAX_SCANS = 100
# An animation that starts blank is followed for this long, a file of blank pages for so many.
MAX_FRAMES, MAX_FRAMES_MEGAPIXELS = 1000, 100
MAX_PAGES = 20
# A frame is blank if its grey levels differ by no more than this.
BLANK_CONTRAST = 8

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

# A picture that is narrower or lower than this once reduced holds no digit.
NARROWEST_PX = 8
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
    """A picture on its way to the nets: grey levels in which InkNet looks for the digit's ink, or its ink."""

    # (h, w) uint8, no side above SEARCH_PX.
    grey: NDArray[np.uint8] | None
    ink: Ink | None = None
    # Pixels of the upload for one of the grey levels.
    scale: float = 1.0
    # EXIF's number for how the grey levels were turned, 1 if they were not.
    orientation: int = 1


def read_picture(upload: bytes) -> Picture:
    """Read the bytes of a picture file. Raises BadImage for anything else, and for one that the nets cannot read."""
    return load(open_picture(upload))


def load(picture: Image.Image) -> Picture:
    """Read an open picture, still undecoded, as read_picture does. Raises BadImage.

    A picture that already has MNIST's size and geometry becomes its pixels, unchanged.
    """
    longer = max(picture.size)
    grey, orientation = decode(picture)
    if min(grey.shape) < NARROWEST_PX:
        sentence = f"The picture is too small or too narrow: send one of at least {NARROWEST_PX} pixels each way."
        raise BadImage(sentence, "too_small")
    if grey.shape == (SIDE_PX, SIDE_PX):
        for pixels in (grey, 255 - grey):
            if is_mnist(pixels):
                return Picture(None, ready(pixels))
    if max(grey.shape) > THUMBNAIL_PX:
        return Picture(grey, scale=longer / max(grey.shape), orientation=orientation)
    ink = read_thumbnail(grey)
    if ink is None:
        raise blank()
    return Picture(None, ink)


def turn_back(picture: Picture) -> Picture:
    """Return a picture as it is stored: some programs turn one and leave EXIF's note that it is to be turned."""
    if picture.grey is None or picture.orientation == 1:
        return picture
    return picture._replace(grey=np.asarray(Image.fromarray(picture.grey).transpose(TURN_BACK[picture.orientation])))


def open_picture(upload: bytes) -> Image.Image:
    """Open an upload in a known format and of a size within the limits, without decoding it. Raises BadImage."""
    if not upload:
        raise BadImage("The picture is empty: send the bytes of a picture file.", "not_a_picture")
    name, start = recognise(upload)
    if not name:
        upload = unpack_text(upload) or upload
        name, start = recognise(upload)
    if not name:
        raise BadImage(describe_unread(upload), "not_a_picture")
    try:
        picture = find_reader(name)(io.BytesIO(upload[start:] if start else upload))
    except Image.DecompressionBombError as cause:
        sentence = f"The picture has too many pixels: send at most {MAX_MEGAPIXELS} megapixels."
        raise BadImage(sentence, "too_many_megapixels") from cause
    except DECODE_ERRORS as cause:
        raise undecodable(name, cause) from cause
    check_size(picture)
    if "progressive" in picture.info and upload.count(b"\xff\xda") > MAX_SCANS:
        raise BadImage(f"The JPEG has more than {MAX_SCANS} scans: save it again with fewer.", "damaged")
    return picture


def check_size(picture: Image.Image) -> None:
    """Raise BadImage if a picture takes more memory than one may."""
    megapixels = picture.width * picture.height / 1e6
    if megapixels <= MAX_MEGAPIXELS:
        return
    advice = f"send at most {MAX_MEGAPIXELS}"
    if isinstance(picture, JpegImageFile):
        if megapixels <= MAX_JPEG_MEGAPIXELS and count_megapixels(picture) <= MAX_MEGAPIXELS:
            return
        advice = f"send at most {MAX_JPEG_MEGAPIXELS}, or {MAX_MEGAPIXELS} if the JPEG is progressive"
    raise BadImage(f"The picture has {megapixels:.1f} megapixels: {advice}.", "too_many_megapixels")


def count_megapixels(picture: Image.Image) -> float:
    """Return how many megapixels of memory an open picture takes to decode; large JPEGs take fewer than they have."""
    megapixels = picture.width * picture.height / 1e6
    if megapixels <= MAX_MEGAPIXELS or not isinstance(picture, JpegImageFile):
        return megapixels
    return max(megapixels / 64, count_coefficient_bytes(picture) / MAX_COEFFICIENT_BYTES * MAX_MEGAPIXELS)


def count_coefficient_bytes(picture: JpegImageFile) -> float:
    """Return how many bytes libjpeg keeps of all scans of an open JPEG; 0 if it has one scan only."""
    # Pillow has read up to the end of the first scan's header, which lists the components it holds.
    file = cast("io.BytesIO", picture.fp)
    components_in_scan = file.getvalue()[file.tell() - 4 - 2 * picture.layers]
    if "progressive" not in picture.info and components_in_scan == picture.layers:
        return 0
    samples = [across * down for _, across, down, _ in picture.layer]
    most = max(across for _, across, *_ in picture.layer) * max(down for _, _, down, _ in picture.layer)
    return 2 * picture.width * picture.height * sum(samples) / most


def decode(picture: Image.Image) -> tuple[NDArray[np.uint8], int]:
    """Return what a picture shows as (h, w) uint8 grey levels, upright, with no side above SEARCH_PX.

    That is the first frame, unless it is blank: then the last of an animation, or the first page that is not blank. The
    number is EXIF's for how it was turned, 1 if it was not. Raises BadImage.
    """
    name = picture.format
    try:
        if isinstance(picture, JpegImageFile):
            factor = reduction(picture)
            if factor > 1:
                # JPEG decodes at a half, a quarter or an eighth of its size at a fraction of the cost.
                picture.draft(None, (picture.width // factor or 1, picture.height // factor or 1))
        elif isinstance(picture, Jpeg2KImageFile):
            load_halved(picture)
        elif name != "HEIF" and getattr(picture, "is_animated", False):
            leave_blank_frames(picture)
        picture.load()
        if picture.mode in ("L", "RGB"):
            picture = shrink(picture)
        orientation = picture.getexif().get(ExifTags.Base.Orientation)
        ImageOps.exif_transpose(picture, in_place=True)
        grey = to_grey(picture)
    except DECODE_ERRORS as cause:
        raise undecodable(name, cause) from cause
    return np.asarray(shrink(grey)), orientation if orientation in TURN_BACK else 1


def load_halved(picture: Jpeg2KImageFile) -> None:
    """Decode a JPEG 2000 at a half of its size, a quarter and so on, as far as it was made for that."""
    data = cast("io.BytesIO", picture.fp).getvalue()
    coding_style = data.find(b"\xff\x52", data.find(b"\xff\x4f\xff\x51"))
    if picture.mode != "P":
        picture.reduce = min(data[coding_style + 9], reduction(picture).bit_length() - 1)
    picture.load()
    # While this is set, Pillow hides the method of the same name.
    picture.reduce = 0


def leave_blank_frames(picture: Image.Image) -> None:
    """Seek the last frame of an animation that starts blank, or the first page of a file that is not. Raises BadImage.

    A drawing that grows is whole in its last frame.
    """
    has_pages = picture.format == "TIFF"
    affordable = int(MAX_FRAMES_MEGAPIXELS * 1e6) // (picture.width * picture.height)
    for number in range(1, min(affordable, MAX_PAGES if has_pages else MAX_FRAMES)):
        if (has_pages or number == 1) and not is_blank(picture):
            break
        try:
            picture.seek(number)
        except EOFError:
            break
        check_size(picture)


def is_blank(picture: Image.Image) -> bool:
    """Tell whether nothing is to be seen in the current frame."""
    picture.load()
    return int(np.ptp(np.asarray(to_grey(picture)))) <= BLANK_CONTRAST
