"""The machine that figures are measured on."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import psutil


def describe_machine() -> dict[str, str | int]:
    """Return the facts about the machine that the figures depend on."""
    processors = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", processors)
    return {
        "processor": name[1] if name else platform.machine(),
        "multiplies in": "bf16" if "bf16" in processors else "f32",
        "cores": len(os.sched_getaffinity(0)),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "OpenVINO": version("openvino"),
    }
