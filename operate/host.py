"""Run the service behind its gateway on one port, $PORT, as a container that has only that one.

It writes to the temporary folder, and to KEEP_FOLDER if that is set. GATEWAY_TRUSTED_PROXIES lists the proxies in front
of it, as addresses or networks with spaces between them: only their X-Forwarded-For is believed.
"""

import ipaddress
import os
import re
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from operate.config import ADDRESSES, ROOT, Config, OperatorError, keep_folder, read_config
from operate.gateway import Gateway
from operate.serve import provide_archive, run_until_stopped
from operate.torchserve import TorchServe

# Hosts allow 10 s between SIGTERM and SIGKILL, of which the service needs one or two once nothing is left to answer.
QUIT_TIMEOUT_S = 7
POLL_S = 0.2


def make_gateway(config: Config, port: int, trusted: str, folder: Path) -> Gateway:
    """Return the gateway of this container."""
    settings = {
        "GATEWAY_SCHEME": "host",
        "GATEWAY_HTTP": str(port),
        "GATEWAY_SERVERS": f"server {config.inference.removeprefix('http://')};",
        "GATEWAY_TIMEOUT": "30s",
        "GATEWAY_MODEL": config.model,
        "GATEWAY_MAX_REQUEST_BYTES": str(config.max_request_bytes),
        "GATEWAY_KEEPS": "true" if keep_folder() else "false",
        # Not asked: the service has no name.
        "GATEWAY_RESOLVER": "127.0.0.1",
        "GATEWAY_FILES": str(ROOT),
        "GATEWAY_TRUST": " ".join(f"set_real_ip_from {network};" for network in read_networks(trusted)),
    }
    return Gateway(settings, folder, QUIT_TIMEOUT_S)


def main() -> int:
    """Serve until stopped and return 0, or 3 if no worker stays alive and 1 after any other failure."""
    return run_until_stopped(host)


def host() -> NoReturn:
    """Run both until Stopped is raised, or OperatorError when one of them ends or does not start."""
    port, folder = read_port(os.environ.get("PORT", "8080")), Path(tempfile.gettempdir()) / "host"
    config = write_config(port, folder)
    gateway = make_gateway(config, port, os.environ.get("GATEWAY_TRUSTED_PROXIES", ""), folder / "gateway")
    provide_archive(config)
    with ExitStack() as stack:
        torchserve = stack.enter_context(TorchServe(config))
        torchserve.wait_until_ready()
        # Only now: to hosts, an open port means that the container is ready. It is also the first to stop.
        stack.enter_context(gateway)
        print(f"Ready on port {port}.", file=sys.stderr)
        while torchserve.process.poll() is None:
            gateway.check()
            time.sleep(POLL_S)
        raise torchserve.explain_end()


def write_config(port: int, folder: Path) -> Config:
    """Write the configuration of a container, with an archive in the folder and the next three ports of 127.0.0.1.

    Raises OperatorError if it cannot be written.
    """
    values = dict(read_config(ROOT / "docker" / "config.properties").values)
    for number, name in enumerate(ADDRESSES, port + 1):
        values[name] = f"http://127.0.0.1:{number}"
    values["model_store"] = str(folder / "models")
    config = folder / "config.properties"
    try:
        (folder / "models").mkdir(parents=True, exist_ok=True)
        config.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    except OSError as cause:
        raise OperatorError(f"{config} cannot be written: {cause.strerror}.") from cause
    return read_config(config)


def read_port(text: str) -> int:
    """Return the number of a port that has three more after it. Raises OperatorError."""
    if not re.fullmatch(r"\d{1,5}", text) or not 0 < int(text) < 65_533:
        raise OperatorError(f"PORT must be a number from 1 to 65532, not {text!r}.")
    return int(text)


def read_networks(text: str) -> list[str]:
    """Return IP networks that have spaces between them. Raises OperatorError."""
    try:
        return [str(ipaddress.ip_network(network)) for network in text.split()]
    except ValueError as cause:
        raise OperatorError(f"GATEWAY_TRUSTED_PROXIES must be networks such as 10.0.0.0/8: {cause}.") from cause


if __name__ == "__main__":
    sys.exit(main())
