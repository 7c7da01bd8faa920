"""Where the service is, and how to ask it for a digit."""

import json
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from requests.auth import AuthBase

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "config.properties"
MODEL = "mnist"
PREDICTIONS = f"/predictions/{MODEL}"
# Seconds to wait when the service has too much to do, each time twice as long as before.
WAITS_S = (0.5, 1, 2, 4, 8)
# A key that expires so soon is renewed at once.
MARGIN = timedelta(seconds=1)
# Pictures that a service which works reads right, by what they show.
EXAMPLES = {int(path.stem): path for path in sorted((ROOT / "tests" / "pictures").iterdir())}


class ServiceError(Exception):
    """Why the service gave no digit; its text is a sentence. The status is 0 if it gave no answer at all."""

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status

    @property
    def of_request(self) -> bool:
        """Whether the request is to blame, not the service."""
        return self.status // 100 == 4 and not self.is_busy

    @property
    def is_busy(self) -> bool:
        """Whether the service, or the gateway before it, had too much to do."""
        return self.status in (requests.codes.service_unavailable, requests.codes.too_many_requests)


def read_config(path: Path) -> dict[str, str]:
    """Return the keys and values of a .properties file. Raises ServiceError if it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError as cause:
        raise ServiceError(f"{path} cannot be read: {cause.strerror}.") from cause
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def log_folder() -> Path:
    """Return where TorchServe writes its logs and its keys: LOG_LOCATION, or logs/."""
    return Path(os.environ.get("LOG_LOCATION", ROOT / "logs"))


def connect(config: dict[str, str]) -> requests.Session:
    """Return a session for the inference and management APIs of a service on this machine, with its keys."""
    session = requests.Session()
    # A proxy of the environment has no part in what this machine says to itself.
    session.trust_env = False
    if config.get("disable_token_authorization") != "true":
        session.auth = Keys(config["management_address"])
    return session


class Keys(AuthBase):
    """Adds the key for each request from TorchServe's key file, and has it renewed when it has expired."""

    def __init__(self, management: str) -> None:
        self.management = management
        # A renewed key makes the one before worthless, in the hands of another thread too.
        self.renewing = threading.Lock()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header. Raises ServiceError without a key file."""
        kind = "management" if str(request.url).startswith(self.management) else "inference"
        with self.renewing:
            keys = read_keys()
            if datetime.fromisoformat(keys[kind]["expiration time"]) <= datetime.now(UTC) + MARGIN:
                url = f"{self.management}/token?type={kind}"
                requests.get(url, headers={"Authorization": f"Bearer {keys['API']['key']}"}, timeout=30)
                keys = read_keys()
        request.headers["Authorization"] = f"Bearer {keys[kind]['key']}"
        return request


def read_keys() -> dict[str, Any]:
    """Return TorchServe's keys, which are new at each start. Raises ServiceError."""
    file = log_folder() / "key_file.json"
    try:
        return json.loads(file.read_text())
    except (OSError, json.JSONDecodeError) as cause:
        raise ServiceError(f"{file} cannot be read, and the service asks for its keys.") from cause


def predict(address: str, picture: bytes, session: requests.Session, timeout_s: float = 30) -> dict[str, Any]:
    """POST the bytes of a picture file to the inference API at http://host:port and return its answer.

    The answer has digit (0..9), confidence (0..1), certain (bool) and probabilities (ten, 0..1). Raises ServiceError.
    """
    return ask(address, PREDICTIONS, picture, session, timeout_s)


def ask(address: str, path: str, body: bytes, session: requests.Session, timeout_s: float = 30) -> dict[str, Any]:
    """POST a body to a path of the inference API at http://host:port; return the JSON object. Raises ServiceError."""
    kind = {"Content-Type": "application/octet-stream"}
    return send(session, "POST", address, path, timeout_s, data=body, headers=kind)


def send(
    session: requests.Session,
    method: str,
    address: str,
    path: str,
    timeout_s: float,
    **arguments: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Send a request to a path at http://host:port and return the JSON of the answer. Raises ServiceError."""
    try:
        response = session.request(method, address + path, timeout=timeout_s, **arguments)
    except requests.ConnectionError as cause:
        raise ServiceError(f"No service answers at {address}: start it with scripts/serve.") from cause
    except requests.Timeout as cause:
        raise ServiceError(f"The service at {address} gave no answer in {timeout_s:g} s.") from cause
    except requests.RequestException as cause:
        raise ServiceError(f"{address} cannot be asked: {cause}.") from cause
    if response.status_code == requests.codes.request_entity_too_large:
        sentence = f"The request has {len(arguments.get('data', b''))} bytes, more than the service takes."
        raise ServiceError(sentence, response.status_code)
    try:
        answer = response.json()
    except requests.JSONDecodeError as cause:
        raise ServiceError(f"The service answered {response.status_code} without JSON.") from cause
    if not response.ok:
        sentence = answer.get("error") or answer.get("message") or f"status {response.status_code}"
        raise ServiceError(sentence, response.status_code)
    return answer


def patiently(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a call to the service returns; call again while it has too much to do. Raises ServiceError."""
    for wait in WAITS_S:
        try:
            return call()
        except ServiceError as error:
            if not error.is_busy:
                raise
        time.sleep(wait)
    return call()
