"""How tests ask the handler, as TorchServe's worker does."""

import json
from typing import Any

import orjson
from ts.context import RequestProcessor
from ts.service import Service

from tests.harness.service import EXAMPLES

GOOD = EXAMPLES[3].read_bytes()


def ask(loaded: Service, *rows: dict[str, Any], headers: dict[str, Any] | None = None) -> list[tuple[int, Any]]:
    """Return status and parsed JSON for each request of one batch, whose bodies are bytes, or what JSON is made of."""
    sent = [
        {name: each if isinstance(each, bytes) else orjson.dumps(each) for name, each in row.items()} for row in rows
    ]
    loaded.context.request_processor = [RequestProcessor(headers or {}) for _ in rows]
    answers = loaded._entry_point(sent, loaded.context)
    assert len(answers) == len(rows)
    for index in range(len(rows)):
        assert loaded.context.get_response_content_type(index) == "application/json"
    return [(loaded.context.get_response_status(index)[0], json.loads(answer)) for index, answer in enumerate(answers)]
