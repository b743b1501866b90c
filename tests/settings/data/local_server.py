"""Stand-ins for the network: a server on this machine, and none at all."""

import http.server
import socket
import threading
from contextlib import contextmanager
from functools import partial


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def serving(folder):
    """Yield the address under which the files of `folder` can be downloaded."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def cut_network(monkeypatch):
    """Make every connection fail at once, as on a machine without a network."""

    def fail(*args, **kwargs):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


def tree(folder):
    """Paths and sizes of everything in `folder`."""
    return sorted((str(path), path.stat().st_size if path.is_file() else None) for path in folder.rglob("*"))
