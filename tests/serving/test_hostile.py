"""Hostile requests: a sentence with a status of 400 to 499, or an answer as documented; never a fault of the server."""

from typing import Any

import pytest

from tests.serving.asking import Asker, form

ITEMS = [f"item {item}" for item in range(30)]
RECOMMEND = [
    ({"k": 0}, "k: Input should be greater than or equal to 1."),
    ({"k": -1}, "k: Input should be greater than"),
    ({"k": 1001}, "k: Input should be less than or equal to 1000."),
    ({"k": 10**400}, "k: "),
    ({"k": 2.5}, "k: Input should be a valid integer"),
    ({"k": "10"}, "k: Input should be a valid integer"),
    ({"k": True}, "k: Input should be a valid integer"),
    ({"k": None}, "k: "),
    ({"mode": "magic"}, "mode: Input should be 'hybrid', 'content' or 'collaborative'."),
    ({"mode": ["hybrid"]}, "mode: "),
    ({"user": 17}, "user: Input should be a valid string"),
    ({"user": ""}, "user: String should have at least 1 character"),
    ({"user": "u" * 513}, "user: String should have at most 512 characters"),
    ({"user": {"$ne": None}}, "user: Input should be a valid string"),
    ({"history": "item 1"}, "history: Input should be a valid list"),
    ({"history": [1]}, "history.0: Input should be a valid string"),
    ({"history": [None]}, "history.0: "),
    ({"history": [["item 1"]]}, "history.0: "),
    ({"history": ["item 1"] * 2001}, "history: List should have at most 2000 items"),
    ({"history": ["item 1"], "weights": [1, 2]}, "weights has 2 entries; history has 1"),
    ({"weights": [1.0]}, "weights has 1 entries; history has 0"),
    ({"history": ["item 1"], "weights": [0]}, "weights.0: Input should be greater than 0"),
    ({"history": ["item 1"], "weights": [-1]}, "weights.0: Input should be greater than 0"),
    ({"history": ["item 1"], "weights": [1e7]}, "weights.0: Input should be less than"),
    ({"history": ["item 1"], "weights": [float("nan")]}, "weights.0: Input should be a finite number"),
    ({"history": ["item 1"], "weights": [float("inf")]}, "weights.0: Input should be a finite number"),
    ({"history": ["item 1"], "weights": ["1"]}, "weights.0: Input should be a valid number"),
    ({"history": ["item 1"], "ages_days": [-1]}, "ages_days.0: Input should be greater than or equal to 0"),
    ({"history": ["item 1"], "ages_days": [1e9]}, "ages_days.0: Input should be less than"),
    ({"exclude": ["x"] * 10_001}, "exclude: List should have at most 10000 items"),
    ({"exclude": None}, "exclude: Input should be a valid list"),
    ({"only": [1.5]}, "only.0: Input should be a valid string"),
    ({"exclude_seen": "yes"}, "exclude_seen: Input should be a valid boolean"),
    ({"exclude_seen": 1}, "exclude_seen: Input should be a valid boolean"),
    ({"budget_ms": 0}, "budget_ms: Input should be greater than 0"),
    ({"budget_ms": float("nan")}, "budget_ms: Input should be a finite number"),
    ({"budget_ms": 1e9}, "budget_ms: Input should be less than"),
    ({"usr": "user 1"}, "usr: Extra inputs are not permitted"),
    ({"__class__": "x", "__proto__": {}}, "Extra inputs are not permitted"),
    ([], "body: Input should be a valid dictionary"),
    ("text", "body: Input should be a valid dictionary"),
    (None, "body: "),
]
BODIES = [
    (b"", "body: Field required"),
    (b"{", "body: not JSON, at character 1: "),
    (b'{"k": 1}}', "body: not JSON, at character 8: Extra data"),
    (b'{"k": 1, "k": 0}', "k: Input should be greater than"),
    (b"\xff\xfe{}", ""),
    (b'{"user": "\\ud800"}', "user: Input should be a valid string"),
    (b'{"history": ["\\udfff"]}', "history.0: Input should be a valid string"),
    (b'{"k": 1e400}', "k: "),
    (b"[" * 100_000, ""),
    (b'{"k":' * 5000 + b"1" + b"}" * 5000, ""),
]
OTHERS: list[tuple[str, str, dict[str, Any], int]] = [
    ("POST", "/similar", {"message": {}}, 422),
    ("POST", "/similar", {"message": {"item": "\u202eitem"}}, 404),
    ("POST", "/recommend/batch", {"message": {"requests": []}}, 422),
    ("POST", "/recommend/batch", {"message": {"requests": [{}] * 257}}, 422),
    ("POST", "/recommend/batch", {"message": {"requests": [{"k": 3}, {"k": 0}]}}, 422),
    ("POST", "/admin/swap", {"message": {"bundle_dir": "/etc"}}, 422),
    ("POST", "/admin/swap", {"message": {"bundle_dir": "../../.."}}, 422),
    ("POST", "/admin/swap", {"message": {"bundle_dir": "a\0b"}}, 422),
    ("POST", "/admin/swap", {"message": {"bundle_dir": "x" * 4000}}, 422),
    ("POST", "/upload", {"body": b"", "headers": {"content-type": "multipart/form-data"}}, 422),
    ("POST", "/upload", form(file=b"not a film"), 422),
    ("GET", "/recommend", {}, 405),
    ("DELETE", "/similar", {}, 405),
    ("GET", "/.." + "/etc/passwd", {}, 404),
    ("GET", "/v2/models/%00", {}, 404),
    ("POST", "/v2/models/nobody/infer", {"message": {"inputs": [{"name": "a", "datatype": "FP32", "shape": [0], "data": []}]}}, 404),
    ("GET", "/v2/models/user_tower/versions/2", {}, 404),
]  # fmt: skip


def check_refused(reply: Any, text: str = "") -> None:
    assert 400 <= reply.status < 500, reply.body
    assert set(reply.json) == {"error"} and text in reply.json["error"]
    assert reply.json["error"].endswith(".") or "parsing the body" in reply.json["error"]
    assert len(reply.body) < 20_000


@pytest.mark.parametrize(("message", "text"), RECOMMEND, ids=lambda value: str(value)[:40])
def test_a_field_that_will_not_do(asker: Asker, message: Any, text: str) -> None:
    check_refused(asker.post("/recommend", message), text)


@pytest.mark.parametrize(("body", "text"), BODIES, ids=lambda value: str(value)[:40])
def test_a_body_that_will_not_do(asker: Asker, body: bytes, text: str) -> None:
    check_refused(asker.post("/recommend", body=body), text)


@pytest.mark.parametrize(("method", "path", "options", "status"), OTHERS)
def test_another_path(asker: Asker, method: str, path: str, options: dict[str, Any], status: int) -> None:
    reply = asker.run(asker.send(method, path, **options))
    check_refused(reply)
    assert reply.status == status


@pytest.mark.parametrize(
    "message",
    [
        {"history": ["item 1"] * 2000, "k": 1000},
        {"history": ITEMS, "k": 1000},  # nothing is left
        {"history": ["item 1"] * 50, "weights": [1e6] * 50, "ages_days": [1e5] * 50},
        {"history": ["item 1"], "weights": [1e-300]},
        {"history": ["<script>alert(1)</script>", "item 1\n", "'; DROP TABLE items; --", "\0", "\u202e"]},
        {"user": "user 1", "exclude": ["x"] * 10_000, "only": ITEMS * 300},
        {"user": "user 1", "exclude": ITEMS, "exclude_seen": False},
        {"user": " user 1"},
    ],
    ids=lambda value: str(value)[:40],
)
def test_odd_but_answered(asker: Asker, message: dict[str, Any]) -> None:
    reply = asker.post("/recommend", message)
    assert reply.status == 200 and reply.json["degraded"] is None
    found = [item["item"] for item in reply.json["items"]]
    assert len(found) == len(set(found)) and not set(found) & {*message.get("history", []), *message.get("exclude", [])}
    assert all(abs(item["score"]) < 1e30 for item in reply.json["items"])
