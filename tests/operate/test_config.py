"""A configuration says each thing once, and what it lacks is a sentence."""

from pathlib import Path

import pytest

from operate.config import OperatorError, read_config


def test_comments_and_spaces_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "config.properties"
    path.write_text("# inference_address=http://other\n  inference_address = http://a:1 \n\nno pair\n")
    config = read_config(path)
    assert config.inference == "http://a:1"
    assert config.page == ""
    assert config.needs_tokens
    with pytest.raises(OperatorError, match=f"^{path} lacks a value for load_models.$"):
        _ = config.model
