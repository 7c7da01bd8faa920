"""Adds TorchServe's tokens to requests, and renews those that have expired."""

import json
import os
import shlex
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from requests.auth import AuthBase

from operate.config import OperatorError, log_folder

# What TorchServe writes beside its logs.
KEY_FILE = "key_file.json"
# A token that expires within this time is renewed at once.
MARGIN = timedelta(seconds=1)
# TorchServe's answer, with status 400, to a wrong or expired token.
REFUSAL = b"Token Authorization failed"


class TokenAuth(AuthBase):
    """Adds the token from TorchServe's key file to a request."""

    def __init__(self, management: str) -> None:
        self.management = management
        self.renewing = threading.Lock()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header. Raises OperatorError without a key file."""
        self.add_token(request)
        request.register_hook("response", self.send_again)
        return request

    def add_token(self, request: requests.PreparedRequest) -> None:
        """Set the header to the present token, renewed if it has expired."""
        kind = "management" if str(request.url).startswith(self.management + "/") else "inference"
        with self.renewing:
            tokens = read_tokens()
            if datetime.fromisoformat(tokens[kind]["expiration time"]) <= datetime.now(UTC) + MARGIN:
                url = f"{self.management}/token?type={kind}"
                headers = {"Authorization": f"Bearer {tokens['API']['key']}"}
                requests.get(url, headers=headers, timeout=30, proxies={"http": ""})
                tokens = read_tokens()
        request.headers["Authorization"] = f"Bearer {tokens[kind]['key']}"

    def send_again(self, response: requests.Response, **options: Any) -> requests.Response:  # noqa: ANN401
        """Send a request once more whose token was refused: renewing, in any thread or process, ends the old token."""
        if response.status_code != requests.codes.bad_request or REFUSAL not in response.content:
            return response
        response.close()
        request = response.request.copy()
        self.add_token(request)
        return response.connection.send(request, **options)


def read_tokens() -> dict[str, Any]:
    """Return TorchServe's tokens, which are new at each start. Raises OperatorError."""
    file = log_folder() / KEY_FILE
    try:
        return json.loads(file.read_text())
    except (OSError, json.JSONDecodeError) as cause:
        raise OperatorError(f"The service requires tokens, but {file} cannot be read.") from cause


def make_curl_option() -> str:
    """Return the words with which curl, in a shell, sends the token of the inference API."""
    file = shlex.quote(os.path.relpath(log_folder() / KEY_FILE))
    return f"""-H "Authorization: Bearer $(sed -n '/inference/,/}}/s/.*"key": "\\(.*\\)",/\\1/p' {file})" """
