"""Run by every Python that the tests start (tests/conftest.py puts this folder on their path): reaching another machine fails.
And garbage is looked for seldom, as in the command (weightgraft/cli.py): some hundred starts of torch are most of the tests' time.
"""

import gc
import socket

gc.set_threshold(100_000)

THIS_MACHINE = ("127.0.0.1", "::1", "localhost", socket.gethostname())
_connect, _look_up = socket.socket.connect, socket.getaddrinfo


def _checked_connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in THIS_MACHINE:
        raise AssertionError(f"a test connects to {address}")
    return _connect(self, address)


def _checked_look_up(host, *args, **options):
    if host not in (*THIS_MACHINE, None, "", b""):
        raise AssertionError(f"a test looks up {host}")
    return _look_up(host, *args, **options)


socket.socket.connect, socket.getaddrinfo = _checked_connect, _checked_look_up
