"""A configuration says each thing once, and what it lacks is a sentence."""

import re
from pathlib import Path

import pytest

from operate.config import Config, OperatorError, log_format, read_config


def test_comments_and_spaces_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "config.properties"
    path.write_text("# inference_address=http://other\n  inference_address = http://a:1 \n\nno pair\n")
    config = read_config(path)
    assert config.inference == "http://a:1"
    assert config.page == ""
    assert config.needs_tokens
    with pytest.raises(OperatorError, match=f"^{path} lacks a value for load_models.$"):
        _ = config.model


def test_it_is_read_as_java_does_and_as_windows_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "config.properties"
    text = (
        "\ufeffinference_address: http://a:1\r\n! comment=1\r\nmodel_store = my models\r\nmodels={\\\r\n  1\\\r\n}\r\n"
    )
    path.write_bytes(text.encode())
    assert read_config(path).values == {
        "inference_address": "http://a:1",
        "model_store": "my models",
        "models": "{1}",
    }


def test_a_file_that_is_not_utf_8_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "config.properties"
    path.write_bytes("model_store=/modèles".encode("latin-1"))
    with pytest.raises(OperatorError, match=f"^{path} cannot be read: it is not text in UTF-8.$"):
        read_config(path)


@pytest.mark.parametrize(
    ("value", "reached"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("HTTP://LocalHost:8080/", "http://localhost:8080"),
        ("http://0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://[0:0::1]:8080", "http://[::1]:8080"),
        ("http://[::]:8080", "http://[::1]:8080"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
    ],
)
def test_an_address_is_where_this_machine_reaches_it(value: str, reached: str) -> None:
    config = Config(Path("mine"), {"cors_allowed_origin": value, "disable_token_authorization": "True"})
    assert config.page == reached


@pytest.mark.parametrize(
    "value",
    [
        "127.0.0.1:8080",
        "http://127.0.0.1",
        "http://127.0.0.1:0",
        "http://127.0.0.1:65535",
        "http://127.0.0.1:8080/digits",
        "http://[::1:8080",
        "http://[1]:8080",
        "http://::1:8080",
        "http://a..b:8080",
        "unix:/tmp/socket",
        "https://127.0.0.1:8080",
    ],
)
def test_any_other_address_is_a_sentence(value: str) -> None:
    sentence = f"metrics_address in mine must be an address such as http://127.0.0.1:8080, not {value!r}"
    with pytest.raises(OperatorError, match=re.escape(sentence)) as refused:
        _ = Config(Path("mine"), {"metrics_address": value}).metrics
    assert ("the gateway adds TLS" in str(refused.value)) == value.startswith("https:")


def test_logs_are_text_unless_json_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOG_FORMAT", raising=False)
    assert log_format() == "text"
    for name in ("text", "json"):
        monkeypatch.setenv("LOG_FORMAT", name)
        assert log_format() == name
    monkeypatch.setenv("LOG_FORMAT", "xml")
    with pytest.raises(OperatorError, match=r"^LOG_FORMAT must be text or json, not 'xml'.$"):
        log_format()
