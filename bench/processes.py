"""The processes of the service on this machine, with their processor time and memory."""

import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

import psutil


def find_service(address: str) -> list[psutil.Process]:
    """Return the server that listens at this http://host:port and its workers, or [] if they cannot be seen.

    They cannot on another machine, in a container, behind a gateway, or as another user's.
    """
    url = urlsplit(address)
    here = {each.address for interface in psutil.net_if_addrs().values() for each in interface}
    if socket.getaddrinfo(url.hostname, None)[0][4][0] in here:
        for each in psutil.net_connections("tcp"):
            if each.pid and each.status == psutil.CONN_LISTEN and each.laddr[1:] == (url.port,):
                server = psutil.Process(each.pid)
                if "digits.server.DigitServer" in server.cmdline():
                    return [server, *server.children(recursive=True)]
    return []


def sum_cpu_seconds(service: Sequence[psutil.Process]) -> float:
    """Return the processor time that the processes have taken so far."""
    return sum(sum(process.cpu_times()[:2]) for process in service)


def sum_memory_mb(service: Sequence[psutil.Process]) -> float:
    """Return the memory of the processes, with shared pages counted once (PSS), in MB of 2**20 bytes."""
    return float(sum(process.memory_full_info().pss for process in service) / 2**20)
