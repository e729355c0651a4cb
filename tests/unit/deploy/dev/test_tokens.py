import jwt
import pytest

from deploy.dev.tokens import TokenIssuer, issuer_for

OWN = "a secret of the stack, long enough for HS256"
APP = "a secret of the app, long enough for HS512: 64 bytes are needed there"


@pytest.mark.parametrize(
    ("settings", "issuer"),
    [
        pytest.param({}, TokenIssuer(OWN), id="no key"),
        pytest.param({"JWT_SECRET": ""}, TokenIssuer(OWN), id="an empty setting"),
        pytest.param(
            {
                "JWT_SECRET": APP,
                "JWT_ALGORITHMS": "HS512,HS256",
                "JWT_USER_CLAIM": "uid",
                "JWT_ISSUER": "app",
                "JWT_AUDIENCE": "live",
            },
            TokenIssuer(APP, "HS512", "uid", {"iss": "app", "aud": "live"}),
            id="the app's secret",
        ),
        pytest.param({"JWT_JWKS_URL": "https://app.example/jwks"}, None, id="a public key"),
    ],
)
def test_tokens_fit_the_gateway_s_settings(
    settings: dict[str, str], issuer: TokenIssuer | None
) -> None:
    assert issuer_for(settings, OWN) == issuer


def test_a_described_issuer_issues_the_same_tokens() -> None:
    issuer = TokenIssuer(APP, "HS512", "uid", {"iss": "app", "aud": "live"})
    token = TokenIssuer(**issuer.describe()).issue("7")
    claims = jwt.decode(token, APP, algorithms=["HS512"], audience="live", issuer="app")
    assert claims["uid"] == "7"
