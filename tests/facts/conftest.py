"""What the tests of the films share: made-up tables of IMDb, and a server of them on this machine."""

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from made_up_imdb import Imdb


@pytest.fixture
def imdb():
    tables = Imdb()
    tables.add("tt1", "Alpha", 900, ["Ann One", ("Bea Two", "actress"), "Cid Three"])
    tables.add("tt2", "Beta's Île", 800, ["Zoë O'Neil", "Jr. Sammy Fox"], director="Édith Rôle", genres=r"\N")
    tables.add("tt3", "Gamma", 700, ["Gil Six", "Hal Seven"], characters=r"\N")
    return tables


@pytest.fixture
def server(tmp_path):
    """A server of this machine over the folder `served`; yields its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()
