"""The configuration of the server and of its model: addresses, model store, limits."""

import ipaddress
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "config.properties"
ADDRESSES = ("inference_address", "management_address", "metrics_address")
# How this machine reaches a server that listens on all addresses.
LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class OperatorError(Exception):
    """The reason why an operation fails, in one sentence for the person who runs it."""

    # The exit code of a program that fails with it.
    exit_code = 1


@dataclass(frozen=True)
class Config:
    """A TorchServe configuration file and its keys and values."""

    path: Path
    values: dict[str, str]

    def value(self, name: str) -> str:
        """Return the value of a key. Raises OperatorError if it is missing."""
        if not self.values.get(name):
            raise OperatorError(f"{self.path} lacks a value for {name}.")
        return self.values[name]

    def split_address(self, name: str) -> tuple[str, int]:
        """Return the host and port of a key with an address. Raises OperatorError if it has none."""
        value = self.value(name)
        match = re.fullmatch(r"http://(?:\[([\da-f:.]+)]|([^\s/:@[\]]+)):(\d+)/?", value.lower())
        with suppress(ValueError):
            # TorchServe refuses 65535.
            if match and 0 < int(match[3]) < 65_535:
                host = str(ipaddress.IPv6Address(match[1])) if match[1] else match[2].encode("idna").decode()
                return host, int(match[3])
        sentence = f"{name} in {self.path} must be an address such as http://127.0.0.1:8080, not {value!r}"
        raise OperatorError(sentence + ("; the gateway adds TLS." if value.startswith("https:") else "."))

    def reach(self, name: str) -> str:
        """Return the http://host:port at which this machine reaches a server, as browsers write it."""
        host, port = self.split_address(name)
        host = LOOPBACKS.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}".removesuffix(":80")

    @property
    def inference(self) -> str:
        """The http://host:port of the inference API."""
        return self.reach("inference_address")

    @property
    def management(self) -> str:
        """The http://host:port of the management API."""
        return self.reach("management_address")

    @property
    def metrics(self) -> str:
        """The http://host:port of the metrics API."""
        return self.reach("metrics_address")

    @property
    def page(self) -> str:
        """The http://host:port of the page, or "" if none is served: only its scripts may call the inference API."""
        # Browsers cannot send tokens.
        is_served = self.values.get("cors_allowed_origin") and not self.needs_tokens
        return self.reach("cors_allowed_origin") if is_served else ""

    @property
    def model(self) -> str:
        """The name of the model: load_models is NAME=FILE.mar."""
        return self.value("load_models").partition("=")[0].strip()

    @property
    def model_store(self) -> Path:
        """The folder of archives; a relative one starts at the repository."""
        return ROOT / self.value("model_store")

    @property
    def max_request_bytes(self) -> int:
        """The size of the largest request that is accepted."""
        return int(self.value("max_request_size"))

    @property
    def needs_tokens(self) -> bool:
        """Whether TorchServe requires its tokens."""
        return self.values.get("disable_token_authorization", "").lower() != "true"


def read_config(path: Path = CONFIG) -> Config:
    """Read a .properties file. Raises OperatorError if it cannot be read."""
    try:
        # Windows begins files with a mark, and ends lines in its own way.
        text = path.read_text("utf-8-sig")
    except OSError as cause:
        raise OperatorError(f"{path} cannot be read: {cause.strerror}.") from cause
    except UnicodeDecodeError as cause:
        raise OperatorError(f"{path} cannot be read: it is not text in UTF-8.") from cause
    # A line that ends in a backslash goes on in the next one.
    text = re.sub(r"\\\n[ \t]*", "", text)
    return Config(path, dict(re.findall(r"^[ \t]*([^\s#!=:][^\s=:]*)[ \t]*[=:][ \t]*(.*?)[ \t]*$", text, re.MULTILINE)))


def read_model_config() -> dict[str, Any]:
    """Return the settings of the model: its workers, batches and queue, and those of the handler."""
    return yaml.safe_load((ROOT / "handler" / "model-config.yaml").read_text())


def log_folder() -> Path:
    """Return where TorchServe writes its logs and tokens: LOG_LOCATION, or logs/."""
    return Path(os.environ.get("LOG_LOCATION") or ROOT / "logs").absolute()


def keep_folder() -> Path | None:
    """Return where the service keeps pictures: KEEP_FOLDER, or None if it keeps none."""
    return Path(os.environ["KEEP_FOLDER"]).absolute() if os.environ.get("KEEP_FOLDER") else None


def log_format() -> str:
    """Return the format of TorchServe's logs: LOG_FORMAT, or text. Raises OperatorError if it is neither."""
    chosen = os.environ.get("LOG_FORMAT") or "text"
    if chosen not in ("text", "json"):
        raise OperatorError(f"LOG_FORMAT must be text or json, not {chosen!r}.")
    return chosen
