"""Write requirements/: every package in its exact version with hashes, split by who needs it.

serve.txt   what serving needs
gpu.txt     what a worker with an NVIDIA GPU needs in addition: torch with its CUDA packages
develop.txt what training, testing and checking need in addition to both
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Resolve everything together, so that all lists have the same versions."""
    argparse.ArgumentParser(
        prog="scripts/lock", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    groups = {"serve": [], "gpu": ["--group", "pyproject.toml:gpu"], "develop": ["--group", "pyproject.toml:develop"]}
    left = resolve("pyproject.toml", *groups["develop"])
    for name, options in groups.items():
        needed = {pin.partition("==")[0] for pin in resolve("pyproject.toml", *options)}
        pins = [pin for pin in left if pin.partition("==")[0] in needed]
        left = [pin for pin in left if pin not in pins]
        text = "# Written by scripts/lock from pyproject.toml.\n" + "".join(pins)
        (ROOT / "requirements" / f"{name}.txt").write_text(text)


def resolve(*sources: str) -> list[str]:
    """Return one requirement with its hashes, several lines long, for each package the sources need."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--no-header", "--no-annotate"]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-sources", *sources]
    text = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.findall(r"^\S.*\n(?:    .*\n)*", text, re.MULTILINE)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError:
        sys.exit("The packages in pyproject.toml could not be resolved; nothing was written.")
