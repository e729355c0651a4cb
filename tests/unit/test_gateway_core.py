import json

import jwt
import pytest

from gateway.core.handshake import Offer
from gateway.core.outbox import join_frames
from gateway.core.session import decide_reply
from gateway.tokens import Identity, TokenVerifier
from shared.core.close_codes import TOKEN_EXPIRED, Refusal
from shared.core.protocol import encode_text_frame

SECRET = "s" * 64


def offer(**given: list[str]) -> Offer:
    fields = {
        "connection": ["keep-alive, Upgrade"],
        "upgrade": ["WebSocket"],
        "version": ["13"],
        "authorization": [],
        "subprotocols": [],
        "project_ids": ["7"],
    }
    return Offer(**{**fields, **given})


def test_a_websocket_request_is_known_by_its_headers() -> None:
    assert offer().is_websocket
    assert not offer(upgrade=["h2c"]).is_websocket
    assert not offer(connection=["close"]).is_websocket
    assert not offer(version=["8"]).is_websocket
    assert not offer(version=[]).is_websocket


def test_a_v1_client_offers_the_subprotocol() -> None:
    assert offer(subprotocols=["chat, neverstale.v1"]).is_v1
    assert offer(subprotocols=["chat", "neverstale.v1"]).is_v1
    assert not offer(subprotocols=["neverstale.v2"]).is_v1
    assert not offer().is_v1


@pytest.mark.parametrize(
    ("given", "token"),
    [
        ({"authorization": ["Bearer a.b.c"]}, "a.b.c"),
        ({"authorization": ["bearer  a.b.c "]}, "a.b.c"),
        ({"subprotocols": ["neverstale.v1, bearer.a.b.c"]}, "a.b.c"),
        (
            {"authorization": ["Bearer h"], "subprotocols": ["neverstale.v1, bearer.s"]},
            "h",
        ),
    ],
)
def test_the_first_place_with_a_token_decides(given: dict[str, list[str]], token: str) -> None:
    assert offer(**given).token() == token


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, 401),
        ({"authorization": ["Basic x"]}, 401),
        ({"authorization": ["Bearer"]}, 401),
        ({"authorization": ["Bearer a", "Bearer b"]}, 401),
        ({"authorization": ["Basic x"], "subprotocols": ["neverstale.v1, bearer.s"]}, 401),
        ({"subprotocols": ["bearer.s"]}, 400),
        ({"subprotocols": ["neverstale.v1, bearer.a, bearer.b"]}, 400),
    ],
)
def test_a_token_that_is_not_there_or_twice_is_refused(
    given: dict[str, list[str]], status: int
) -> None:
    refusal = offer(**given).token()
    assert isinstance(refusal, Refusal)
    assert refusal.status == status


def test_the_project_is_canonical_or_refused() -> None:
    assert offer(project_ids=["007"]).project_id("bigint") == "7"
    assert offer(project_ids=["7", "7"]).project_id("bigint") == "7"
    for wrong in ([], [""], ["x"], ["7", "8"]):
        refusal = offer(project_ids=wrong).project_id("bigint")
        assert isinstance(refusal, Refusal)
        assert refusal.code == "bad_request"


def verifier(issuer: str | None = None, audience: str | None = None) -> TokenVerifier:
    return TokenVerifier(
        SECRET, issuer=issuer, audience=audience, user_claim="uid", user_type="bigint"
    )


def token(**claims: object) -> str:
    return jwt.encode({"exp": 4_000_000_000, "uid": 7, **claims}, SECRET, algorithm="HS512")


def test_a_token_stands_for_its_user() -> None:
    assert verifier().verify(token()) == Identity("7")
    assert verifier().verify(token(uid="007", aud="anybody")) == Identity("7")
    assert verifier("i", "a").verify(token(iss="i", aud="a")) == Identity("7")


@pytest.mark.parametrize(
    "claims",
    [{"uid": True}, {"uid": None}, {"uid": [7]}, {"uid": "x"}, {"iss": "x"}, {"aud": "x"}],
)
def test_a_token_with_a_wrong_claim_is_refused(claims: dict[str, object]) -> None:
    refusal = verifier("i", "a").verify(token(**{"iss": "i", "aud": "a", **claims}))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "unauthorized"


def test_an_expired_token_is_told_apart() -> None:
    assert verifier().verify(token(exp=1)) == TOKEN_EXPIRED


def frame(row: int, at: int) -> bytes:
    return b'{"id":%d,"timestamp":"%d"}' % (row, at)


def test_one_write_has_each_row_once_at_the_newest_place() -> None:
    joined = join_frames([frame(1, 1), frame(2, 2), frame(1, 3)])
    assert joined == encode_text_frame(frame(2, 2)) + encode_text_frame(frame(1, 3))
    assert join_frames([frame(1, 1)]) == encode_text_frame(frame(1, 1))


def test_reconnects_are_never_merged_with_others() -> None:
    reconnects = [b'{"type":"reconnect","cursors":{"c":"%d"}}' % number for number in (1, 2)]
    assert join_frames(reconnects) == b"".join(map(encode_text_frame, reconnects))


def test_a_plain_client_is_never_answered() -> None:
    assert decide_reply('{"type":"ping"}', is_v1=False) is None
    assert decide_reply("garbage", is_v1=False) is None


@pytest.mark.parametrize("text", ["garbage", "{}", '{"type":"dance"}'])
def test_a_v1_client_is_told_what_was_not_understood(text: str) -> None:
    answer = json.loads(decide_reply(text, is_v1=True) or b"")
    assert (answer["type"], answer["code"]) == ("error", "bad_request")


def test_a_ping_is_answered() -> None:
    assert decide_reply('{"type":"ping"}', is_v1=True) == b'{"type":"pong"}'
