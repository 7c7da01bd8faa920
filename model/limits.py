"""How much memory and time a picture may take to decode."""

import io
from typing import cast

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from model.errors import BadImage

# What is decoded at once: 100 MB as Pillow holds it.
MAX_MEGAPIXELS = 25
# A JPEG of more than MAX_MEGAPIXELS is decoded at an eighth of its size, so that it takes little memory.
MAX_JPEG_MEGAPIXELS = 100
# Unless it has several scans. Then the coefficients of all are kept: with these bytes, 25 megapixels in full colour.
MAX_COEFFICIENT_BYTES = 150e6
# Each scan of a progressive JPEG takes time, though its bytes may be few; cameras and programs write 3 to 20.
MAX_SCANS = 100


def check_size(image: Image.Image) -> None:
    """Raise BadImage if a picture takes more memory than one may."""
    megapixels = image.width * image.height / 1e6
    most, advice = MAX_MEGAPIXELS, f"send at most {MAX_MEGAPIXELS}"
    if isinstance(image, JpegImageFile):
        most = MAX_JPEG_MEGAPIXELS
        advice = f"send at most {MAX_JPEG_MEGAPIXELS}, or {MAX_MEGAPIXELS} if the JPEG is progressive"
    if megapixels > most or count_megapixels(image) > MAX_MEGAPIXELS:
        raise BadImage(f"The picture has {megapixels:.1f} megapixels: {advice}.", "too_many_megapixels")


def count_megapixels(image: Image.Image) -> float:
    """Return how many megapixels of memory an open picture takes to decode; large JPEGs take fewer than they have."""
    megapixels = image.width * image.height / 1e6
    if megapixels <= MAX_MEGAPIXELS or not isinstance(image, JpegImageFile):
        return megapixels
    return max(megapixels / 64, count_coefficient_bytes(image) / MAX_COEFFICIENT_BYTES * MAX_MEGAPIXELS)


def count_coefficient_bytes(image: JpegImageFile) -> float:
    """Return how many bytes libjpeg keeps of all scans of an open JPEG; 0 if it has one scan only."""
    # Pillow has read up to the end of the first scan's header, which lists the components it holds.
    file = cast("io.BytesIO", image.fp)
    components_in_scan = file.getvalue()[file.tell() - 4 - 2 * image.layers]
    if "progressive" not in image.info and components_in_scan == image.layers:
        return 0
    samples = [across * down for _, across, down, _ in image.layer]
    most = max(across for _, across, *_ in image.layer) * max(down for _, _, down, _ in image.layer)
    return 2 * image.width * image.height * sum(samples) / most


def check_scans(image: Image.Image, file: bytes) -> None:
    """Raise BadImage if an open picture is a progressive JPEG of more scans than one may have."""
    if "progressive" in image.info and file.count(b"\xff\xda") > MAX_SCANS:
        raise BadImage(f"The JPEG has more than {MAX_SCANS} scans: save it again with fewer.", "damaged")
