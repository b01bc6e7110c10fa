"""What all tests share: one thread, since the models are tiny and the tests run side by side; and no network."""

import os
import socket

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"  # for what the tests start, too
THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """A test that connects to another machine, or asks for its address, fails."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def checked_connect(self, address):
        if self.family != socket.AF_UNIX and address[0] not in THIS_MACHINE:
            raise AssertionError(f"a test connects to {address}")
        return connect(self, address)

    def checked_look_up(host, *args, **options):
        if host not in (*THIS_MACHINE, None, "", b""):
            raise AssertionError(f"a test looks up {host}")
        return look_up(host, *args, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket.socket, "connect", checked_connect)
        patched.setattr(socket, "getaddrinfo", checked_look_up)
        yield
