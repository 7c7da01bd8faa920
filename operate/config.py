"""The configuration of the server and of its model: addresses, model store, limits."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "config.properties"


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

    @property
    def inference(self) -> str:
        """The http://host:port of the inference API."""
        return self.value("inference_address")

    @property
    def management(self) -> str:
        """The http://host:port of the management API."""
        return self.value("management_address")

    @property
    def metrics(self) -> str:
        """The http://host:port of the metrics API."""
        return self.value("metrics_address")

    @property
    def page(self) -> str:
        """The http://host:port of the page, or "" if none is served: only its scripts may call the inference API."""
        return self.values.get("cors_allowed_origin", "")

    @property
    def model(self) -> str:
        """The name of the model: load_models is NAME=FILE.mar."""
        return self.value("load_models").partition("=")[0]

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
        return self.values.get("disable_token_authorization") != "true"


def read_config(path: Path = CONFIG) -> Config:
    """Read a .properties file. Raises OperatorError if it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError as cause:
        raise OperatorError(f"{path} cannot be read: {cause.strerror}.") from cause
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return Config(path, {key.strip(): value.strip() for key, value in pairs})


def read_model_config() -> dict[str, Any]:
    """Return the settings of the model: its workers, batches and queue, and those of the handler."""
    return yaml.safe_load((ROOT / "handler" / "model-config.yaml").read_text())


def log_folder() -> Path:
    """Return where TorchServe writes its logs and tokens: LOG_LOCATION, or logs/."""
    return Path(os.environ.get("LOG_LOCATION", ROOT / "logs")).absolute()
