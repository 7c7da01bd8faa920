"""The image has what serving needs, and docker/compose.yaml exposes nothing that should stay inside."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from operate.config import CONFIG, ROOT, read_config
from tests.harness.service import START_TIMEOUT_S, poll, write_config

DOCKER = ROOT / "docker"
SHIPPED = DOCKER / "config.properties"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
CONTAINERS: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.mark.server
def test_the_files_of_the_image_are_enough_to_serve(tmp_path: Path) -> None:
    root = tmp_path / "service"
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            files = list(ROOT.glob(line[1:]))
            assert files, f"{line[1:]} is not there"
            for file in files:
                copy = root / file.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copy)
    # Which needs what the scripts call.
    assert subprocess.run([root / "scripts" / "serve", "--help"], capture_output=True).returncode == 0
    shutil.move(write_config(tmp_path, SHIPPED), root / "config.properties")
    environment = os.environ | {"LOG_LOCATION": str(tmp_path)}
    printed, ready = tmp_path / "printed", tmp_path / "ready"
    command = [sys.executable, "-m", "operate.serve", "--ready-file", str(ready)]
    with printed.open("w") as stdout:
        serving = subprocess.Popen(command, cwd=root, env=environment, stdout=stdout)
    poll(lambda: ready.exists() or serving.poll() is not None, START_TIMEOUT_S)
    assert "Page" not in printed.read_text()
    check = [sys.executable, "-m", "operate.manage", "status"]
    assert subprocess.run(check, cwd=root, env=environment, capture_output=True).returncode == 0
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(60) == 0
    assert not ready.exists()
    assert subprocess.run(check, cwd=root, env=environment, capture_output=True).returncode == 1


def test_the_configuration_differs_only_where_a_container_does() -> None:
    other = {name for name, _ in read_config(CONFIG).values.items() ^ read_config(SHIPPED).values.items()}
    assert {name for name in other if "cors_" not in name} == {"inference_address", "metrics_address", "model_store"}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_has_no_more_than_it_needs(name: str) -> None:
    container = CONTAINERS[name]
    assert container["read_only"]
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container["pids_limit"]
    assert container["mem_limit"]
    assert container["logging"]["options"]["max-size"]
    assert not [variable for variable in container.get("environment", {}) if "PASSWORD" in variable]
    # Our own images have the version that is asked for, and the service's has its health check.
    assert re.search(r":v?\d+\.\d+\.\d+|^digits-\w+:\$\{VERSION:-latest\}$", container["image"])
    assert name == "service" or container["healthcheck"]["test"]


def test_only_gateway_and_dashboard_are_published_and_on_loopback() -> None:
    ports = {name: container["ports"] for name, container in CONTAINERS.items() if "ports" in container}
    assert set(ports) == {"gateway", "grafana"}
    for published in ports.values():
        assert all(re.match(r"127\.0\.0\.1:|\$\{ADDRESS:-127\.0\.0\.1\}:", port) for port in published)
    leading_out = {name for name, network in COMPOSE["networks"].items() if not (network or {}).get("internal")}
    for name, container in CONTAINERS.items():
        assert bool(leading_out & set(container["networks"])) == (name in ports)


def test_pictures_are_kept_in_a_volume_and_only_if_that_is_asked_for() -> None:
    keeping = yaml.safe_load((DOCKER / "keep.yaml").read_text())
    dockerfile = (DOCKER / "Dockerfile").read_text()
    ((name, folder),) = (volume.split(":") for volume in keeping["services"]["service"]["volumes"])
    assert name in keeping["volumes"]
    assert keeping["services"]["service"]["environment"] == {"KEEP_FOLDER": folder}
    assert f"install --directory --owner digits --group digits --mode 700 {folder}\n" in dockerfile
    assert keeping["services"]["gateway"]["environment"] == {"GATEWAY_KEEPS": "true"}
    assert "GATEWAY_KEEPS=false" in dockerfile
    assert not [file for file in DOCKER.rglob("*.yaml") if "KEEP" in file.read_text() and file.name != "keep.yaml"]


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_mounted_file_exists(name: str) -> None:
    for volume in CONTAINERS[name].get("volumes", []):
        source = volume.split(":")[0]
        assert (DOCKER / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
