"""The contact sheet shows sheets with their ink, or fails with one sentence."""

from pathlib import Path

import pytest
from PIL import Image

from train.contact_sheet import COLUMNS, GAP_PX, SIDE_PX, main


def test_the_picture_has_a_row_for_every_six_sheets(tmp_path: Path) -> None:
    assert main([str(tmp_path / "pages.png"), "--pages", "7"]) == 0
    with Image.open(tmp_path / "pages.png") as picture:
        assert picture.size == (2 * COLUMNS * (SIDE_PX + GAP_PX), 2 * (SIDE_PX + GAP_PX))


def test_a_missing_folder_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none" / "pages.png"
    assert main([str(path), "--pages", "1"]) == 1
    assert capsys.readouterr().err == f"{path}: No such file or directory.\n"
