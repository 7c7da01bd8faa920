"""Sends hostile input while known pictures are read beside it: uploads, messages, heads, connections, smuggling."""

import random
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from operate.client import encode_picture
from operate.examples import list_examples
from operate.gateway import find_nginx
from soak.clients import Known, Load, make_known, run_all, witness
from soak.memory import Sampler, Samples
from soak.messages import changed_messages, forms, heads, make_deep_messages, make_messages, make_odd_heads, to_bytes
from soak.service import Service, run_gateway
from soak.smuggling import BETRAYED, Probe, make_probes, run_tap
from soak.tally import ACCEPTED, LONGEST_S, Row, judge, judge_answer
from soak.uploads import make_bombs, make_files, make_packed_bodies, mutated
from soak.wire import Exchange, converse, write_request

Drawn = TypeVar("Drawn")
# A request to send: its name and its bytes.
Job = tuple[str, bytes]

SENDERS = 4
# Examples that are drawn at once, of each kind.
ROUND = 40
# Seconds that it takes to send all of what is fixed.
WHOLE_S = 120
# No further answer is expected after this pause.
QUIET_S = 1.0
# By then the gateway has cut off who sends nothing more.
CUT_OFF_S = 15
HELD_OPEN = 200
SLOW_PIECES = 20
# What a server does with a connection that is no HTTP: answer or close it.
BARE = (*ACCEPTED, "closed", "bad 501", "bad 505", "400 without a sentence", "417 without a sentence")


def draw(strategy: SearchStrategy[Drawn], count: int, number: int) -> list[Drawn]:
    """Return examples of a strategy; the same for the same number."""
    drawn: list[Drawn] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def note(example: Drawn) -> None:
        drawn.append(example)

    note()
    return drawn


class Hostile:
    """The part of hostile input: rows, and what the bombs took."""

    def __init__(self, service: Service, number: int, say: Callable[[str], None]) -> None:
        self.service, self.number, self.say = service, number, say
        self.client = service.client
        self.pictures = {digit: path.read_bytes() for digit, path in list_examples().items()}
        self.files = make_files()
        self.rows: list[Row] = []
        self.bombs: list[tuple[str, int, str, float]] = []
        self.peak_mb = 0.0
        self.picture = min(self.pictures.values(), key=len)
        self.kept: list[tuple[Row, str, bytes]] = []
        self.share = 1.0
        self.samples: Samples = {}

    def run(self, seconds: float) -> None:
        """Send everything that is fixed once, or a part of it if time is short, and what is drawn for as long."""
        end = time.monotonic() + seconds
        self.share = min(1, seconds / WHOLE_S)
        known = make_known(self.client, self.number)
        workers = {each.pid for each in self.service.find_workers()}
        with ExitStack() as stack:
            sampler = stack.enter_context(Sampler(self.service))
            load = stack.enter_context(witness(self.service.address, known))
            self.send_bombs()
            self.send_fixed_messages()
            self.send_on_odd_connections()
            self.probe_framing()
            self.probe_gateway(known)
            self.send_drawn(end)
        self.peak_mb, self.samples = sampler.peak_mb(), sampler.samples
        self.add_witness("known pictures meanwhile", load)
        row = self.row("workers at the end", "the same processes as at the start", allowed=("the same",))
        for each in self.service.find_workers():
            row.add("the same" if each.pid in workers else "new: one died", 0)

    def choose(self, named: dict[str, Drawn]) -> list[tuple[str, Drawn]]:
        """Return what is to be sent of something: all of it if there is time, or else the share that there is for."""
        pairs = list(named.items())
        if self.share == 1:
            return pairs
        return random.Random(self.number).sample(pairs, max(3, round(self.share * len(pairs))))

    def row(self, name: str, bar: str = "refused with a sentence, or read", allowed: tuple[str, ...] = ACCEPTED) -> Row:
        """Add a row."""
        self.say(name)
        row = Row(name, bar, allowed)
        self.rows.append(row)
        return row

    def add_witness(self, name: str, load: Load) -> None:
        """Add a row with what came of known pictures."""
        row = self.row(name, "every answer right", ("right",))
        row.counts, row.longest_s = load.count()

    def send(self, row: Row, jobs: Iterable[Job], address: str = "") -> None:
        """Send requests, some at a time, each on a connection of its own."""

        def send_one(job: Job) -> None:
            name, sent = job
            exchange = converse(address or self.service.address, [sent], timeout_s=LONGEST_S)
            row.add(judge(exchange), exchange.wait_s, f"{row.name}, {name}", sent)

        run_all(send_one, jobs, SENDERS)

    def send_bombs(self) -> None:
        """Send each small file that claims to be huge, and each packed body."""
        row = self.row("files that grow when they are decoded")

        def send_one(bomb: tuple[str, Callable[[], bytes]]) -> tuple[str, int, str, float]:
            name, make = bomb
            body, headers = encode_picture(make())
            sent = write_request(self.client.predictions, body, Content_Type=headers["Content-Type"])
            exchange = converse(self.service.address, [sent], timeout_s=LONGEST_S)
            outcome = judge(exchange)
            row.add(outcome, exchange.wait_s, name, sent)
            return name, len(body), outcome, exchange.wait_s

        self.bombs = run_all(send_one, self.choose(make_bombs()), 2)
        row = self.row("bodies that grow when they are unpacked")
        self.send(
            row,
            (
                (name, write_request(self.client.predictions, body, Content_Encoding=encoding))
                for name, (body, encoding) in self.choose(make_packed_bodies())
            ),
        )

    def send_fixed_messages(self) -> None:
        """Send JSON that is too deep or too long, and heads that break a rule."""
        paths = (self.client.predictions, self.client.v1, self.client.v2)
        row = self.row("JSON that is too deep or too long")
        self.send(
            row,
            (
                (f"{name} at {path}", write_request(path, body, Content_Type="application/json"))
                for name, body in self.choose(make_deep_messages())
                for path in paths
            ),
        )
        row = self.row("heads that break a rule", "refused with a sentence, read, or the connection closed", BARE)
        self.send(row, self.choose(make_odd_heads(self.client, self.picture)))

    def send_drawn(self, end: float) -> None:
        """Send what hypothesis draws until the time is over, at least one round."""
        rows = {
            name: self.row(f"mutated {name} files") for name in sorted({each.partition(",")[0] for each in self.files})
        }
        json_row, form_row = self.row("KServe JSON of wrong shapes and types"), self.row("multipart forms")
        head_row = self.row("methods, paths and headers")
        messages, pictures = make_messages(), list(self.files.values())
        number, paths = self.number, (self.client.predictions, self.client.v1, self.client.v2)
        while True:
            self.say(f"drawn from the seed {number}")
            for name, file in draw(mutated(self.files), round(4 * ROUND * self.share) + ROUND, number):
                self.send_later(rows[name.partition(",")[0]], name, write_request(self.client.predictions, file))
            for place, message in enumerate(draw(changed_messages(messages), ROUND, number)):
                body = to_bytes(message)
                sent = write_request(paths[place % len(paths)], body, Content_Type="application/json")
                self.send_later(json_row, "message", sent)
            for kind, body in draw(forms(pictures), ROUND, number):
                self.send_later(form_row, "form", write_request(self.client.predictions, body, Content_Type=kind))
            for sent in draw(heads(self.picture), ROUND, number):
                self.send_later(head_row, "head", sent)
            self.send_now()
            number += 1
            if time.monotonic() > end:
                return

    def send_later(self, row: Row, name: str, sent: bytes) -> None:
        """Keep a request until send_now."""
        self.kept.append((row, name, sent))

    def send_now(self) -> None:
        """Send what was kept, in another order, some at a time."""

        def send_one(job: tuple[Row, str, bytes]) -> None:
            row, name, sent = job
            exchange = converse(self.service.address, [sent], timeout_s=LONGEST_S)
            outcome = judge(exchange)
            if outcome == "bad 200" and sent.startswith(b"OPTIONS") and not exchange.answers[0].body:
                outcome = "read"
            row.add(outcome, exchange.wait_s, name, sent)

        random.Random(self.number).shuffle(self.kept)
        run_all(send_one, self.kept, SENDERS)
        self.kept = []

    def send_on_odd_connections(self) -> None:
        """Send known pictures on slow, half-closed, reset and crowded connections."""
        whole = {digit: write_request(self.client.predictions, picture) for digit, picture in self.pictures.items()}
        address = self.service.address
        row = self.row("slow clients", f"right, beside {HELD_OPEN} connections that send no whole head", ("right",))

        def send_slowly(digit: int) -> None:
            step = -(-len(whole[digit]) // SLOW_PIECES)
            pieces = [whole[digit][place : place + step] for place in range(0, len(whole[digit]), step)]
            exchange = converse(address, pieces, pause_s=0.15)
            row.add(judge(exchange, digit), exchange.wait_s, sent=whole[digit])

        with held_open(address, HELD_OPEN):
            run_all(send_slowly, whole, len(whole))
        row = self.row("half-closed connections", "right, or closed", ("right", "closed"))
        for digit, sent in whole.items():
            exchange = converse(address, [sent], shuts=True)
            row.add(judge(exchange, digit), exchange.wait_s, sent=sent)
        row = self.row("connections reset by the client", "the service reads on", ("right",))
        for _ in range(max(2, round(10 * self.share))):
            for digit, sent in whole.items():
                reset(address, sent[: len(sent) // 2])
                reset(address, sent)
                reset(address, sent[:20])
                if digit % 5 == 0:
                    exchange = converse(address, [sent])
                    row.add(judge(exchange, digit), exchange.wait_s, sent=sent)
        self.pipeline("pipelining", address)

    def pipeline(self, name: str, address: str) -> None:
        """Send several known pictures at once on one connection."""
        row = self.row(name, "each connection gets the answers to its own requests, in their order", ("right",))
        chance = random.Random(self.number)
        for _ in range(max(4, round(20 * self.share))):
            order = chance.sample(sorted(self.pictures), 8)
            sent = b"".join(write_request(self.client.predictions, self.pictures[digit]) for digit in order)
            exchange = converse(address, [sent], expected=len(order))
            outcomes = [judge_answer(answer, digit) for answer, digit in zip(exchange.answers, order, strict=False)]
            for outcome in outcomes + ["lost"] * (len(order) - len(outcomes)):
                row.add(outcome, exchange.wait_s, sent=sent)

    def probe_framing(self) -> None:
        """Send what might be one request or two to the service itself."""
        row = self.row("framing at the service", "no more answers than requests", BARE)
        self.probe(row, self.service.address)

    def probe_gateway(self, known: list[Known]) -> None:
        """Send the same to the gateway, and watch what reaches the service."""
        if not find_nginx():
            self.row("smuggling at the gateway").not_run = "nginx is not installed"
            return
        with run_tap(self.service.address) as tap, run_gateway(tap.address) as gateway:
            with witness(gateway, known) as load:
                self.pipeline("pipelining at the gateway", gateway)
                row = self.row(
                    "smuggling at the gateway",
                    "no more answers than requests; only whole requests reach the service, none of them hidden",
                    BARE,
                )
                self.probe(row, gateway)
                self.send(row, self.choose(make_odd_heads(self.client, self.picture)), gateway)
                row.problems += sorted(set(tap.problems()))
            self.add_witness("known pictures at the gateway meanwhile", load)

    def probe(self, row: Row, address: str) -> None:
        """Send each probe on a connection of its own."""

        def send_one(named: tuple[str, Probe]) -> None:
            name, probe = named
            exchange = converse(address, [probe.sent], timeout_s=CUT_OFF_S, quiet_s=QUIET_S)
            outcome = judge_probe(exchange, probe, address != self.service.address)
            row.add(outcome, exchange.wait_s, f"{row.name}, {name}", probe.sent)

        run_all(send_one, self.choose(make_probes(self.client.predictions, self.picture)), 2 * SENDERS)


def judge_probe(exchange: Exchange, probe: Probe, is_gateway: bool) -> str:
    """Return the outcome of a probe: "smuggled" if it got more answers than it has requests.

    At the gateway, also if it got the answer to the hidden request, which the service would give to anybody.
    """
    if len(exchange.answers) > probe.most:
        return "smuggled"
    if is_gateway and any(BETRAYED in answer.body for answer in exchange.answers):
        return "smuggled"
    outcomes = [judge_answer(answer) for answer in exchange.answers]
    return next((each for each in outcomes if each not in BARE), outcomes[0]) if outcomes else judge(exchange)


def reset(address: str, sent: bytes) -> None:
    """Send bytes and reset the connection."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(sent)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextmanager
def held_open(address: str, count: int) -> Iterator[None]:
    """Hold connections open that have sent a part of a head, while the context lasts."""
    host, port = address.rsplit(":", 1)
    connect = partial(socket.create_connection, (host, int(port)), 10)
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(connect()).sendall(b"POST /predictions/mnist HTTP/1.1\r\nHost: so")
        yield
