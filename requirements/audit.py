"""Write a bill of materials (CycloneDX) and the licences of what serving installs, and look for known vulnerabilities.

Exits with 1 if one is found, or if the lookup, which needs the Internet, fails for a package.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements" / "serve.txt"
LIBRARIES = ROOT / "server" / "lib"
# A jar's name, version and, if it is for one system, which.
JAR = re.compile(r"(.+?)-(\d[\w.]*)(?:-(\w+-\w+))?\.jar")
# What TorchServe 0.12 packs into its jars, by its frontend/gradle.properties; server/lib comes before them.
JARS = {
    "com.google.code.gson/gson": ("2.9.0", "Apache-2.0"),
    "com.lmax/disruptor": ("3.4.4", "Apache-2.0"),
    "commons-cli/commons-cli": ("1.3.1", "Apache-2.0"),
    "io.grpc/grpc-netty-shaded": ("1.50.0", "Apache-2.0"),
    "io.netty/netty-all": ("4.1.53.Final", "Apache-2.0"),
    "io.prometheus/simpleclient": ("0.9.0", "Apache-2.0"),
    "org.apache.logging.log4j/log4j-core": ("2.17.1", "Apache-2.0"),
    "org.codehaus.groovy/groovy-all": ("3.0.9", "Apache-2.0"),
    "org.slf4j/slf4j-api": ("1.7.32", "MIT"),
    "org.yaml/snakeyaml": ("2.1", "Apache-2.0"),
}


def main() -> int:
    """Write both files and return pip-audit's verdict."""
    parser = argparse.ArgumentParser(prog="scripts/audit", description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "audit", metavar="FOLDER", help="for the files (%(default)s)"
    )
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    components = sorted([*read_packages(), *read_jars()], key=lambda each: each.name.lower())
    bill = Bom(components=components)
    bill.metadata.component = Component(name="digits", type=ComponentType.APPLICATION)
    bill.register_dependency(bill.metadata.component, components)
    (folder / "sbom.json").write_text(JsonV1Dot6(bill).output_as_string(indent=2) + "\n")
    (folder / "licences.md").write_text("".join(list_licences(components)))
    print(f"Wrote {folder}/sbom.json and {folder}/licences.md: {len(components)} components.", flush=True)
    audit = [sys.executable, "-m", "pip_audit", "--strict", "--no-deps", "--disable-pip", "--requirement", str(LOCK)]
    return min(subprocess.run(audit).returncode, 1)


def read_packages() -> Iterator[Component]:
    """Yield the Python packages of the lock, with the licences that the installed ones declare."""
    for line in LOCK.read_text().splitlines():
        if line[:1].isalnum():
            requirement = Requirement(line.removesuffix("\\"))
            (version,) = (specifier.version for specifier in requirement.specifier)
            yield make_component(PackageURL("pypi", None, requirement.name, version), read_licence(requirement.name))


def read_licence(name: str) -> str:
    """Return the licence of an installed package: an SPDX expression, or its own words; "" if it is not installed."""
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return ""
    classified = [
        each.split(" :: ")[-1] for each in metadata.get_all("Classifier", []) if each.startswith("License ::")
    ]
    stated = metadata.get("License-Expression") or ", ".join(classified) or metadata.get("License") or ""
    return stated.strip().partition("\n")[0]


def read_jars() -> Iterator[Component]:
    """Yield the Java libraries in server/lib and in TorchServe's jars."""
    for name, version, system in map(split_jar, sorted(LIBRARIES.glob("*.jar"))):
        group = "io.netty" if name.startswith("netty") else "org.apache.logging.log4j"
        qualifiers = {"classifier": system} if system else None
        yield make_component(PackageURL("maven", group, name, version, qualifiers), "Apache-2.0")
    for name, (version, licence) in JARS.items():
        group, _, artefact = name.partition("/")
        yield make_component(PackageURL("maven", group, artefact, version), licence)


def split_jar(file: Path) -> tuple[str, str, str | None]:
    """Return the name, the version and the system of a jar."""
    found = JAR.fullmatch(file.name)
    if not found:
        raise ValueError(f"{file.name} is not named as in Maven.")
    name, version, system = found.groups()
    return name, version, system


def make_component(url: PackageURL, licence: str) -> Component:
    """Return the entry of a package."""
    licences = [DisjunctiveLicense(name=licence)] if licence else []
    return Component(
        name=url.name, group=url.namespace, version=url.version, purl=url, bom_ref=str(url), licenses=licences
    )


def list_licences(components: list[Component]) -> Iterator[str]:
    """Yield the lines of a table of packages and their licences."""
    yield "| package | version | licence |\n|---|---|---|\n"
    for each in components:
        licence = next(iter(each.licenses)).name if each.licenses else "for other systems than this one"
        yield f"| {each.name} | {each.version} | {licence} |\n"


if __name__ == "__main__":
    sys.exit(main())
