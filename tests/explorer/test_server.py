"""The server answers its own page and nobody else, and stays up whatever it is sent."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
import uvicorn
from explorer.conftest import PORT, QUESTION

from weightgraft.explorer import server
from weightgraft.explorer.command import bound
from weightgraft.explorer.server import HEADERS, LARGEST_BODY, PAGE, explorer_app

OWN = f"http://127.0.0.1:{PORT}"


def still_answers(client) -> bool:
    return client.post("/api/answer", json=QUESTION).json()["scheme"] == "PRE"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (421, {"host": "evil.example"}),
        (421, {"host": f"evil.example:{PORT}"}),
        (421, {"host": "127.0.0.1"}),
        (421, {"host": f"127.0.0.1:{PORT + 1}"}),
        (421, {"host": f"127.0.0.1:{PORT}.evil.example"}),
        (421, {"host": ""}),
        (403, {"origin": "http://evil.example"}),
        (403, {"origin": "null"}),
        (403, {"origin": f"https://127.0.0.1:{PORT}"}),
        (403, {"origin": "http://127.0.0.1:1"}),
        (403, {"sec-fetch-site": "cross-site"}),
        (415, {"content-type": "text/plain"}),
        (415, {"content-type": "application/x-www-form-urlencoded"}),
        (200, {"host": f"localhost:{PORT}"}),
        (200, {"origin": OWN, "sec-fetch-site": "same-origin"}),
    ],
)
def test_a_question_from_elsewhere_is_refused(client, status, headers):
    given = {"content-type": "application/json"} | headers
    assert client.post("/api/answer", content=json.dumps(QUESTION), headers=given).status_code == status
    assert still_answers(client)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/api",
        "/api/answer/",
        "/../../etc/passwd",
        "/page.html",
        "/%2e%2e/pyproject.toml",
        "/favicon.ico",
    ],
)
def test_other_paths_are_not_there(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/answer"),
        ("POST", "/"),
        ("DELETE", "/"),
        ("PUT", "/api/answer"),
        ("OPTIONS", "/api/answer"),
        ("GET", "/api/map"),
    ],
)
def test_other_methods_are_not_allowed(client, method, path):
    answer = client.request(method, path, headers={"content-type": "application/json"})
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


def test_a_body_over_the_limit_is_refused_whether_or_not_it_says_its_length(client):
    def unannounced() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * (LARGEST_BODY // 10)

    given = {"content-type": "application/json"}
    assert client.post("/api/answer", content=b" " * (LARGEST_BODY + 1), headers=given).status_code == 413
    assert client.post("/api/answer", content=unannounced(), headers=given).status_code == 413
    assert still_answers(client)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 20_000, b'{"prompt": NaN'])
def test_what_is_no_json_is_refused(client, body):
    answer = client.post("/api/answer", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and "no JSON" in answer.json()["error"]


CLICK = {"tokens": [0], "rows": ["1"], "components": ["o"], "donor": "sft"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": 3}, "prompt: must be a text"),
        ({"prompt": "a" * 2001}, "2,001 letters"),
        ({"prompt": "with " * 300, "spans": []}, "the explorer takes 128"),
        ({"prompt": "\ud800"}, "half a character"),
        ({"file": "/etc/passwd"}, "has no 'file'"),
        ({"chat": 1}, "chat: must be true or false"),
        ({"chat": True}, "no chat template"),
        ({"spans": [["FE", 0, 500]]}, "end at most"),
        ({"spans": [["FE", 0, 2]]}, "ends inside the token"),
        ({"spans": [["PRE", 0, 7]]}, "span 'PRE': a name is"),
        ({"spans": [["FE", 0, True, 1]]}, "an entry is"),
        ({"spans": [["FE", 0, 7]] * 9}, "at most 8"),
        ({"scheme": "FE+"}, "scheme notation 'FE+', character 4"),
        ({"scheme": "FE+NOBODY"}, "no position set 'NOBODY'"),
        ({"scheme": "nobody:FE"}, "no donor 'nobody'"),
        ({"scheme": "FE[7]"}, "layer 7 does not exist"),
        ({"scheme": "O{9}@LT"}, "head 9 does not exist"),
        ({"scheme": "T99"}, "no token 'T99'"),
        ({"scheme": "FE[0-300000000]"}, "expected a layer below 10000"),
        ({"scheme": "O{" + "9" * 1900 + "}@FE"}, "a number of 1900 digits"),
        ({"scheme": "T" + "9" * 1900}, "no token 'T999"),
        ({"scheme": "X12345"}, "no position set 'X12345'"),
        ({"scheme": "(" * 1000 + "FE"}, "at most 100 brackets in one another"),
        ({"prompt": "Ann Lee starred with ", "target": "Bob", "spans": []}, "a space belongs to the target"),
        ({"clicks": [CLICK | {"tokens": [99]}]}, "there is no token 99"),
        ({"clicks": [CLICK | {"tokens": [-1]}]}, "there is no token -1"),
        ({"clicks": [CLICK | {"tokens": [True]}]}, "must be a list of numbers"),
        ({"clicks": [CLICK | {"rows": ["../x"]}]}, "there is no row"),
        ({"clicks": [CLICK | {"components": ["x"]}]}, "there is no component"),
        ({"clicks": [CLICK | {"donor": "recipient"}]}, "there is no donor"),
        ({"clicks": [CLICK] * 101}, "at most 100"),
        ({"clicks": [3]}, "must be a JSON object"),
    ],
)
@pytest.mark.parametrize("path", ["/api/answer"])
def test_a_mistake_is_told_in_one_line(client, path, changes, told):
    answer = client.post(
        path, content=json.dumps(QUESTION | changes), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422, answer.text
    assert told in answer.json()["error"] and "\n" not in answer.json()["error"]
    assert still_answers(client)


def test_a_mistake_is_a_status_also_where_the_answer_would_be_a_stream_or_a_picture(client):
    for path in ("/api/map", "/api/picture", "/api/document"):
        assert client.post(path, json=QUESTION | {"scheme": "FE+"}).status_code == 422


def test_too_many_questions_at_once_are_refused_and_not_piled_up(client, monkeypatch):
    monkeypatch.setattr(server, "MOST_WAITING", 0)
    assert client.post("/api/answer", json=QUESTION).status_code == 429
    monkeypatch.undo()
    assert still_answers(client)


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_code_but_its_own(client):
    for path in PAGE:
        answer = client.get(path)
        assert answer.status_code == 200 and {*HEADERS.items()} <= {*answer.headers.items()}
        assert not re.findall(
            r"""(?:https?:)?//[a-z0-9]+\.[a-z]|<script>|\son[a-z]+="|\sstyle=""", answer.text
        ), path
        assert "innerHTML" not in answer.text and "eval(" not in answer.text
    named = set(
        re.findall(
            r"""(?:src|href)="(/[^"]*)|from '\.(/[^']*)'""", "".join(client.get(path).text for path in PAGE)
        )
    )
    assert {"".join(pair) for pair in named} <= PAGE.keys()


def test_errors_have_the_headers_too(client):
    for answer in (client.get("/nothing"), client.get("/", headers={"host": "evil.example"})):
        assert {*HEADERS.items()} <= {*answer.headers.items()}


@pytest.fixture
def port(models) -> Iterator[int]:
    """A server on a real socket."""
    with bound(0) as listening:
        number = listening.getsockname()[1]
        config = uvicorn.Config(
            explorer_app(models, number), http="h11", ws="none", lifespan="off", log_level="critical"
        )
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        yield number
        running.should_exit = True
        thread.join()


def raw(port: int, text: bytes, hang_up: bool = True) -> bytes:
    """What comes back for some bytes; b"" where the connection is cut."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        parts = []
        # The server may have answered and hung up before everything is sent, or before this end hangs up.
        with suppress(OSError):
            line.sendall(text)
            if hang_up:
                line.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while part := line.recv(65536):
                parts.append(part)
        return b"".join(parts)


def test_hostile_bytes_on_a_real_socket_get_4xx_and_the_server_stays_up(port):
    host = f"Host: 127.0.0.1:{port}\r\n".encode()
    for sent in (
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + host + host + b"\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\n" + host + b"\r\n",
        b"POST /api/answer HTTP/1.1\r\n"
        + host
        + b"Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{",
        b"POST /api/answer HTTP/1.1\r\n"
        + host
        + b"Content-Type: application/json\r\nContent-Length: -1\r\n\r\n{",
        b"GET / HTTP/1.1\r\n" + host + b"Origin: http://evil.example\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\n" + host + b"\r\n",
    ):
        assert re.match(rb"HTTP/1\.1 4\d\d ", raw(port, sent)), sent[:80]
    # Headers without end (their answer may be lost: the line is cut while they still come), half a question, a web socket.
    assert b" 200 " not in raw(port, b"GET / HTTP/1.1\r\n" + host + b"X: " + b"a" * 200_000 + b"\r\n\r\n")
    raw(
        port,
        b"POST /api/answer HTTP/1.1\r\n"
        + host
        + b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
    )
    raw(port, b"GET / HTTP/1.1\r\n" + host + b"Connection: close, Upgrade\r\nUpgrade: websocket\r\n\r\n")
    body = json.dumps(QUESTION).encode()
    head = (
        host
        + b"Content-Type: application/json\r\nConnection: close\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
    )
    assert raw(port, b"POST /api/answer HTTP/1.1\r\n" + head + body, hang_up=False).startswith(
        b"HTTP/1.1 200 "
    )
