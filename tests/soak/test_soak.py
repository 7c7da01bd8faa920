"""scripts/soak holds a service against its bars, and says so when one is missed."""

import os
import shutil
import signal
import subprocess
import threading
import time
from argparse import ArgumentTypeError
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import strategies as st

from model.formats import FORMATS, identify
from operate.config import ROOT
from soak.faults import Faults
from soak.hostile import draw, judge_probe
from soak.load import MOST_GROWTH, hold_growth
from soak.memory import fit
from soak.service import Service
from soak.smuggling import Arrival, Probe
from soak.soak import conclude, parse_minutes, parse_parts
from soak.tally import Row, judge, write_failures
from soak.uploads import make_bombs, make_files, mutated
from soak.wire import Answer, Exchange, take_answers

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(("leak", "verdict"), [(0.0, "held"), (0.3, "held"), (3.0, "missed"), (30.0, "missed")])
def test_a_leak_is_found_in_noise_after_the_warm_up(leak: float, verdict: str) -> None:
    chance = np.random.default_rng(0)
    answered = np.linspace(0, 400_000, 400)
    memory = 200 + leak * answered / 100_000 + 60 * (1 - np.exp(-answered / 20_000)) + chance.normal(0, 0.5, 400)
    found = fit(answered, memory)
    assert found.verdict(MOST_GROWTH) == verdict
    assert found.low < leak + 0.2
    assert found.high > leak - 0.2
    (row,) = hold_growth({"Java": found})
    assert row.verdict == verdict


def test_one_step_of_an_allocator_is_no_leak() -> None:
    answered = np.linspace(0, 100_000, 200)
    memory = 100 + 3.0 * (answered > 80_000) + np.random.default_rng(0).normal(0, 0.1, 200)
    found = fit(answered, memory)
    assert found.low > MOST_GROWTH
    assert found.verdict(MOST_GROWTH) != "missed"


@pytest.mark.parametrize("count", [1, 20, 10_000])
def test_from_few_requests_nothing_is_concluded(count: int) -> None:
    answered = np.linspace(0, count, 100)
    (row,) = hold_growth({"Java": fit(answered, 100 + answered)})
    assert row.verdict == "not run"


@pytest.mark.parametrize(
    ("counts", "problems", "code"),
    [
        ({"right": 9}, [], 0),
        ({"right": 9, "400": 3, "503": 1, "read": 2}, [], 0),
        ({"right": 9, "wrong": 1}, [], 1),
        ({"right": 9, "lost": 1}, [], 1),
        ({"right": 9, "hung": 1}, [], 1),
        ({"right": 9, "bad 500": 1}, [], 1),
        ({"right": 9, "400 without a sentence": 1}, [], 1),
        ({"right": 9}, ["the hidden request reached the service"], 1),
    ],
)
def test_a_missed_bar_makes_the_exit_code_1(
    counts: dict[str, int], problems: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Row("a row", "a bar", counts=Counter(counts), problems=problems)
    assert conclude({"part": [Row("held", "a bar"), row]}, 5) == code
    printed = capsys.readouterr()
    assert ("Missed: a row" in printed.err) == bool(code)
    assert "seed 5" in printed.out


def test_waiting_beyond_the_bound_misses_the_bar() -> None:
    row = Row("a row", "a bar", longest_bar_s=2)
    row.add("right", 1)
    assert row.verdict == "held"
    row.add("right", 3)
    assert row.faults == ["3.0 s of waiting"]


def test_as_many_may_be_lost_as_were_in_a_killed_process() -> None:
    row = Row("a row", "a bar", most={"lost": 2})
    for verdict in ("held", "held", "missed"):
        row.add("lost", 0)
        assert row.verdict == verdict


def test_what_failed_is_kept_as_it_was_sent(tmp_path: Path) -> None:
    row = Row("a row", "a bar")
    row.add("right", 0, "good", b"good")
    row.add("wrong", 0, "Bad/../one", b"GET / HTTP/1.1\r\n\r\n")
    write_failures([row], tmp_path)
    (file,) = (tmp_path / "failing").iterdir()
    assert file.read_bytes() == b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "digit", "outcome"),
    [
        (Answer(200, JSON, b'{"digit":7,"confidence":1.0}'), 7, "right"),
        (Answer(200, JSON, b'{"digit":7,"confidence":1.0}'), 3, "wrong"),
        (Answer(200, JSON, b'{"digit":7}'), None, "read"),
        (Answer(200, JSON, b'{"digit":'), None, "bad 200"),
        (Answer(400, JSON, b'{"error":"No."}'), 7, "400"),
        (Answer(400, JSON, b'{"error":""}'), None, "400 without a sentence"),
        (Answer(400, {"content-type": "text/html"}, b"<html>"), None, "400 without a sentence"),
        (Answer(503, JSON, b'{"error":"Later."}'), None, "503"),
        (Answer(500, JSON, b'{"error":"Oh."}'), None, "bad 500"),
    ],
)
def test_an_answer_is_judged(answer: Answer, digit: int | None, outcome: str) -> None:
    assert judge(Exchange([answer], "complete"), digit) == outcome


@pytest.mark.parametrize(("end", "outcome"), [("silent", "hung"), ("closed", "closed"), ("refused", "refused")])
def test_no_answer_is_judged_by_how_the_connection_ends(end: str, outcome: str) -> None:
    assert judge(Exchange(end=end)) == outcome


def test_answers_are_read_whole_and_in_order() -> None:
    received = bytearray()
    sent = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"
    sent += b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    answers = []
    for byte in sent:
        received.append(byte)
        answers += take_answers(received)
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"ab"), (400, b"abc")]
    assert not received


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\n\r\n", None),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "no single length"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", "no single length"),
        (b"POST /\n HTTP/1.1\r\n\r\n", "a line break of another kind"),
        (b"GET /ping HTTP/1.1\r\n\r\n", "the hidden request"),
        (b"POST /  HTTP/1.1\r\n\r\n", "no request line"),
        (b"POST / HTTP/1.1\r\nX : a\r\n\r\n", "no header's name"),
    ],
)
def test_the_tap_sees_what_a_strict_server_would_refuse(head: bytes, problem: str | None) -> None:
    arrival = Arrival()
    for byte in head:
        arrival.feed(bytes([byte]))
    assert arrival.problems == ([problem] if problem else [])
    assert len(arrival.heads) == (1 if problem else 2)


def test_an_answer_too_many_is_smuggled() -> None:
    answer = Answer(200, JSON, b"{}")
    assert judge_probe(Exchange([answer]), Probe(b""), is_gateway=True) == "read"
    assert judge_probe(Exchange([answer, answer]), Probe(b""), is_gateway=False) == "smuggled"
    healthy = Answer(200, JSON, b'{"status": "Healthy"}')
    assert judge_probe(Exchange([healthy]), Probe(b""), is_gateway=True) == "smuggled"


def test_a_seed_draws_the_same_again_in_every_format() -> None:
    files = make_files()
    assert {identify(file)[0] for file in files.values()} == set(FORMATS)
    first = draw(mutated(files), 50, 1)
    assert first == draw(mutated(files), 50, 1) != draw(mutated(files), 50, 2)
    assert draw(st.integers(), 5, 3) == draw(st.integers(), 5, 3)


def test_there_is_a_small_file_that_grows_in_every_format() -> None:
    made = {name: make() for name, make in make_bombs().items() if "25 megapixels" not in name and "MB" not in name}
    assert {identify(file)[0] for file in made.values()} == set(FORMATS)
    assert max(map(len, made.values())) < 2_000_000


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler (Debian: apt install gcc)")
def test_a_clock_of_its_own_jumps_alone(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    faults = Faults(Service(tmp_path / "service"), 0, print)
    given = os.environ | faults.give_clock()
    for days in (1, -1, 0):
        faults.set_clock(days)
        told = int(subprocess.run(["date", "+%s"], env=given, capture_output=True, check=True).stdout)
        assert abs(told - time.time() - 86_400 * days) < 60


@pytest.mark.server
@pytest.mark.slow
def test_a_short_run_of_every_part_holds_its_bars(tmp_path: Path) -> None:
    command = [ROOT / "scripts" / "soak", "--minutes", "0.4", "--seed", "1", "--report", tmp_path]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report = (tmp_path / "report.md").read_text()
    for heading in ("Summary", "Load", "Memory", "Hostile input", "Faults"):
        assert f"## {heading}\n" in report
    assert "seed: 1;" in report
    assert "| the clock jumps | - |" in report
    for figure in ("load", "memory", "hostile", "faults"):
        assert (tmp_path / f"{figure}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.server
@pytest.mark.slow
def test_ctrl_c_leaves_no_process_and_no_disk(tmp_path: Path) -> None:
    command = [str(ROOT / "scripts" / "soak"), "--only", "faults", "--report", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as soak:
        assert soak.stdout
        limit = threading.Timer(120, soak.kill)
        limit.start()
        while "a worker frozen" not in soak.stdout.readline():
            assert soak.poll() is None
        family = psutil.Process(soak.pid).children(recursive=True)
        folder = next(Path(word).parent for each in family for word in each.cmdline() if "config.properties" in word)
        assert folder.is_dir()
        soak.send_signal(signal.SIGINT)
        assert soak.wait(60) == 130
        limit.cancel()
    assert len(family) >= 4
    assert not [process for process in family if process.is_running()]
    assert str(folder) not in Path("/proc/mounts").read_text()
    assert not folder.exists()


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "1e9"])
def test_an_impossible_time_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="number of minutes"):
        parse_minutes(text)


def test_parts_are_run_in_their_order() -> None:
    assert parse_parts("faults,load") == ["load", "faults"]
    with pytest.raises(ArgumentTypeError, match="there is no part nothing"):
        parse_parts("hostile,nothing")
