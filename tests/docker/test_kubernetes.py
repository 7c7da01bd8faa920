"""The Kubernetes manifests are valid, give no pod more than it needs, and fit what the images do."""

import re
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import requests
import yaml

from operate.config import ROOT, read_config
from operate.torchserve import STOP_TIMEOUT_S
from tests.harness.service import Service

KUBERNETES = ROOT / "docker" / "kubernetes"
OVERLAYS = ("small", "production")
# What the manifests need at least.
KUBERNETES_VERSION = "1.32"
CONFIG = read_config(ROOT / "docker" / "config.properties")
Object = dict[str, Any]


def read(path: Path) -> list[Object]:
    """Return the objects of a manifest."""
    return list(yaml.safe_load_all(path.read_text()))


OBJECTS = [
    pytest.param(each, id=f"{path.parent.name}-{each['kind']}-{each['metadata']['name']}")
    for path in sorted(KUBERNETES.rglob("*.yaml"))
    if path.name != "kustomization.yaml"
    for each in read(path)
    # Not the values of a Helm chart.
    if "kind" in each
]


@cache
def render(overlay: str) -> list[Object]:
    """Return the objects of an overlay as kubectl applies them."""
    kubectl = shutil.which("kubectl")
    if not kubectl:
        pytest.skip("needs kubectl (https://kubernetes.io/docs/tasks/tools)")
    command = [kubectl, "kustomize", str(KUBERNETES / overlay)]
    return list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def find(objects: list[Object], kind: str, name: str) -> Object:
    """Return the one object of a kind and name."""
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


SERVICE = find(read(KUBERNETES / "base" / "service.yaml"), "Deployment", "service")["spec"]["template"]["spec"]
GATEWAY = find(read(KUBERNETES / "base" / "gateway.yaml"), "Deployment", "gateway")["spec"]["template"]["spec"]
PREDICTOR = read(KUBERNETES / "kserve" / "inference-service.yaml")[0]["spec"]["predictor"]
(BULK,) = read(KUBERNETES / "bulk-job.yaml")
PODS = {"service": SERVICE, "gateway": GATEWAY, "predictor": PREDICTOR, "bulk": BULK["spec"]["template"]["spec"]}


def check(each: Object) -> None:
    """Assert that an object is one of the Kubernetes API, unless it is of an extension."""
    if not re.search(r"coreos\.com|kserve\.io", each["apiVersion"]):
        kubernetes_validate.validate(each, KUBERNETES_VERSION, strict=True)


@pytest.mark.parametrize("each", OBJECTS)
def test_every_object_is_valid(each: Object) -> None:
    check(each)


@pytest.mark.parametrize("overlay", [*OVERLAYS, "kserve"])
def test_every_overlay_renders_to_valid_objects(overlay: str) -> None:
    objects = render(overlay)
    for each in objects:
        check(each)
        if overlay != "kserve":
            assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == "digits"
            assert each["metadata"]["labels"]["app.kubernetes.io/name"] == "digits"


def test_the_autoscaler_asks_for_the_metric_that_the_adapter_offers() -> None:
    (autoscaler,) = read(KUBERNETES / "production" / "autoscaling.yaml")
    (adapter,) = read(KUBERNETES / "production" / "adapter-values.yaml")
    (rule,) = adapter["rules"]["custom"]
    (metric,) = autoscaler["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_and_policies_mean_pods_that_exist(overlay: str) -> None:
    objects = render(overlay)
    pods = [each["spec"]["template"]["metadata"]["labels"] for each in objects if each["kind"] == "Deployment"]

    def matches(selector: dict[str, str]) -> bool:
        return any(selector.items() <= labels.items() for labels in pods)

    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] == "Service":
            assert matches(spec["selector"])
        if each["kind"] in ("NetworkPolicy", "PodDisruptionBudget"):
            assert matches(spec.get("podSelector", spec.get("selector"))["matchLabels"])


@pytest.mark.parametrize("name", PODS)
def test_every_pod_keeps_to_the_restricted_standard_and_less(name: str) -> None:
    pod = PODS[name]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["terminationGracePeriodSeconds"]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"]["memory"]
    # What can be filled has a limit.
    assert all(volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume)


def test_images_and_users_are_those_that_scripts_image_builds() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    for pod in PODS.values():
        name, _, tag = pod["containers"][0]["image"].removeprefix("digits-").partition(":")
        assert tag == version
        stage = dockerfile.split(f" AS {name}\n")[1].split("\nFROM ")[0]
        user = pod["securityContext"]
        assert f"USER {user['runAsUser']}:{user['runAsGroup']}\n" in stage


def test_ports_and_model_are_those_of_the_configuration() -> None:
    inference, metrics = (int(address.rpartition(":")[2]) for address in (CONFIG.inference, CONFIG.metrics))
    ports = {port["name"]: port["containerPort"] for port in SERVICE["containers"][0]["ports"]}
    assert ports == {"inference": inference, "metrics": metrics}
    assert f":{inference} resolve" in read_environment(GATEWAY)["GATEWAY_SERVERS"]
    (port,) = PREDICTOR["containers"][0]["ports"]
    assert port["containerPort"] == inference
    (predictor,) = read(KUBERNETES / "kserve" / "inference-service.yaml")
    assert predictor["metadata"]["name"] == CONFIG.model
    assert predictor["metadata"]["annotations"]["prometheus.kserve.io/port"] == str(metrics)


def read_environment(pod: Object) -> dict[str, str]:
    """Return the environment variables that have a value."""
    return {each["name"]: each["value"] for each in pod["containers"][0]["env"] if "value" in each}


def test_the_predictor_of_kserve_is_the_service_itself() -> None:
    served, predictor = SERVICE["containers"][0], PREDICTOR["containers"][0]
    for name in ("image", "args", "resources", "securityContext", "volumeMounts"):
        assert predictor[name] == served[name], name
    for name in ("securityContext", "volumes", "terminationGracePeriodSeconds", "enableServiceLinks"):
        assert PREDICTOR[name] == SERVICE[name], name


@pytest.mark.server
@pytest.mark.parametrize("pod", ["service", "predictor"])
def test_the_service_answers_every_probe(pod: str, service: Service) -> None:
    container = PODS[pod]["containers"][0]
    probes = [value for name, value in container.items() if name.endswith("Probe")]
    assert len(probes) >= 2
    for probe in probes:
        assert requests.get(service.config.inference + probe["httpGet"]["path"], timeout=5).ok


def test_every_pod_has_time_to_answer_what_it_accepted() -> None:
    script, option, delay_s = SERVICE["containers"][0]["args"]
    assert (script, option) == ("scripts/serve", "--shutdown-delay")
    # Endpoints, DNS and the gateway's resolver.
    assert int(delay_s) >= 1 + 5 + 5
    assert SERVICE["terminationGracePeriodSeconds"] >= int(delay_s) + STOP_TIMEOUT_S
    pause_s = GATEWAY["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    settings = (ROOT / "docker" / "gateway" / "proxy.conf.template").read_text()
    # The last try may begin just before this.
    (retries_s,) = map(int, re.findall(r"proxy_next_upstream_timeout (\d+)s", settings))
    timeout_s = int(read_environment(GATEWAY)["GATEWAY_TIMEOUT"].removesuffix("s"))
    assert GATEWAY["terminationGracePeriodSeconds"] >= pause_s + retries_s + timeout_s


def test_each_bulk_pod_reads_one_share_into_a_table_of_its_own() -> None:
    job = BULK["spec"]
    assert (job["completionMode"], job["parallelism"]) == ("Indexed", job["completions"])
    (container,) = job["template"]["spec"]["containers"]
    assert f"!{container['command'][0]}" in (ROOT / ".dockerignore").read_text().splitlines()
    command = " ".join(container["command"])
    assert f"--shard $(JOB_COMPLETION_INDEX)/{job['completions']} " in f"{command} "
    assert "$(JOB_COMPLETION_INDEX)" in command.partition(" --output ")[2].split()[0]
