"""Counts what came of requests, in words, and holds the counts against bars."""

import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from soak.wire import Answer, Exchange

# Requests may wait for this long. The machine may have other work, so that this is far above what is usual.
LONGEST_S = 45.0
# What a service may answer besides 4xx: that it is busy or not ready.
BUSY = ("503", "504")
# Failing requests are kept up to this number for each row.
MOST_KEPT = 20

# The outcomes of requests:
#   right      a known picture, and its digit
#   read       an answer to a request whose answer is not known beforehand
#   STATUS     refused with a sentence in JSON, or "without a sentence"
#   refused    the connection was not accepted
#   closed     no answer, the connection was closed
#   wrong      another answer than that of the request
#   lost       no answer to a request that was accepted
#   hung       no answer within the bound
#   bad ...    an answer of a form or a status that no answer may have
ACCEPTED = ("right", "read", "4xx", *BUSY)


@dataclass
class Row:
    """One line of the report: what was sent, what came of it, and the bar."""

    name: str
    bar: str
    # The outcomes that hold the bar; "4xx" is any status of that kind.
    allowed: tuple[str, ...] = ACCEPTED
    # How many of an outcome that is not allowed are borne.
    most: dict[str, int] = field(default_factory=dict)
    longest_bar_s: float = LONGEST_S
    counts: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0
    # Why the bar is missed, besides the counts.
    problems: list[str] = field(default_factory=list)
    # Why it was not run.
    not_run: str = ""
    # Requests that failed, by name, to be written to the report's folder.
    failures: dict[str, bytes] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, outcome: str, wait_s: float, name: str = "", sent: bytes = b"") -> None:
        """Count what came of one request; keep what was sent if the outcome is not allowed."""
        with self.lock:
            self.counts[outcome] += 1
            self.longest_s = max(self.longest_s, wait_s)
            if sent and len(self.failures) < MOST_KEPT and not self.is_allowed(outcome):
                self.failures[f"{name or self.name}: {outcome}"] = sent

    def is_allowed(self, outcome: str) -> bool:
        """Return whether an outcome holds the bar."""
        return outcome in self.allowed or ("4xx" in self.allowed and bool(re.fullmatch(r"4\d\d", outcome)))

    @property
    def sent(self) -> int:
        """How many requests were sent."""
        return self.counts.total()

    @property
    def faults(self) -> list[str]:
        """Why the bar is missed; empty if it is held."""
        faults = [
            f"{count} {outcome}"
            for outcome, count in self.counts.items()
            if not self.is_allowed(outcome) and count > self.most.get(outcome, 0)
        ]
        if self.longest_s > self.longest_bar_s:
            faults.append(f"{self.longest_s:.1f} s of waiting")
        return faults + self.problems

    @property
    def verdict(self) -> str:
        """Return "held", "missed" or "not run"."""
        if self.not_run:
            return "not run"
        return "missed" if self.faults else "held"


def judge(exchange: Exchange, digit: int | None = None) -> str:
    """Return the outcome of one request, for a known digit if that is given."""
    if not exchange.answers:
        ends = {"silent": "hung", "refused": "refused", "closed": "closed", "reset": "closed"}
        return ends.get(exchange.end, f"bad {exchange.end}")
    return judge_answer(exchange.answers[0], digit)


def judge_answer(answer: Answer, digit: int | None = None) -> str:
    """Return the outcome that one answer means, for a known digit if that is given."""
    if answer.status in (200, 204):
        if digit is None:
            return "read" if answer.status == 204 or is_json(answer) or is_binary(answer) else "bad 200"
        return "right" if f'"digit":{digit},'.encode() in answer.body else "wrong"
    status = str(answer.status)
    if has_sentence(answer) and (400 <= answer.status < 500 or status in BUSY):
        return status
    return f"bad {status}" if has_sentence(answer) else f"{status} without a sentence"


def is_json(answer: Answer) -> bool:
    """Return whether an answer is JSON, as it says."""
    if not answer.headers.get("content-type", "").startswith("application/json"):
        return False
    try:
        json.loads(answer.body)
    except ValueError:
        return False
    return True


def is_binary(answer: Answer) -> bool:
    """Return whether an answer has tensors as bytes behind its JSON."""
    return "inference-header-content-length" in answer.headers


def has_sentence(answer: Answer) -> bool:
    """Return whether an error is a sentence in JSON."""
    if not is_json(answer):
        return False
    message = json.loads(answer.body)
    sentence = message.get("error") if isinstance(message, dict) else None
    return isinstance(sentence, str) and bool(sentence)


def write_failures(rows: list[Row], folder: Path) -> None:
    """Write the requests that failed into the folder "failing" of a folder, each as it was sent."""
    for row in rows:
        for number, (name, sent) in enumerate(row.failures.items()):
            target = folder / "failing"
            target.mkdir(exist_ok=True)
            (target / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}-{number}.http").write_bytes(sent)
