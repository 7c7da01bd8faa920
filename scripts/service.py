"""Where the service is, and how to ask it for a digit."""

from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "config.properties"
PREDICTIONS = "/predictions/mnist"


class ServiceError(Exception):
    """Why the service gave no digit; its text is a sentence. The status is 0 if it gave no answer at all."""

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status

    @property
    def of_request(self) -> bool:
        """Whether the request is to blame, not the service."""
        return self.status // 100 == 4

    @property
    def is_busy(self) -> bool:
        """Whether the service had too much to do."""
        return self.status == requests.codes.service_unavailable


def read_config(path: Path) -> dict[str, str]:
    """Return the keys and values of a .properties file. Raises ServiceError if it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError as cause:
        raise ServiceError(f"{path} cannot be read: {cause.strerror}.") from cause
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def predict(address: str, picture: bytes, session: requests.Session, timeout_s: float = 30) -> dict[str, Any]:
    """POST the bytes of a picture file to the inference API at http://host:port and return its answer.

    The answer has digit (0..9), confidence (0..1), certain (bool) and probabilities (ten, 0..1). Raises ServiceError.
    """
    return ask(address, PREDICTIONS, picture, session, timeout_s)


def ask(address: str, path: str, body: bytes, session: requests.Session, timeout_s: float = 30) -> dict[str, Any]:
    """POST a body to a path of the inference API at http://host:port; return the JSON object. Raises ServiceError."""
    try:
        response = session.post(
            address + path,
            data=body,
            headers={"Content-Type": "application/octet-stream"},
            timeout=timeout_s,
        )
    except requests.ConnectionError as cause:
        raise ServiceError(f"No service answers at {address}: start it with scripts/serve.") from cause
    except requests.Timeout as cause:
        raise ServiceError(f"The service at {address} gave no answer in {timeout_s:g} s.") from cause
    except requests.RequestException as cause:
        raise ServiceError(f"{address} cannot be asked: {cause}.") from cause
    if response.status_code == requests.codes.request_entity_too_large:
        raise ServiceError(f"The request has {len(body)} bytes, more than the service takes.", response.status_code)
    try:
        answer: dict[str, Any] = response.json()
    except requests.JSONDecodeError as cause:
        raise ServiceError(f"The service answered {response.status_code} without JSON.") from cause
    if not response.ok:
        sentence = answer.get("error") or answer.get("message") or f"status {response.status_code}"
        raise ServiceError(sentence, response.status_code)
    return answer
