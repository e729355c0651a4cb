from shared.protocol.close_codes import (
    FORBIDDEN,
    TOKEN_EXPIRED,
    bad_request,
    unauthorized,
    unavailable,
)


def test_refusals_pair_status_and_close_code() -> None:
    for refusal in (bad_request(""), unauthorized(""), FORBIDDEN, TOKEN_EXPIRED):
        assert refusal.close == 4000 + refusal.status
    assert (unavailable("").status, unavailable("").close) == (503, 1013)
