"""FastCGI's records, and the answers to clients in the listen queue in both protocols."""

import socket
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lowtide import fastcgi, waiting

texts = some.text(some.characters(max_codepoint=255), max_size=300)


@given(variables=some.dictionaries(texts, texts, max_size=20))
def test_variables_come_back(variables: dict[str, str]) -> None:
    sent, params = fastcgi.request(variables), b""
    while sent:
        version, kind, _, size, padding = fastcgi.HEAD.unpack_from(sent)
        assert (version, padding) == (fastcgi.VERSION, 0)
        if kind == fastcgi.PARAMS:
            params += sent[fastcgi.HEAD.size :][:size]
        sent = sent[fastcgi.HEAD.size + size :]
    assert fastcgi.variables(params) == variables
    if params:
        with pytest.raises(ValueError, match="break off"):
            fastcgi.variables(params[:-1])


@pytest.mark.parametrize("size", [0, 10, 65535, 200_000])
def test_an_answer_comes_back(size: int) -> None:
    assert b"".join(fastcgi.answer(fastcgi.response(b"x" * size))) == b"x" * size


BODY = b"x" * 300_000


def uwsgi_request(variables: dict[str, str]) -> bytes:
    words = b"".join(struct.pack("<H", len(word)) + word.encode() for pair in variables.items() for word in pair)
    return struct.pack("<BHB", 0, len(words), 0) + words + BODY


def fastcgi_request(variables: dict[str, str]) -> bytes:
    body = b"".join(fastcgi.record(fastcgi.STDIN, BODY[at : at + 50_000]) for at in range(0, len(BODY), 50_000))
    end = fastcgi.record(fastcgi.STDIN)
    return fastcgi.request(variables).removesuffix(end) + body + end


@pytest.mark.parametrize("protocol", ["uwsgi", "fastcgi"])
def test_a_client_in_the_queue_is_refused_in_its_protocol(tmp_path: Path, protocol: str) -> None:
    variables = {"HTTP_ACCEPT": "application/json", "CONTENT_LENGTH": str(len(BODY))}
    request = fastcgi_request(variables) if protocol == "fastcgi" else uwsgi_request(variables)
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        client.connect(str(tmp_path / "s"))
        client.settimeout(20)
        sender = threading.Thread(target=client.sendall, args=(request,))
        sender.start()
        assert waiting.refuse([listening.fileno()], stops=True) == 1
        sender.join(20)
        answer = client.makefile("rb").read()
    if protocol == "fastcgi":
        assert answer.endswith(fastcgi.record(fastcgi.END, bytes(8)))
        answer = b"".join(fastcgi.answer(answer)).replace(b"Status:", b"HTTP/1.1")
    head, _, page = answer.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 503 Service Unavailable")
    assert "Retry-After: 5" in head
    assert '"error": "busy"' in page
