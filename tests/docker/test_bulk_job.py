"""docker/kubernetes/bulk-job.yaml runs what the image has, with no more rights than it needs."""

import tomllib
from typing import Any

import yaml

from operate.config import ROOT

JOB: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "kubernetes" / "bulk-job.yaml").read_text())["spec"]
POD: dict[str, Any] = JOB["template"]["spec"]
CONTAINER: dict[str, Any] = POD["containers"][0]


def test_each_pod_reads_one_share_into_a_table_of_its_own() -> None:
    count = JOB["completions"]
    assert (JOB["completionMode"], JOB["parallelism"]) == ("Indexed", count)
    script, _, *options = CONTAINER["command"]
    assert f"!{script}" in (ROOT / ".dockerignore").read_text().splitlines()
    values = dict(zip(options[::2], options[1::2], strict=True))
    assert values["--shard"] == f"$(JOB_COMPLETION_INDEX)/{count}"
    assert "$(JOB_COMPLETION_INDEX)" in values["--output"]
    # With this Kubernetes takes no other.
    assert JOB["backoffLimitPerIndex"] > 0
    assert POD["restartPolicy"] == "Never"


def test_the_image_is_the_one_that_scripts_image_builds() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert CONTAINER["image"] == f"digits:{version}"
    assert f"USER {POD['securityContext']['runAsUser']}:" in (ROOT / "docker" / "Dockerfile").read_text()


def test_the_pod_keeps_to_the_restricted_standard() -> None:
    assert POD["securityContext"]["runAsNonRoot"]
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not POD["automountServiceAccountToken"]
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = {mount["name"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"answers", "tmp"}
