"""Start TorchServe and the page, print their addresses once digits are read correctly, stop both on a signal."""

import argparse
import errno
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

from operate.archive import ArchiveError, build, read_checkout_version, read_version
from operate.client import Client
from operate.config import ADDRESSES, CONFIG, Config, OperatorError, keep_folder, read_config
from operate.examples import list_examples
from operate.output import relay_output
from operate.page import serve_page
from operate.tokens import make_curl_option
from operate.torchserve import TorchServe

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """A signal asked the service to stop."""


def main() -> int:
    """Serve until stopped and return 0, or 3 if no worker stays alive and 1 after any other failure."""
    parser = argparse.ArgumentParser(prog="scripts/serve", description=__doc__)
    parser.add_argument("--config", type=Path, default=CONFIG, help="TorchServe's configuration (%(default)s)")
    parser.add_argument(
        "--ready-file", type=Path, metavar="FILE", help="created once digits are read correctly, removed at the end"
    )
    parser.add_argument(
        "--shutdown-delay",
        type=parse_seconds,
        default=0,
        metavar="SECONDS",
        help="when stopped, report not ready for this long before the port closes, 0 to 600 (%(default)s)",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="keep pictures that are doubted or corrected in this folder (the variable KEEP_FOLDER, or else none)",
    )
    options = parser.parse_args()
    if options.keep:
        os.environ["KEEP_FOLDER"] = str(options.keep.absolute())
    config, ready_file = options.config.absolute(), options.ready_file and options.ready_file.absolute()
    return run_until_stopped(lambda: serve(read_config(config), ready_file, options.shutdown_delay))


def parse_seconds(text: str) -> int:
    """Return a number of seconds, 0 to 600. Raises ArgumentTypeError."""
    if not re.fullmatch(r"\d{1,3}", text) or int(text) > 600:
        raise argparse.ArgumentTypeError(f"must be a number of seconds from 0 to 600, not {text!r}")
    return int(text)


def run_until_stopped(service: Callable[[], NoReturn]) -> int:
    """Run a service until a signal stops it; return 0 then, and the code of an OperatorError if it fails."""
    with relay_output():
        try:
            for name in SIGNALS:
                # nohup ignores the end of the terminal.
                if name != signal.SIGHUP or signal.getsignal(name) != signal.SIG_IGN:
                    signal.signal(name, stop)
            service()
        except Stopped:
            print("Stopped.", file=sys.stderr)
            return 0
        except OperatorError as error:
            print(error, file=sys.stderr)
            return error.exit_code


def stop(_signal: int, _frame: FrameType | None) -> None:
    """Interrupt the main thread, once: a second Ctrl-C must not interrupt the shutdown."""
    for name in SIGNALS:
        signal.signal(name, signal.SIG_IGN)
    raise Stopped


def serve(config: Config, ready_file: Path | None, shutdown_delay_s: int) -> NoReturn:
    """Run the service until Stopped is raised, or OperatorError when it fails."""
    check_addresses(config)
    if ready_file:
        try:
            with os.scandir(ready_file.parent):
                # That of a service that was killed.
                ready_file.unlink(missing_ok=True)
        except OSError as cause:
            raise OperatorError(f"{ready_file} cannot be written: {cause.strerror}.") from cause
    provide_archive(config)
    with ExitStack() as stack:
        if config.page:
            stack.enter_context(serve_page(config))
        torchserve = stack.enter_context(TorchServe(config, shutdown_delay_s))
        print("Starting TorchServe ...", file=sys.stderr)
        torchserve.wait_until_ready()
        client = Client(config)
        if config.page:
            print(f"Page        {config.page}")
        elif config.needs_tokens:
            print("Page        none: tokens are required, which browsers cannot send")
        print(f"Inference   {client.inference}{client.predictions}")
        print(f"Management  {config.management}/models/{config.model}")
        print(f"Metrics     {config.metrics}/metrics")
        if keep := keep_folder():
            print(f"Kept        pictures that are doubted or corrected, in {keep}")
        token = make_curl_option() if config.needs_tokens else ""
        picture, url = os.path.relpath(list_examples()[7]), client.inference + client.predictions
        print(f"Try it:     curl {token}-T {shlex.quote(picture)} {shlex.quote(url)}")
        print("Ctrl-C stops it.", flush=True)
        if ready_file:
            stack.callback(ready_file.unlink, missing_ok=True)
            try:
                ready_file.touch()
            except OSError as cause:
                raise OperatorError(f"{ready_file} cannot be written: {cause.strerror}.") from cause
        raise torchserve.explain_end()


def provide_archive(config: Config) -> None:
    """Build the archive, unless a newer version was deployed. Raises ArchiveError."""
    deployed = config.model_store / f"{config.model}.mar"
    if deployed.exists():
        try:
            version, built = read_version(deployed, config.model), read_checkout_version()
        except ArchiveError as error:
            print(f"{error} Rebuilding it.", file=sys.stderr)
        else:
            if version > built:
                print(f"Serving {version}, which was deployed; the checkout has {built}.", file=sys.stderr)
                return
    build(config.model_store, config.model)


def check_addresses(config: Config) -> None:
    """Raise OperatorError if an address of the configuration is missing, malformed or taken."""
    # Without it no page is served.
    names = (*ADDRESSES, "cors_allowed_origin") if config.page else ADDRESSES
    with ExitStack() as taken:
        for name in names:
            host, port = config.split_address(name)
            try:
                listener = taken.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
                # As the servers do: a port that was just released counts as free.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((host, port))
                listener.listen()
            except OSError as cause:
                if Client(config).is_running():
                    sentence = f"The service is already running: try {config.page or config.inference}."
                else:
                    sentence = f"{config.values[name]} cannot be used ({cause.strerror}): "
                    if cause.errno == errno.EADDRINUSE:
                        sentence += "stop the program that uses it, or "
                    sentence += f"change {name} in {config.path}."
                raise OperatorError(sentence) from cause


if __name__ == "__main__":
    sys.exit(main())
