"""The one client of a service: asks for predictions in each protocol and manages versions."""

import base64
import json
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
import requests
from numpy.typing import NDArray
from requests.adapters import HTTPAdapter

from operate.config import Config, OperatorError
from operate.tokens import TokenAuth

TIMEOUT_S = 30
# The management API answers a change of workers once they have finished their current requests.
MANAGEMENT_TIMEOUT_S = 90
CONNECTIONS = 64
# Pauses between attempts while the service is busy.
WAITS_S = (0.5, 1, 2, 4, 8)

# A body of a request and its headers.
Body = tuple[bytes, dict[str, str]]
# TorchServe's description of a version of the model, or of a worker.
Description = dict[str, Any]
Result = TypeVar("Result")


class ServiceError(OperatorError):
    """Why the service gave no answer; the status is 0 if there was no response at all."""

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status

    @property
    def is_client_error(self) -> bool:
        """Whether the fault is in the request, not in the service."""
        return self.status // 100 == 4 and not self.is_busy

    @property
    def is_busy(self) -> bool:
        """Whether the service, or the gateway in front of it, was too busy to answer."""
        return self.status in (requests.codes.service_unavailable, requests.codes.too_many_requests)


def encode_picture(picture: bytes, read: str = "auto") -> Body:
    """Return the body that sends one picture file as it is; read is auto, digit, numbers or cells."""
    return picture, {"Content-Type": "application/octet-stream", "Read": read}


def encode_v1(pictures: Iterable[bytes], read: str = "auto") -> Body:
    """Return the body that sends several picture files in KServe's v1 protocol."""
    instances = [{"b64": base64.b64encode(picture).decode()} for picture in pictures]
    return json.dumps({"instances": instances, "read": read}).encode(), {"Content-Type": "application/json"}


def encode_v2(pixels: NDArray[np.uint8]) -> Body:
    """Return the body that sends (n, 28, 28) uint8 pixels in KServe's v2 protocol, behind the JSON."""
    tensor = {"name": "pixels", "shape": pixels.shape, "datatype": "UINT8"}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return head + pixels.tobytes(), headers


def parse_url(url: str) -> str:
    """Return the http://host:port of a service. Raises OperatorError, which says what to write."""
    match = re.match(r"(https?(?=://))?(?:\w*://)?([^\s/?#]+)", url)
    address = f"{match[1] or 'http'}://{match[2]}" if match else "http://127.0.0.1:8080"
    if url.removesuffix("/") != address:
        raise OperatorError(f"{url!r} is not the address of a service: write {address}.")
    return address


class Client:
    """Talks to the service of a configuration, or to the inference API at another URL; threads may share it."""

    def __init__(self, config: Config, url: str | None = None) -> None:
        self.config = config
        self.inference = parse_url(url) if url else config.inference
        # The paths that take one picture, the same with an attribution in the answer, and KServe's protocols v1 and v2.
        self.predictions, self.explanations = f"/predictions/{config.model}", f"/explanations/{config.model}"
        self.v1, self.v2 = f"/v1/models/{config.model}:predict", f"/v2/models/{config.model}/infer"
        self.session = requests.Session()
        self.session.mount("http://", HTTPAdapter(pool_maxsize=CONNECTIONS))
        # Requests to this machine bypass a proxy set in the environment.
        is_here = not url or re.fullmatch(r"https?://(localhost|127[.\d]+|\[::1])(:\d*)?", self.inference)
        self.session.trust_env = not is_here
        if not url and config.needs_tokens:
            self.session.auth = TokenAuth(config.management)

    def predict(self, picture: bytes, version: str = "", read: str = "auto") -> dict[str, Any]:
        """Read a picture file with a version of the model, or with the default one. Raises ServiceError.

        The answer has digit (0..9), confidence (0..1), certain (bool) and probabilities (ten, 0..1), and numbers where
        they were looked for: docs/api.md.
        """
        return self.post(f"{self.predictions}/{version}".rstrip("/"), encode_picture(picture, read))

    def predict_many(self, pictures: Iterable[bytes], read: str = "auto") -> list[dict[str, Any]]:
        """Read picture files in one request; return an answer, or {"error"}, for each. Raises ServiceError."""
        return self.post(self.v1, encode_v1(pictures, read))["predictions"]

    def infer(self, pixels: NDArray[np.uint8]) -> dict[str, list[Any]]:
        """Read (n, 28, 28) uint8 pixels in one request; return each output's data. Raises ServiceError."""
        answer = self.post(self.v2, encode_v2(pixels))
        return {output["name"]: output["data"] for output in answer["outputs"]}

    def post(self, path: str, body: Body) -> Any:  # noqa: ANN401
        """POST a body to a path of the inference API and return the JSON of the answer. Raises ServiceError."""
        return self.send("POST", self.inference, path, TIMEOUT_S, data=body[0], headers=body[1])

    def is_running(self) -> bool:
        """Return whether a TorchServe answers, ready or not."""
        try:
            self.send("GET", self.inference, "/ping", 2)
        except OperatorError as error:
            return isinstance(error, ServiceError) and error.status not in (0, requests.codes.not_found)
        return True

    def list_versions(self) -> tuple[str, dict[str, Description]]:
        """Return the default version, and TorchServe's description of every version. Raises ServiceError."""
        (default,) = self.manage("GET")
        versions = {each["modelVersion"]: each for each in self.manage("GET", "/all")}
        return default["modelVersion"], versions

    def list_workers(self, version: str) -> list[Description]:
        """Return TorchServe's description of a version's workers. Raises ServiceError."""
        return self.list_versions()[1][version]["workers"]

    def register(self, archive: str) -> None:
        """Register an archive of the model store, without workers. Raises ServiceError."""
        parameters = {"url": archive, "model_name": self.config.model, "synchronous": "false"}
        self.send("POST", self.config.management, "/models", MANAGEMENT_TIMEOUT_S, params=parameters)

    def scale(self, min_workers: int, max_workers: int, version: str = "") -> None:
        """Change how many workers a version has, or the default one; return before they run. Raises ServiceError."""
        path = f"/{version}" if version else ""
        self.manage("PUT", path, min_worker=min_workers, max_worker=max_workers)

    def set_default(self, version: str) -> None:
        """Make a version answer the requests that name none. Raises ServiceError."""
        self.manage("PUT", f"/{version}/set-default")

    def unregister(self, version: str) -> None:
        """Remove a version once it has answered its requests. Raises ServiceError."""
        self.manage("DELETE", f"/{version}")

    def manage(self, method: str, path: str = "", **parameters: int) -> Any:  # noqa: ANN401
        """Send a request for the model, or for a path below it, to the management API. Raises ServiceError."""
        whole = f"/models/{self.config.model}{path}"
        return self.send(method, self.config.management, whole, MANAGEMENT_TIMEOUT_S, params=parameters)

    def send(self, method: str, address: str, path: str, timeout_s: float, **arguments: Any) -> Any:  # noqa: ANN401
        """Send a request to a path at http://host:port and return the JSON of the answer. Raises ServiceError."""
        try:
            response = self.session.request(method, address + path, timeout=timeout_s, **arguments)
        except requests.ConnectionError as cause:
            raise ServiceError(f"No service answers at {address}: start it with scripts/serve.") from cause
        except requests.Timeout as cause:
            raise ServiceError(f"The service at {address} did not answer within {timeout_s:g} s.") from cause
        except requests.RequestException as cause:
            raise ServiceError(f"{address} cannot be reached: {cause}.") from cause
        if response.status_code == requests.codes.request_entity_too_large:
            sentence = f"The request has {len(arguments.get('data', b''))} bytes, more than the service accepts."
            raise ServiceError(sentence, response.status_code)
        try:
            answer = response.json()
        except requests.JSONDecodeError as cause:
            raise ServiceError(f"The service answered {response.status_code} without JSON.") from cause
        if not response.ok:
            sentence = answer.get("error") or answer.get("message") or f"status {response.status_code}"
            if response.status_code >= requests.codes.server_error and "X-Request-Id" in response.headers:
                # As in the logs.
                sentence = f"{sentence.removesuffix('.')} (request_id={response.headers['X-Request-Id']})."
            raise ServiceError(sentence, response.status_code)
        return answer


def retry_while_busy(call: Callable[[], Result]) -> Result:
    """Call the service, again while it is busy, and return the result. Raises ServiceError."""
    for wait in WAITS_S:
        try:
            return call()
        except ServiceError as error:
            if not error.is_busy:
                raise
        time.sleep(wait)
    return call()
