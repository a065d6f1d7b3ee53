"""Each channel against a real server: what arrives, and what becomes of servers that refuse, hang, lead elsewhere or lie.

The HTTPS receiver and the mail server are the rig's own. What Slack and Microsoft themselves do with a message was not tried
here: the forms are those of their documentation, made by slack-sdk and apprise.
"""

from __future__ import annotations

import email
import email.policy
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from doorward.adapters.notify import https, mail
from doorward.adapters.notify.mail import MailSender
from doorward.adapters.notify.settings import IMPLICIT, STARTTLS, ChannelSettings
from doorward.adapters.notify.slack import SlackSender
from doorward.adapters.notify.teams import TeamsSender
from doorward.adapters.notify.webhook import WebhookSender
from doorward.errors import ConfigError
from doorward.guard.notices import Notice
from doorward.guard.notifications import UndeliveredError
from doorward.model import SecretRef
from tests.rig.certificates import Authority, Pair
from tests.rig.receiver import Mailbox, Receiver, mailbox

KEYS = {
    "new": b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "old": b"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "short": b"whsec_c2hvcnQ=", "raw": b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "word": b"hunter2",
}  # fmt: skip
NOTICE = Notice(
    "0198c2f4-8a7e-7000-8000-000000000001.ops", "approval.requested", 1_790_000_000_000,
    r"UPDATE on shop waits \x3c!channel\x3e", (("Asked by", r"\u0430lice (idp)"), ("Target", "shop")), "https://door.test/approvals/1",
    {"approval": "1", "requested_by": "https://idp|аlice\u202e"},
)  # fmt: skip


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("receiver")


@pytest.fixture
def receiver(pair: Pair) -> Iterator[Receiver]:
    with Receiver(pair) as receiver:
        yield receiver


def secrets(**more: bytes) -> Callable[[SecretRef | None], Awaitable[bytes]]:
    async def reveal(reference: SecretRef | None) -> bytes:
        assert reference is not None
        return {**KEYS, **more}[reference.name]

    return reveal


def now() -> int:
    return int(time.time() * 1000)


def webhook(url: str, ca: Path | str, *keys: str) -> WebhookSender:
    said = ChannelSettings("ops", "webhook", tuple(SecretRef("env", key) for key in keys or ("new",)), url=url, ca=str(ca))
    return WebhookSender(said, secrets(), now)


async def test_a_webhook_is_signed_by_every_key(receiver: Receiver, authority: Authority) -> None:
    """The library of Standard Webhooks, which is not ours, verifies it with the new key and with the old one, and not with a
    third, nor a byte, the id or the time changed."""
    answer = await webhook(receiver.url("/ok"), authority.ca, "new", "old").send(NOTICE)
    assert answer == "200 ok"
    [got] = receiver.got
    for key in ("new", "old"):
        data = standardwebhooks.Webhook(KEYS[key].decode()).verify(got.body, got.headers)
        assert data["type"] == "approval.requested"
        assert data["data"]["requested_by"] == "https://idp|аlice\u202e"
    assert got.body.isascii()
    assert got.headers["webhook-id"] == NOTICE.id
    third = standardwebhooks.Webhook("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        third.verify(got.body, got.headers)
    for name, value in (("webhook-id", "x"), ("webhook-timestamp", "1790000000")):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(KEYS["new"].decode()).verify(got.body, {**got.headers, name: value})
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(KEYS["new"].decode()).verify(got.body.replace(b"idp", b"ipd"), got.headers)


@pytest.mark.parametrize("key", ["short", "raw", "word"])
async def test_what_is_no_key_signs_nothing(receiver: Receiver, authority: Authority, key: str) -> None:
    """Too short, without its prefix, or a password: refused without being shown."""
    with pytest.raises(ConfigError, match="no webhook key") as caught:
        await webhook(receiver.url("/ok"), authority.ca, key).send(NOTICE)
    assert KEYS[key].decode() not in f"{caught.value.message}{caught.value.hint}"
    assert receiver.got == []


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/status/500", r"localhost answered 500 no <b>thanks</b>\r\x1b[2K"), ("/status/404", "404"), ("/status/410", "410"),
        ("/later/7", "429"), ("/later/Fri, 31 Dec 2999 23:59:59 GMT", "429"), ("/later/999999999", "429"),
    ],
)  # fmt: skip
async def test_what_is_refused_is_said(receiver: Receiver, authority: Authority, path: str, says: str) -> None:
    """With the receiver's words, none of which does anything; waiting as long as it asks, within bounds."""
    with pytest.raises(UndeliveredError) as caught:
        await webhook(receiver.url(path.replace(" ", "%20")), authority.ca).send(NOTICE)
    assert says in str(caught.value)
    assert caught.value.after == {"/later/7": 7.0, "/later/999999999": 300.0}.get(path, 0.0)


async def test_a_redirect_is_not_followed(receiver: Receiver, authority: Authority, pair: Pair) -> None:
    """Wherever it leads, nobody is asked there."""
    with Receiver(pair) as elsewhere:
        with pytest.raises(UndeliveredError, match="redirects are not followed"):
            await webhook(receiver.url(f"/redirect/{elsewhere.port}"), authority.ca).send(NOTICE)
        assert elsewhere.got == []
    assert len(receiver.got) == 1


@pytest.mark.parametrize("path", ["/hang", "/drip", "/flood"])
async def test_a_receiver_cannot_keep_us(
    receiver: Receiver, authority: Authority, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence, a byte at a time and an answer without end cost at most the time and the bytes allowed."""
    monkeypatch.setattr(https, "TIMEOUT", 0.5)
    began = time.monotonic()
    if path == "/flood":
        assert await webhook(receiver.url(path), authority.ca).send(NOTICE) == "200 " + "x" * https.SHOWN
    else:
        with pytest.raises(UndeliveredError, match="did not answer within"):
            await webhook(receiver.url(path), authority.ca).send(NOTICE)
    assert time.monotonic() - began < 3


async def test_a_certificate_must_hold(receiver: Receiver, authority: Authority, tmp_path: Path) -> None:
    """Of another authority, of another name, or over: nothing is sent."""
    with pytest.raises(UndeliveredError, match="certificate verify failed"):
        await webhook(receiver.url("/ok"), "").send(NOTICE)
    for stem, names, days in (("other", ["elsewhere.test"], 1), ("over", ["localhost"], -1)):
        with Receiver(authority.issue(f"{stem}-{tmp_path.name}", names, days=days)) as wrong:
            with pytest.raises(UndeliveredError, match="certificate verify failed"):
                await webhook(wrong.url("/ok"), authority.ca).send(NOTICE)
            assert wrong.got == []
    assert receiver.got == []


async def test_nobody_there(authority: Authority) -> None:
    """A port where nobody listens is said in words, and the path, which may be a secret, is not."""
    with pytest.raises(UndeliveredError) as caught:
        await webhook("https://localhost:1/services/T000/B000/hush", authority.ca).send(NOTICE)
    assert "cannot be reached" in str(caught.value)
    assert "hush" not in str(caught.value)


SECRETS = ["http://localhost/x", "https://user:pw@localhost/x", "ftp://x/y", "https://", "hunter2", "https://x/ y", "https://[x"]


@pytest.mark.parametrize("kind", [SlackSender, TeamsSender])
@pytest.mark.parametrize("secret", SECRETS)
async def test_an_address_that_is_none_is_not_shown(kind: type[SlackSender | TeamsSender], secret: str) -> None:
    """Only https; and what was stored in place of an address is not repeated, since it may be a secret."""
    said = ChannelSettings("ops", "slack", (SecretRef("env", "url"),))
    with pytest.raises(ConfigError) as caught:
        await kind(said, secrets(url=secret.encode())).send(NOTICE)
    assert secret not in caught.value.message


async def posted(kind: type[SlackSender | TeamsSender], receiver: Receiver, authority: Authority) -> Any:
    said = ChannelSettings("ops", "any", (SecretRef("env", "url"),), ca=str(authority.ca))
    url = receiver.url("/ok?sig=hush\n")
    assert await kind(said, secrets(url=url.encode())).send(NOTICE) == "200 ok"
    [got] = receiver.got
    assert got.path == "/ok?sig=hush"
    assert got.headers["content-type"].startswith("application/json")
    return json.loads(got.body)


async def test_slack(receiver: Receiver, authority: Authority) -> None:
    """Blocks of plain text, a button that is a link and nothing else, and a fallback text in which nothing is markup."""
    message = await posted(SlackSender, receiver, authority)
    kinds = [block["type"] for block in message["blocks"]]
    assert kinds == ["header", "section", "actions", "context"]
    [button] = message["blocks"][2]["elements"]
    assert (button["type"], button["url"]) == ("button", NOTICE.link)
    assert set(button) <= {"type", "url", "text", "action_id"}  # no value: there is nothing to answer
    texts = [found for found in walk(message) if isinstance(found, dict) and "text" in found and "type" in found]
    assert {found["type"] for found in texts if isinstance(found["text"], str)} == {"plain_text"}
    assert all(found.get("emoji") is False for found in texts if found["type"] == "plain_text")
    assert message["mrkdwn"] is False
    assert not set("<>") & set(message["text"])


async def test_teams(receiver: Receiver, authority: Authority) -> None:
    """An Adaptive Card with the facts, a button that opens the page and no other action, and nobody mentioned."""
    message = await posted(TeamsSender, receiver, authority)
    [attachment] = message["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert card["body"][0]["text"] == NOTICE.title
    assert card["body"][1] == {"type": "FactSet", "facts": [{"title": n, "value": v} for n, v in NOTICE.facts]}
    assert card["actions"] == [{"type": "Action.OpenUrl", "title": "Look and decide", "url": NOTICE.link}]
    assert "entities" not in card["msteams"]


def walk(found: Any) -> Iterator[Any]:
    yield found
    for inner in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from walk(inner)


def mailer(box: Mailbox, ca: Path | str, *, tls: str = STARTTLS, user: str = "", host: str = "localhost") -> MailSender:
    keys = (SecretRef("env", "password"),) if user else ()
    said = ChannelSettings(
        "mail", "email", keys, host=host, port=box.port, tls=tls, user=user, sender="door@example.com",
        to=("dba@example.com", "oncall@example.com"), ca=str(ca),
    )  # fmt: skip
    return MailSender(said, secrets(password=b"s3cret\n"), now)


@pytest.mark.parametrize("tls", [STARTTLS, IMPLICIT])
async def test_a_mail(pair: Pair, authority: Authority, tls: str) -> None:
    """Over TLS, after a login if there is one, to the addresses of the configuration: the words of the notice, and an id
    that is the same at every attempt."""
    user, password = ("door", "s3cret") if tls == STARTTLS else ("", "")
    with mailbox(pair, implicit=tls == IMPLICIT, password=password) as box:
        assert await mailer(box, authority.ca, tls=tls, user=user).send(NOTICE) == "taken for 2 addresses"
    [envelope] = box.took
    assert box.logins == ([(user, password)] if user else [])
    assert envelope.rcpt_tos == ["dba@example.com", "oncall@example.com"]
    assert isinstance(envelope.content, bytes)
    found = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert found["Message-ID"] == f"<{NOTICE.id}@doorward>"
    assert found["Subject"] == NOTICE.title
    assert found["Auto-Submitted"] == "auto-generated"
    assert found.get_content_type() == "text/plain"
    text = found.get_content()
    for expected in (*(f"{name}: {value}" for name, value in NOTICE.facts), NOTICE.link):
        assert expected in text


async def test_a_mail_that_is_not_taken(pair: Pair, authority: Authority) -> None:
    """A wrong password, addresses that nobody has, a server without TLS, another's certificate: said, and no mail."""
    with mailbox(pair, password="other") as box:
        with pytest.raises(UndeliveredError, match="535"):
            await mailer(box, authority.ca, user="door").send(NOTICE)
        with pytest.raises(UndeliveredError, match="certificate verify failed"):
            await mailer(box, "").send(NOTICE)
        with pytest.raises(UndeliveredError, match=r"127\.0\.0\.2"):
            await mailer(box, authority.ca, host="127.0.0.2").send(NOTICE)
        assert box.took == []
    with mailbox(pair) as box:
        box.refuse |= {"dba@example.com", "oncall@example.com"}
        with pytest.raises(UndeliveredError, match=r"takes no mail for to\[0\]: 550"):
            await mailer(box, authority.ca).send(NOTICE)
        box.refuse.discard("oncall@example.com")
        assert await mailer(box, authority.ca).send(NOTICE) == "taken, but not for to[0]"


SPOKEN: list[tuple[str, bytes, str]] = [
    ("no TLS", b"220 hi\r\n250-here\r\n250 SIZE\r\n", "STARTTLS"), ("flood", b"220 hi\r\n" + b"250-x\r\n" * 20_000, "64 KiB"),
    ("silence", b"", "did not finish"), ("garbage", b"\x00\xff" * 10_000 + b"\r\n", ""), ("gone", b"421 closing\r\n", "421"),
    ("a line without end", b"220 " + b"x" * 20_000, ""),
]


@pytest.mark.parametrize(("kind", "spoken", "says"), SPOKEN, ids=[kind for kind, _, _ in SPOKEN])
async def test_a_server_that_is_no_mail_server(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, kind: str, spoken: bytes, says: str
) -> None:
    """It learns nothing but our name, and keeps us for no longer than allowed."""
    monkeypatch.setattr(mail, "TIMEOUT", 0.5)
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                try:
                    client.sendall(spoken)
                    while data := client.recv(4096):
                        heard.extend(data)
                except OSError:
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(UndeliveredError, match=says or None):
            await mailer(Mailbox(server.getsockname()[1]), authority.ca, user="door").send(NOTICE)
        thread.join(3)
        assert not thread.is_alive()
    assert b"s3cret" not in heard
    assert b"czNjcmV0" not in heard
    assert set(bytes(heard).upper().split(b"\r\n")) <= {
        each for each in bytes(heard).upper().split(b"\r\n") if each[:4] in (b"EHLO", b"HELO", b"QUIT", b"")
    }
