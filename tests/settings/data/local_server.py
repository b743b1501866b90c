"""Stand-ins for the network: a server on this machine, and none at all."""

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class QuietServer(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing if a client ends the connection early, which torchvision may do."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Yield the address under which the files of `folder` can be downloaded."""
    server = QuietServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def cut_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every connection fail at once, as on a machine without a network."""

    def fail(*args: object, **kwargs: object) -> NoReturn:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


def tree(folder: Path) -> list[tuple[str, int | None]]:
    """Paths and sizes of everything in `folder`."""
    return sorted((str(path), path.stat().st_size if path.is_file() else None) for path in folder.rglob("*"))
