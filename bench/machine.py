"""The machine that figures are measured on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import openvino
import psutil

from bench.service import find_processes, find_workers
from model.engine import name_precision


def describe_machine() -> dict[str, Any]:
    """Return the facts about the machine that the figures depend on."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "processor": names[0] if names else platform.machine(),
        "engine": f"OpenVINO {version('openvino')} in {name_precision(openvino.Core())}",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "workers": len(find_workers(find_processes())),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }
