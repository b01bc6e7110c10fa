"""The tests' own guard: nothing that they run reaches another machine."""

import socket
import urllib.request

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import OfflineModeIsEnabled


def test_a_connection_to_another_machine_fails_the_test_that_tries_it():
    with pytest.raises(AssertionError, match=r"a test looks up example\.invalid"):
        urllib.request.urlopen("http://example.invalid", timeout=1)
    with socket.socket() as other, pytest.raises(AssertionError, match="a test connects to"):
        other.connect(("192.0.2.1", 80))


def test_the_hub_is_offline_for_the_tests_and_what_they_start():
    with pytest.raises(OfflineModeIsEnabled):
        HfApi().model_info("owner/name")
