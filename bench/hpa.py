"""The arithmetic of a HorizontalPodAutoscaler, autoscaling/v2, as Kubernetes documents it.

Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

SYNC_S = 15
TOLERANCE = 0.1

Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Policy:
    """How many pods may come or go in a period: a number of them, or a share in percent."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: int


@dataclass(frozen=True)
class Behaviour:
    """How fast the number may change in one direction: the policy that allows most counts."""

    policies: tuple[Policy, ...]
    window_s: int


# What Kubernetes does if a manifest says nothing.
UP = Behaviour((Policy("Percent", 100, 15), Policy("Pods", 4, 15)), 0)
DOWN = Behaviour((Policy("Percent", 100, 15),), 300)


@dataclass(frozen=True)
class Autoscaler:
    """The fields of a manifest: the metric of a pod and the mean that it should have, the bounds, the behaviour."""

    metric: str
    target: float
    min_pods: int
    max_pods: int
    up: Behaviour = UP
    down: Behaviour = DOWN


@dataclass
class Controller:
    """An autoscaler at work: it remembers what it recommended, and when how many pods came (+) or went (-)."""

    autoscaler: Autoscaler
    recommended: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)

    def decide(self, now_s: float, pods: int, values: Sequence[float]) -> int:
        """Return how many pods there should be, given the metric of those that have one."""
        bounds = self.autoscaler
        wanted = min(max(propose(pods, values, bounds.target), bounds.min_pods), bounds.max_pods)
        self.recommended.append((now_s, wanted))
        wanted = self.stabilise(now_s, pods)
        if wanted > pods:
            wanted = min(wanted, max(pods, self.limit(now_s, pods, "up")), bounds.max_pods)
        elif wanted < pods:
            wanted = max(wanted, min(pods, self.limit(now_s, pods, "down")), bounds.min_pods)
        if wanted != pods:
            self.changes.append((now_s, wanted - pods))
        return wanted

    def stabilise(self, now_s: float, pods: int) -> int:
        """Return the least that was wanted while it should rise, the most while it should fall, else no change."""
        least = min(n for at_s, n in self.recommended if at_s >= now_s - self.autoscaler.up.window_s)
        most = max(n for at_s, n in self.recommended if at_s >= now_s - self.autoscaler.down.window_s)
        longest_s = max(self.autoscaler.up.window_s, self.autoscaler.down.window_s)
        self.recommended = [(at_s, n) for at_s, n in self.recommended if at_s >= now_s - longest_s]
        return min(max(pods, least), most)

    def limit(self, now_s: float, pods: int, direction: Direction) -> int:
        """Return the furthest number that the policies of a direction allow now."""
        sign = 1 if direction == "up" else -1
        behaviour = self.autoscaler.up if direction == "up" else self.autoscaler.down
        limits = []
        for policy in behaviour.policies:
            recent = sum(n for at_s, n in self.changes if n * sign > 0 and at_s > now_s - policy.period_s)
            before = pods - recent
            if policy.kind == "Pods":
                limits.append(before + sign * policy.value)
            elif direction == "up":
                limits.append(math.ceil(round(before * (1 + policy.value / 100), 9)))
            else:
                limits.append(math.floor(round(before * (1 - policy.value / 100), 9)))
        return max(limits) if direction == "up" else min(limits)


def propose(pods: int, values: Sequence[float], target: float) -> int:
    """Return how many pods bring the mean of the metric to its target.

    Pods without the metric count as idle when there should be more pods, as on target when there should be fewer.
    """
    if not values:
        return pods
    missing = pods - len(values)
    ratio = sum(values) / len(values) / target
    if missing:
        filled = sum(values) + (0 if ratio > 1 else missing * target)
        adjusted = filled / pods / target
        if (adjusted > 1) != (ratio > 1):
            return pods
        ratio = adjusted
    # Kubernetes counts in thousandths, without the dust of binary fractions.
    return pods if round(abs(ratio - 1), 9) <= TOLERANCE else math.ceil(round(ratio * pods, 9))


def read_manifest(path: Path) -> Autoscaler:
    """Return the autoscaler of a manifest with one metric of its pods."""
    spec = yaml.safe_load(path.read_text())["spec"]
    (metric,) = spec["metrics"]
    behaviour = spec.get("behavior", {})
    return Autoscaler(
        metric["pods"]["metric"]["name"],
        parse_quantity(metric["pods"]["target"]["averageValue"]),
        spec["minReplicas"],
        spec["maxReplicas"],
        read_behaviour(behaviour.get("scaleUp", {}), UP),
        read_behaviour(behaviour.get("scaleDown", {}), DOWN),
    )


def read_behaviour(fields: dict[str, Any], default: Behaviour) -> Behaviour:
    """Return a direction's behaviour, with Kubernetes's defaults for fields that are absent."""
    policies = tuple(Policy(each["type"], each["value"], each["periodSeconds"]) for each in fields.get("policies", ()))
    return Behaviour(policies or default.policies, fields.get("stabilizationWindowSeconds", default.window_s))


def parse_quantity(quantity: str | int) -> float:
    """Return the number that Kubernetes writes as "200m" or "16"."""
    text = str(quantity)
    return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)
