"""The autoscaler that ships is the one that was simulated, by Kubernetes's arithmetic, and it loses less than CPU's."""

import json

import numpy as np
import pytest
import yaml

from bench.autoscaling import (
    MANIFEST,
    PER_DAY,
    Variant,
    count_lost,
    list_variants,
    make_day,
    make_spike,
    plot_load,
    plot_run,
    run,
    tabulate,
)
from bench.capacity import MEASURED
from bench.fleet import PLACES, WORKERS, Capacity, read_capacity, simulate
from bench.hpa import DOWN, Autoscaler, Behaviour, Controller, Policy, propose, read_manifest
from bench.prometheus import SHIPPED as PROMETHEUS
from operate.config import ROOT

MANY = 1000


@pytest.fixture(scope="module")
def digits() -> Capacity:
    """What one pod does with small pictures."""
    return read_capacity(MEASURED, "digits")


@pytest.mark.parametrize(
    ("pods", "values", "target", "wanted"),
    [
        # "200m" for "100m" doubles, "50m" halves.
        (3, [0.2, 0.2, 0.2], 0.1, 6),
        (4, [0.05] * 4, 0.1, 2),
        # Rounded up.
        (3, [0.15] * 3, 0.1, 5),
        # The tolerance of a tenth.
        (10, [0.11] * 10, 0.1, 10),
        (10, [0.112] * 10, 0.1, 12),
        (10, [0.09] * 10, 0.1, 10),
        (10, [0.089] * 10, 0.1, 9),
        # A pod without the metric counts as idle when there should be more: 600 / 4 = 150.
        (4, [200] * 3, 100, 6),
        # It counts as on target when there should be fewer: (120 + 100) / 4 = 55.
        (4, [40] * 3, 100, 3),
        # When that turns the direction, nothing changes: 120 / 3 = 40.
        (3, [120], 100, 3),
        # Or brings it within the tolerance: 400 / 4 = 100.
        (4, [133, 133, 134], 100, 4),
        (5, [], 100, 5),
    ],
)
def test_the_ratio_of_the_metric_to_its_target_gives_the_pods(
    pods: int, values: list[float], target: float, wanted: int
) -> None:
    assert propose(pods, values, target) == wanted


def decide(autoscaler: Autoscaler, pods: int, values: list[float], every_s: int) -> list[int]:
    """Return how many pods there are after each decision, one for each value of the metric."""
    controller, counts = Controller(autoscaler), []
    for number, value in enumerate(values):
        pods = controller.decide(number * every_s, pods, [value] * pods)
        counts.append(pods)
    return counts


def test_by_itself_it_adds_four_or_doubles_each_15_seconds() -> None:
    assert decide(Autoscaler("", 1, 1, MANY), 1, [1000] * 4, 15) == [5, 10, 20, 40]


def test_the_policy_that_allows_most_counts() -> None:
    # A tenth a minute, rounded up, until that is fewer than four.
    down = Behaviour((Policy("Pods", 4, 60), Policy("Percent", 10, 60)), 0)
    counts = decide(Autoscaler("", 1, 10, MANY, down=down), 80, [0.1] * 15, 60)
    assert counts == [72, 64, 57, 51, 45, 40, 36, 32, 28, 24, 20, 16, 12, 10, 10]


def test_what_went_within_the_period_counts_against_the_policy() -> None:
    down = Behaviour((Policy("Percent", 10, 60),), 0)
    assert decide(Autoscaler("", 1, 10, MANY, down=down), 100, [0.1] * 9, 15) == [90, 90, 90, 90, 81, 81, 81, 81, 72]


def test_fewer_pods_only_when_none_of_the_window_wanted_more() -> None:
    down = Behaviour(DOWN.policies, 60)
    counts = decide(Autoscaler("", 1, 1, MANY, down=down), 10, [1, 0.5, 0.5, 1, 0.5, 0.5, 0.5, 0.5, 0.5], 15)
    assert counts == [10] * 8 + [5]


def test_more_pods_only_when_all_of_the_window_wanted_more() -> None:
    up = Behaviour((Policy("Percent", 100, 15),), 30)
    assert decide(Autoscaler("", 1, 1, MANY, up=up), 4, [1, 2, 2, 2], 15) == [4, 4, 4, 8]


def test_the_bounds_hold() -> None:
    assert decide(Autoscaler("", 1, 2, 6), 4, [100, 100], 15) == [6, 6]
    assert decide(Autoscaler("", 1, 2, 6, down=Behaviour(DOWN.policies, 0)), 4, [0, 0], 15) == [2, 2]


@pytest.mark.parametrize("rate", [1_000, 20_000, 400_000])
def test_every_request_is_served_refused_or_waiting(digits: Capacity, rate: float) -> None:
    autoscaler = read_manifest(MANIFEST)
    done = simulate(digits, make_spike(rate), autoscaler, 4)
    arrived, gone = done.offered.cumsum(), (done.served + done.refused).cumsum()
    np.testing.assert_allclose(arrived, gone + done.waiting, rtol=1e-9)
    assert (done.served > -1e-6).all()
    assert (done.refused > -1e-6).all()
    assert (done.waiting <= PLACES * done.ready).all()
    assert autoscaler.min_pods <= done.pods.min() <= done.pods.max() <= autoscaler.max_pods


def test_a_pod_serves_up_to_its_capacity_and_then_refuses(digits: Capacity) -> None:
    one = Autoscaler("digits_load", 1, 1, 1)
    calm = simulate(digits, np.full(60, 0.9 * digits.most), one, 1)
    assert calm.refused.sum() == 0
    full = simulate(digits, np.full(60, 2 * digits.most), one, 1)
    assert full.served[30] == pytest.approx(digits.most)
    assert full.refused[30] == pytest.approx(digits.most)
    assert full.p50[30] > 1e3 * 0.9 * PLACES / digits.most - 100


def test_the_places_and_the_workers_are_those_of_a_pod() -> None:
    shipped = yaml.safe_load((ROOT / "handler" / "model-config.yaml").read_text())
    assert shipped["minWorkers"] == WORKERS
    # 64 are kept spare.
    assert shipped["jobQueueSize"] == PLACES + 64


def test_what_ships_is_what_was_simulated(digits: Capacity) -> None:
    manifest = yaml.safe_load(MANIFEST.read_text())
    shipped, _ = list_variants(read_manifest(MANIFEST), digits)["shipped"]
    assert (manifest["apiVersion"], manifest["kind"]) == ("autoscaling/v2", "HorizontalPodAutoscaler")
    assert manifest["metadata"]["name"] == manifest["spec"]["scaleTargetRef"]["name"] == "service"
    (metric,) = manifest["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == shipped.metric
    assert float(metric["pods"]["target"]["averageValue"]) == shipped.target
    assert (manifest["spec"]["minReplicas"], manifest["spec"]["maxReplicas"]) == (shipped.min_pods, shipped.max_pods)
    for fields, behaviour in (("scaleUp", shipped.up), ("scaleDown", shipped.down)):
        written = manifest["spec"]["behavior"][fields]
        assert written["stabilizationWindowSeconds"] == behaviour.window_s
        assert [tuple(each.values()) for each in written["policies"]] == [
            (policy.kind, policy.value, policy.period_s) for policy in behaviour.policies
        ]
    report = (ROOT / "docs" / "autoscaling" / "report.md").read_text()
    assert f"Shipped: target {shipped.target:g}." in report


def test_the_metric_is_a_recording_rule_that_the_adapter_offers() -> None:
    (rule,) = yaml.safe_load(MANIFEST.with_name("adapter-values.yaml").read_text())["rules"]["custom"]
    assert rule["name"]["as"] == read_manifest(MANIFEST).metric
    rules = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
    assert any(f'"{each.get("record")}"' in rule["seriesQuery"] for each in rules)


def test_a_spike_loses_less_with_the_shipped_values_than_by_cpu(digits: Capacity) -> None:
    variants = list_variants(read_manifest(MANIFEST), digits)
    spike = make_spike(float(make_day(PER_DAY)[0]))
    shipped, *others = (
        count_lost(simulate(digits, spike, variants[name][0], 9, variants[name][1]))
        for name in ("shipped", "CPU 70 %, Kubernetes's behaviour", "up 100 %")
    )
    assert 0 < shipped < min(others)


@pytest.fixture(scope="module")
def shipped(digits: Capacity) -> Variant:
    """What the shipped autoscaler does."""
    return run(digits, "shipped", *list_variants(read_manifest(MANIFEST), digits)["shipped"])


@pytest.mark.slow
def test_the_day_loses_nothing_at_fewer_pod_hours_than_a_fixed_fleet(digits: Capacity, shipped: Variant) -> None:
    variants = list_variants(read_manifest(MANIFEST), digits)
    (fixed,) = [autoscaler for name, (autoscaler, _) in variants.items() if name.startswith("fixed")]
    assert shipped.day.refused.sum() == 0
    assert shipped.day.pod_hours < 0.8 * 24 * fixed.min_pods


@pytest.mark.slow
def test_the_documents_have_the_figures_of_the_shipped_autoscaler(shipped: Variant) -> None:
    row = tabulate([shipped])[1]
    assert f"| {' | '.join(row)} |\n" in (ROOT / "docs" / "autoscaling" / "report.md").read_text()
    _, hours, _, changes, _, p99, refused, spike, *_ = row
    document = (ROOT / "docs" / "scaling.md").read_text()
    assert f" | {hours} | {changes} | {p99} | {refused} | {spike} |\n" in document


@pytest.mark.slow
def test_the_runs_and_the_load_are_drawn(shipped: Variant) -> None:
    for picture in (plot_run([shipped.spike] * 2, 1), plot_load(json.loads(MEASURED.read_text()))):
        assert picture.startswith(b"\x89PNG")
