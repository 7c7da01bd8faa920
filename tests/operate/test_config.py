"""A configuration says each thing once, and what it lacks is a sentence."""

from pathlib import Path

import pytest

from operate.config import CONFIG, ROOT, OperatorError, read_config


def test_the_shipped_configuration_is_read() -> None:
    config = read_config()
    assert (config.path, config.model, config.model_store) == (CONFIG, "mnist", ROOT / "model_store")
    assert config.max_request_bytes == 8 * 2**20
    assert not config.needs_tokens
    for address in (config.inference, config.management, config.metrics, config.page):
        assert address.startswith("http://127.0.0.1:")


def test_comments_and_spaces_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "config.properties"
    path.write_text("# inference_address=http://other\n  inference_address = http://a:1 \n\nno pair\n")
    config = read_config(path)
    assert config.inference == "http://a:1"
    assert config.page == ""
    assert config.needs_tokens
    with pytest.raises(OperatorError, match=f"^{path} lacks a value for load_models.$"):
        _ = config.model


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"none cannot be read: No such file or directory\.$"):
        read_config(tmp_path / "none")
