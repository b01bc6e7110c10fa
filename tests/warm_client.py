"""Asks the process of warm.py to run a module, with this one's directory, environment and output; ends as that ends."""

import json
import os
import socket
import sys

_, address, _, *arguments = sys.argv  # SOCKET -m MODULE ARGUMENTS
told = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
with socket.socket(socket.AF_UNIX) as server:
    server.connect(address)
    try:  # the process may be gone before everything is sent
        socket.send_fds(server, [b"."], [0, 1, 2])
        server.sendall(json.dumps(told).encode() + b"\n")
        status = server.recv(1)
    except ConnectionError:
        status = b""
sys.exit(status[0] if status else "warm_client.py: what was started is gone without an exit status")
