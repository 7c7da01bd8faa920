"""scripts/evaluate measures a running service."""

import re
import subprocess

import pytest

from operate.config import ROOT
from tests.harness.service import Service


@pytest.mark.server
@pytest.mark.slow
def test_the_service_reads_mnist_as_the_net_does(service: Service) -> None:
    command = [ROOT / "scripts" / "evaluate", "--url", service.config.inference, "--limit", "2000"]
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "0 of 2,000 MNIST digits are read differently" in run.stdout
    share = re.search(r"^MNIST test +2,000 +([0-9.]+) ", run.stdout, re.MULTILINE)
    assert share, run.stdout
    assert float(share[1]) >= 99.2
