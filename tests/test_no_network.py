"""The tests' own guard: nothing that they run reaches another machine."""

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import OfflineModeIsEnabled

from stages.commands.quick import environment_of


def test_a_connection_to_another_machine_fails_the_test_that_tries_it():
    with pytest.raises(AssertionError, match=r"a test looks up example\.invalid"):
        urllib.request.urlopen("http://example.invalid", timeout=1)
    with socket.socket() as other, pytest.raises(AssertionError, match="a test connects to"):
        other.connect(("192.0.2.1", 80))


def test_the_hub_is_offline_for_the_tests_and_what_they_start():
    with pytest.raises(OfflineModeIsEnabled):
        HfApi().model_info("owner/name")


def test_what_the_tests_start_is_guarded_too_also_in_a_copy_of_the_repository(tmp_path):
    look_up = [sys.executable, "-c", "import socket; socket.getaddrinfo('example.invalid', 80)"]
    for environment in (None, environment_of(Path(tmp_path))):
        told = subprocess.run(look_up, env=environment, capture_output=True, text=True).stderr
        assert "a test looks up example.invalid" in told
