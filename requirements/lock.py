"""Write requirements/: every package in its exact version with hashes, split by who needs it.

torch.txt   torch and its CUDA packages, which another index may replace
serve.txt   the rest of what serving needs
develop.txt what training, testing and checking need in addition
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TORCH = re.compile(r"(torch|triton|cuda-.*|nvidia-.*)==")


def main() -> None:
    """Resolve serving and developing together, so that both get the same versions."""
    argparse.ArgumentParser(
        prog="scripts/lock", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    develop = resolve("pyproject.toml", "--group", "pyproject.toml:develop")
    serve = [pin for pin in resolve("pyproject.toml") if pin in develop]
    torch = [pin for pin in serve if TORCH.match(pin)]
    for name, pins in {
        "torch": torch,
        "serve": [pin for pin in serve if pin not in torch],
        "develop": [pin for pin in develop if pin not in serve],
    }.items():
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
