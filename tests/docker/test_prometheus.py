"""A real Prometheus watches the real service by the shipped rules, and the dashboard's queries give what happened."""

import json
import math
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import yaml

from operate.config import ROOT
from tests.harness.load import load, make_bad, make_good
from tests.harness.prometheus import SHIPPED, get, query, run_prometheus
from tests.harness.service import Service, poll
from train.mnist import read_mnist

RULES = [rule for group in yaml.safe_load((SHIPPED / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
DASHBOARD = json.loads((ROOT / "docker" / "grafana" / "digits.json").read_text())
QUERIES = {
    # Rates are taken over a few scrape intervals.
    f"{panel['title']}: {target['legendFormat']}": target["expr"].replace("$__rate_interval", "5s")
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", [])
}
ADAPTER = ROOT / "docker" / "kubernetes" / "production" / "adapter-values.yaml"
SCALED_BY = [rule["seriesQuery"] for rule in yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]]
EXPRESSIONS = [*QUERIES.values(), *(rule["expr"] for rule in RULES), *SCALED_BY]
# What a service of a few seconds cannot show.
EMPTY = {
    "Alerts over time: {{alertname}}": "no alert is pending",
    "Doubted: the day before": "it runs for less than 30 minutes",
    "Digits that moved: moved": "it runs for less than 30 minutes",
    "Refused over 30 minutes: {{reason}}, the day before": "it runs for less than 30 minutes",
    "Expected accuracy: a day, the week before": "it runs for less than a week",
    "digits:shift:ratio30m": "it runs for less than 30 minutes",
    "Kept: {{folder}}": "it keeps none",
    "Kept: dropped, {{reason}}": "it keeps none",
    "digit_kept_total": "it keeps none",
    "digit_not_kept_total": "it keeps none",
}
DOCUMENT = (ROOT / "docs" / "metrics.md").read_text()
EXAMPLES = dict(re.findall(r"^\| `(\w+)` .* `([^`]+)` \|$", DOCUMENT, re.MULTILINE))
NAMED = QUERIES | {name: name for name in RECORDED} | EXAMPLES

needs_prometheus = pytest.mark.skipif(
    not shutil.which("prometheus"), reason="needs Prometheus (Debian: apt install prometheus)"
)


def real(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that asks a real Prometheus of the real service."""
    return pytest.mark.server(pytest.mark.slow(needs_prometheus(test)))


@needs_prometheus
@pytest.mark.slow
@pytest.mark.parametrize("command", ["check config prometheus.yml", "test rules alerts.test.yml week.test.yml"])
def test_promtool_accepts_the_rules(command: str) -> None:
    run = subprocess.run(["promtool", *command.split()], cwd=SHIPPED, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_says_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"].strip().endswith(".")
    assert rule["annotations"]["description"].endswith(f"docs/metrics.md#{alert.lower()}.")
    assert f"\n### {alert}\n" in DOCUMENT


@pytest.mark.server
def test_each_metric_is_documented_and_used_and_no_other_is_named(service: Service) -> None:
    text = requests.get(service.config.metrics + "/metrics", timeout=30).text
    served = set(re.findall(r"^# TYPE (digit_\w+) ", text, re.MULTILINE))
    for metric in served:
        assert metric in EXAMPLES[metric]
        assert any(metric in expression for expression in EXPRESSIONS)
    text = "\n".join([*EXPRESSIONS, DOCUMENT])
    named = {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"\bdigit_[a-z_]+", text)}
    assert named - {"digit_"} == served
    assert set(re.findall(r"\bdigits:[a-z_:0-9]+", text)) <= set(RECORDED)


def test_the_dashboard_is_well_formed() -> None:
    sources = yaml.safe_load((ROOT / "docker/grafana/provisioning/datasources/prometheus.yaml").read_text())
    (source,) = sources["datasources"]
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        if panel["type"] != "row":
            assert panel["description"].endswith(".")
            assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.fixture(scope="module")
def prometheus(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The http://host:port of a Prometheus that watches the service."""
    target = service.config.metrics.removeprefix("http://")
    with run_prometheus(target, tmp_path_factory.mktemp("prometheus")) as address:
        yield address


@pytest.fixture(scope="module")
def busy(prometheus: str, service: Service) -> Iterator[str]:
    """The same, while the service gets requests of every kind, and when the figures of drift are there."""
    pixels = read_mnist(train=False)[0][:500, 0].numpy()
    client, address = service.client, service.config.inference
    mixtures = (make_good(client, pixels), list(make_bad(client).values()))
    with load(address, 1, requests=mixtures[0], pause_s=0.01), load(address, 1, requests=mixtures[1], pause_s=0.01):
        poll(lambda: bool(query(prometheus, "digits:refused:ratio30m and on () digits:doubted:ratio1d")), 60)
        yield prometheus


@real
@pytest.mark.parametrize("name", NAMED)
def test_each_expression_gives_numbers(name: str, busy: str) -> None:
    query(busy, NAMED[name])
    if name not in EMPTY:
        poll(lambda: bool(query(busy, NAMED[name])), 10)
        # The quantile of an endpoint without recent requests is not a number.
        assert any(math.isfinite(value) for _, value in query(busy, NAMED[name]))


@real
@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_evaluated_and_does_not_fire(alert: str, busy: str) -> None:
    poll(lambda: rule_of(busy, alert)["health"] == "ok")
    assert rule_of(busy, alert)["state"] != "firing"
    for metric in re.findall(r"\bdigits?[_:][\w:]+", ALERTS[alert]["expr"]):
        assert query(busy, metric) or metric in EMPTY


def rule_of(prometheus: str, alert: str) -> dict[str, Any]:
    """Return Prometheus's description of an alert."""
    (rule,) = [rule for group in get(prometheus, "rules")["groups"] for rule in group["rules"] if rule["name"] == alert]
    return dict(rule)


@real
def test_the_figures_are_plausible(busy: str, service: Service) -> None:
    figures = {
        # Without what only earlier tests sent.
        name: {
            tuple(labels.values()): value
            for labels, value in query(busy, expression)
            if value or ("reason" not in labels and "code" not in labels)
        }
        for name, expression in QUERIES.items()
    }
    assert figures["Service: up"] == {(): 1}
    assert figures["Ready workers: ready"] == {(): 1}
    assert figures["Answering version: {{model}} {{version}}"].keys() == {("mnist", version())}
    assert figures["Alerts: firing"] == {(): 0}
    assert figures["Failing: 5xx"] == {("digits:errors:ratio5m",): 0}
    assert figures["Workers: {{model}} {{version}} wanted"] == {("mnist", version()): 2}
    assert set(figures["Requests: {{endpoint}}"]) >= {("predictions",), ("explanations",), ("v1",), ("v2",)}
    assert set(figures["Refused, by reason: {{reason}}"]) == {(reason,) for reason in make_bad(service.client)}
    assert set(figures["Answers other than 200: {{code}}"]) == {("400",), ("413",)}
    assert set(figures["Digits: {{digit}}"]) == {(str(digit),) for digit in range(10)}
    p50, p95, p99 = (figures[f"Time of a prediction: {name}"][()] for name in ("p50", "p95", "p99"))
    assert 0 < p50 <= p95 <= p99 < 1000
    assert 0.95 < figures["Expected accuracy: certain: {{certain}}"]["true",] <= 1
    assert 0 <= figures["Doubted: 30 minutes"]["digits:doubted:ratio30m",] < 0.05
    assert 1 <= figures["Requests in a batch: mean"][()] <= 64


def version() -> str:
    """Return the version of the model that is served."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
