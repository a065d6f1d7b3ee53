"""The device flow and client credentials, against the development issuer and against hostile answers."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from doorward.adapters.identity.development import DevelopmentIssuer
from doorward.adapters.identity.device import Prompt, TokenClient
from doorward.adapters.identity.documents import Documents
from doorward.adapters.identity.oidc import OidcAuthenticator
from doorward.errors import AuthenticationError, UpstreamError
from tests.rig.issuer import development_issuer

__all__ = ["development_issuer"]


def answer(issuer: DevelopmentIssuer, prompt: Prompt, **form: str) -> str:
    """What a browser sends when somebody answers the page."""
    page = httpx2.get(prompt.complete, trust_env=False).text
    assert prompt.code in page
    sent = {"user_code": prompt.code, "subject": "alice", "answer": "yes", **form}
    return httpx2.post(prompt.address, data=sent, headers={"origin": issuer.url}, trust_env=False).text


async def test_a_person_logs_in(development_issuer: DevelopmentIssuer) -> None:
    """The prompt is shown once; when the person has answered, the next poll brings a token that is accepted."""
    prompts: list[Prompt] = []
    polls = 0

    async def sleep(seconds: float) -> None:
        nonlocal polls
        assert seconds == 1  # as the issuer says
        polls += 1
        if polls == 3:
            assert "alice is logged in" in answer(development_issuer, prompts[0])

    tokens = await TokenClient(development_issuer.url, "doorward").device(prompts.append, sleep=sleep)
    assert (len(prompts), polls) == (1, 3)
    identity = await OidcAuthenticator([development_issuer.settings()]).authenticate(tokens.access_token)
    assert (identity.subject, identity.groups) == ("alice", frozenset({"dba", "staff"}))
    assert tokens.access_token not in repr(tokens)


async def test_a_person_refuses(development_issuer: DevelopmentIssuer) -> None:
    """A refusal ends the flow with the issuer's word for it."""
    prompts: list[Prompt] = []

    async def sleep(_: float) -> None:
        answer(development_issuer, prompts[0], answer="no")

    with pytest.raises(AuthenticationError, match="access_denied"):
        await TokenClient(development_issuer.url, "doorward").device(prompts.append, sleep=sleep)


@pytest.mark.parametrize("form", [{"user_code": "XXXX-XXXX"}, {"subject": "mallory"}, {"subject": "<script>"}])
async def test_wrong_codes_and_names(development_issuer: DevelopmentIssuer, form: dict[str, str]) -> None:
    """A wrong code, or somebody who is not on the list, logs nobody in; the code's time runs out."""
    prompts: list[Prompt] = []
    clock = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal clock
        clock += 200
        said = answer(development_issuer, prompts[0], **form)
        assert "There is no login with that code" in said
        assert "<script>" not in said

    with pytest.raises(AuthenticationError, match="before the code expired"):
        await TokenClient(development_issuer.url, "doorward").device(
            prompts.append, sleep=sleep, monotonic=lambda: clock
        )


class Scripted(Documents):
    """An issuer that gives the next answer of a script. The transport has its own tests; this is about the grammar."""

    def __init__(self, *answers: Any) -> None:
        super().__init__(development=True)
        self.answers = list(answers)

    async def get(self, url: str) -> dict[str, Any]:
        base = "http://127.0.0.1:1"
        return {"issuer": base, "token_endpoint": base, "device_authorization_endpoint": base}

    async def post(
        self, url: str, form: Any, *, basic: tuple[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        following = self.answers.pop(0)
        if isinstance(following, Exception):
            raise following
        return following  # type: ignore[no-any-return]


CODE = (
    200,
    {"device_code": "d", "user_code": "AB-CD", "verification_uri": "https://issuer.example/device", "expires_in": 600},
)
PENDING = (400, {"error": "authorization_pending"})
SLOW = (400, {"error": "slow_down"})
DONE = (200, {"access_token": "a.b.c"})


async def run(*answers: Any) -> tuple[list[float], str]:
    client = TokenClient("http://127.0.0.1:1", "doorward")
    client._documents = Scripted(*answers)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    tokens = await client.device(lambda _: None, sleep=sleep, monotonic=lambda: sum(waits))
    return waits, tokens.access_token


async def test_polls_slow_down_when_told() -> None:
    """Five seconds by default, five more for good at each slow_down, twice as long after a failed poll."""
    script = (CODE, PENDING, SLOW, PENDING, SLOW, PENDING, UpstreamError("gone"), PENDING, DONE)
    waits, token = await run(*script)
    assert waits == [5, 5, 10, 10, 15, 15, 30, 30]
    assert token == "a.b.c"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verification_uri": "javascript:alert(1)"}, "not an address of the web"),
        ({"verification_uri": "https://x/\x1b]0;title\x07"}, "verification_uri"),
        ({"verification_uri_complete": "file:///etc/passwd"}, "not an address of the web"),
        ({"verification_uri": None}, "verification_uri"),
        ({"user_code": "\x1b[2J"}, "user_code"),
        ({"user_code": ""}, "user_code"),
        ({"device_code": 7}, "device_code"),
    ],
)
async def test_hostile_prompts_are_not_shown(changes: dict[str, Any], message: str) -> None:
    """What would go to a person's terminal is checked first."""
    with pytest.raises(UpstreamError, match=message):
        await run((200, CODE[1] | changes), DONE)


@pytest.mark.parametrize(
    ("answers", "error", "message"),
    [
        (((400, {"error": "unauthorized_client"}),), AuthenticationError, "unauthorized_client"),
        (((500, {}),), AuthenticationError, "status 500"),
        ((CODE, (400, {"error": "expired_token"})), AuthenticationError, "before the code expired"),
        ((CODE, (400, {"error": "x\x1b[2J", "error_description": "y" * 999})), AuthenticationError, r"x\?\[2J"),
        ((CODE, (200, {})), UpstreamError, "gave no token"),
        ((CODE, *[PENDING] * 200), AuthenticationError, "before the code expired"),
    ],
)
async def test_noes(answers: Any, error: type[Exception], message: str) -> None:
    """Every way an issuer can say no ends the flow, in bounded time and in words."""
    with pytest.raises(error, match=message):
        await run(*answers)


async def test_client_credentials(development_issuer: DevelopmentIssuer) -> None:
    """A program's secret gets it a token; a wrong one gets the issuer's no, without the secret in it."""
    tokens = await TokenClient(development_issuer.url, "robot", client_secret="robot-secret").client_credentials()
    identity = await OidcAuthenticator([development_issuer.settings()]).authenticate(tokens.access_token)
    assert identity.subject == "robot"
    with pytest.raises(AuthenticationError, match="invalid_client") as caught:
        await TokenClient(development_issuer.url, "robot", client_secret="wrong-secret").client_credentials()
    assert "wrong-secret" not in caught.value.message + caught.value.hint
