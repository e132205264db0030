"""Who is let in, and how much he may bring."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avrec.core.errors import ConfigError
from avrec.serving import guard
from avrec.serving.served import Served
from avrec.serving.settings import ServerSettings, is_loopback
from tests.serving.asking import Asker

KEY = "a key of more than sixteen characters"
FOREIGN = "evil.example"


@pytest.fixture
def locked(served: Served) -> Iterator[Asker]:
    settings = ServerSettings(served.bundle.folder, host="0.0.0.0", api_key=KEY)
    with Asker(settings, served) as asker:
        yield asker


@pytest.mark.parametrize(
    "path", ["/recommend", "/recommend/batch", "/similar", "/upload", "/admin/swap", "/v2/models/user_tower/infer"]
)
def test_with_a_key_nothing_is_done_without_it(locked: Asker, path: str) -> None:
    for headers in ({}, {"x-api-key": KEY[:-1]}, {"authorization": f"Basic {KEY}"}, {"x-api-key": "\xe9"}):
        reply = locked.post(path, {}, headers=headers)
        assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer"
        assert reply.json["error"] == "a key is needed: send it as `X-API-Key: KEY` or `Authorization: Bearer KEY`."
    for headers in ({"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}):
        assert locked.post(path, {}, headers=headers).status in (200, 422)


def test_with_a_key_health_is_open_and_nothing_else(locked: Asker) -> None:
    for path in ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/openapi.json"):
        assert locked.get(path).status == 200
    for path in ("/metrics", "/v2", "/v2/models/user_tower", "/health/live/", "//health/live", "/health/../metrics"):
        assert locked.get(path).status == 401


def test_a_foreign_page_reaches_nothing(asker: Asker) -> None:
    """By a name of its own that leads to this machine, or by a request that its visitor's browser sends."""
    rebound = asker.post("/recommend", {}, headers={"host": f"{FOREIGN}:8000"})
    assert rebound.status == 421 and "does not answer to that name" in rebound.json["error"]
    for origin in (f"http://{FOREIGN}", "null", "http://localhost:9"):
        reply = asker.post("/recommend", {}, headers={"origin": origin})
        assert reply.status == 403 and "pages of other sites" in reply.json["error"]
    assert asker.post("/recommend", {}, headers={"content-type": "text/plain"}).status == 422
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"):
        assert asker.post("/recommend", {}, headers={"host": host, "origin": f"http://{host}"}).status == 200


def test_a_server_for_others_answers_to_any_name_unless_told(served: Served, locked: Asker) -> None:
    assert locked.get("/health/live", headers={"host": "shop.example"}).status == 200
    settings = ServerSettings(served.bundle.folder, host="0.0.0.0", api_key=KEY, hosts=("shop.example",))
    with Asker(settings, served) as asker:
        assert asker.get("/health/live", headers={"host": "shop.example:80"}).status == 200
        assert asker.get("/health/live", headers={"host": FOREIGN}).status == 421


def test_a_body_is_measured_whether_it_says_its_length_or_not(served: Served) -> None:
    settings = ServerSettings(served.bundle.folder, max_body_bytes=1000, max_tensor_bytes=2000, max_upload_bytes=3000)
    with Asker(settings, served) as asker:
        for path, limit in (("/recommend", 1000), ("/v2/models/user_tower/infer", 2000), ("/upload", 3000)):
            said = asker.post(path, body=b" " * (limit + 1))
            assert said.status == 413 and said.json["error"] == f"the body has {limit + 1} bytes; {path} takes {limit}."
            assert asker.post(path, body=b" " * limit).status == 422
        for chunks in ([b" " * 600, b" " * 600], [b" " * 999, b"{}"]):
            reply = asker.post("/recommend", chunks=chunks)
            assert reply.status == 413 and "more than 1000 bytes" in reply.json["error"]
        assert asker.post("/recommend", chunks=[b"{", b"}"]).status == 200


def test_a_body_that_does_not_come_is_not_waited_for(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SEC", 0.05)
    sent: list[Any] = []

    async def half() -> None:
        waiting = [{"type": "http.request", "body": b"{", "more_body": True}]

        async def receive() -> Any:
            return waiting.pop() if waiting else await asyncio.Event().wait()

        async def send(event: Any) -> None:
            sent.append(event)

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/recommend", "query_string": b"", "headers": headers}
        await asker.app(scope | {"http_version": "1.1", "scheme": "http", "root_path": ""}, receive, send)

    asker.run(half())
    assert sent[0]["status"] == 408 and "longer than" in json.loads(sent[1]["body"])["error"]


def test_labels_of_metrics_are_never_what_a_stranger_sends(asker: Asker) -> None:
    asker.get("/a-path-of-a-stranger")
    asker.post("/v2/models/a-model-of-a-stranger/infer", {"inputs": []})
    asker.post("/recommend", {}, headers={"host": FOREIGN})
    text = asker.get("/metrics").body.decode()
    assert "stranger" not in text and "evil" not in text
    assert 'avrec_requests_total{route="none",status="404"} 1.0' in text
    assert 'avrec_requests_total{route="none",status="421"} 1.0' in text
    assert f'version="{asker.desk.served.version}"' in text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"host": "0.0.0.0"}, "Set the variable AVREC_API_KEY"),
        ({"host": "::"}, "host is '::', which others can reach"),
        ({"host": "shop.example"}, "or listen on 127.0.0.1"),
        ({"api_key": "short"}, "the API key has 5 characters"),
        ({"api_key": "sixteen characters \xe9"}, "printable ASCII"),
        ({"port": 65_536}, "port is 65536"),
        ({"budget_ms": 0.0}, "budget_ms is 0.0"),
        ({"budget_ms": float("nan")}, "budget_ms is nan"),
        (
            {"max_uploads": 0, "max_body_bytes": -1},
            "max_body_bytes is -1; expected a positive number.\nmax_uploads is 0",
        ),
    ],
)
def test_settings_that_will_not_do(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ServerSettings(Path("bundle"), **given)
    assert text in str(raised.value)
    assert str(given.get("api_key")) not in str(raised.value)


def test_a_key_is_not_printed() -> None:
    assert KEY not in repr(ServerSettings(Path("bundle"), api_key=KEY))


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.9.1", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.0.1", "example", "127.0.0.1.example", ""]))
