"""Adds TorchServe's tokens to requests, and renews those that have expired."""

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from requests.auth import AuthBase

from operate.config import OperatorError, log_folder

# A token that expires within this time is renewed at once.
MARGIN = timedelta(seconds=1)


class TokenAuth(AuthBase):
    """Adds the token from TorchServe's key file to a request."""

    def __init__(self, management: str) -> None:
        self.management = management
        # Renewing a token invalidates the old one for every thread.
        self.renewing = threading.Lock()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header. Raises OperatorError without a key file."""
        kind = "management" if str(request.url).startswith(self.management) else "inference"
        with self.renewing:
            tokens = read_tokens()
            if datetime.fromisoformat(tokens[kind]["expiration time"]) <= datetime.now(UTC) + MARGIN:
                url = f"{self.management}/token?type={kind}"
                requests.get(url, headers={"Authorization": f"Bearer {tokens['API']['key']}"}, timeout=30)
                tokens = read_tokens()
        request.headers["Authorization"] = f"Bearer {tokens[kind]['key']}"
        return request


def read_tokens() -> dict[str, Any]:
    """Return TorchServe's tokens, which are new at each start. Raises OperatorError."""
    file = log_folder() / "key_file.json"
    try:
        return json.loads(file.read_text())
    except (OSError, json.JSONDecodeError) as cause:
        raise OperatorError(f"The service requires tokens, but {file} cannot be read.") from cause
