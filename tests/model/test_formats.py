"""Each format is recognised and decoded, its library loaded when needed; page and README name the same formats."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.decode import Picture, decode
from model.formats import ADVICE, FORMATS, SUFFIXES, identify
from operate.config import ROOT
from tests.harness.service import EXAMPLES
from tests.model.pictures import FAX, FILES, PAPER_GREY


@pytest.mark.parametrize("kind", FILES)
def test_every_format_shows_the_same_paper(kind: str) -> None:
    assert identify(FILES[kind])[0].name == kind.partition(",")[0]
    picture = decode(FILES[kind])
    assert isinstance(picture, Picture)
    paper = np.asarray(FAX.convert("L") if "fax" in kind else PAPER_GREY)
    assert picture.grey.shape == paper.shape
    # A float's range, and Lab's lightness, are not those of the grey levels.
    assert np.corrcoef(picture.grey.ravel(), paper.ravel())[0, 1] > 0.99
    if "float" not in kind and "Lab" not in kind:
        assert np.abs(picture.grey.astype(int) - paper).mean() < 3


def test_every_format_is_tried() -> None:
    assert {kind.partition(",")[0] for kind in FILES} == {each.name for each in FORMATS}


def test_the_page_offers_files_of_every_format_and_no_other() -> None:
    (accepted,) = re.findall(r'accept="([^"]+)"', (ROOT / "web" / "index.html").read_text())
    suffixes = {kind.replace("image/", ".") for kind in accepted.split(",")}
    assert suffixes <= set(SUFFIXES)
    for each in FORMATS:
        assert suffixes & set(each.suffixes.split()), each.name


def test_the_readme_names_every_format() -> None:
    assert ADVICE.removeprefix("send a ") in (ROOT / "README.md").read_text()


def test_what_reads_heic_is_loaded_for_heic_only() -> None:
    program = "import sys, pathlib, model.decode; model.decode.decode(pathlib.Path(sys.argv[1]).read_bytes())"
    command = [sys.executable, "-c", program + "; print('pillow_heif' in sys.modules)", str(EXAMPLES[7])]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


# A picture of 25 megapixels, then formats whose libraries cannot be loaded; all once more with memory.
WITHOUT_MEMORY = """
import io, re, resource, sys
from pathlib import Path
from PIL import Image
from model.errors import BadImage
from model.decode import decode

def read(upload):
    try:
        decode(upload)
    except BadImage as error:
        return error.reason
    return "read"

large = io.BytesIO()
Image.effect_noise((5000, 5000), 50).save(large, "PNG", compress_level=1)
first, *others = [Path(name).read_bytes() for name in sys.argv[1:]]
pictures = [large.getvalue(), *others]
read(first)
used = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + 100_000, resource.RLIM_INFINITY))
without = [read(picture) for picture in pictures]
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
print(without, [read(picture) for picture in pictures])
"""


def test_without_memory_no_picture_is_called_damaged(tmp_path: Path) -> None:
    heic = tmp_path / "paper.heic"
    heic.write_bytes(FILES["HEIF"])
    command = [sys.executable, "-c", WITHOUT_MEMORY, *map(str, (EXAMPLES[7], EXAMPLES[2], heic))]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == f"{['no_memory'] * 3} {['read'] * 3}\n"
