"""A mail by SMTP, over TLS.

Contract: TLS from the first byte, or by STARTTLS before anything is said (RFC 8314, RFC 3207); a server that offers none, or
whose certificate or name does not hold, gets nothing. Plain text, to addresses of the configuration only; the Message-ID is the
same at every attempt. At most TIMEOUT seconds from first to last and LIMIT bytes of answers: the connection is cut then.
"""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Any, Final

from doorward.adapters.notify.https import context
from doorward.adapters.notify.settings import IMPLICIT, PORTS, ChannelSettings, Reveal
from doorward.errors import in_words
from doorward.guard.notices import Notice, plain
from doorward.guard.notifications import UndeliveredError
from doorward.model.visible import visible

TIMEOUT: Final = 10.0
LIMIT: Final = 64 * 1024


class MailSender:
    """Satisfies `Sender`. `now` is Unix ms."""

    kind = "email"

    def __init__(self, settings: ChannelSettings, reveal: Reveal, now: Callable[[], int]) -> None:
        self._settings, self._reveal, self._now = settings, reveal, now
        self._thread = ThreadPoolExecutor(1, "doorward-mail")  # its own: a server that hangs keeps nobody else's

    async def send(self, notice: Notice) -> str:
        said = self._settings
        password = (await self._reveal(said.secrets[0])).decode("utf-8", "replace").strip() if said.secrets else ""
        sending = _Sending(said, password, message(notice, said, self._now() / 1000))
        running = asyncio.get_running_loop().run_in_executor(self._thread, sending.run)
        running.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be there to hear of it
        try:
            async with asyncio.timeout(TIMEOUT):
                return await asyncio.shield(running)
        except TimeoutError:
            raise UndeliveredError(f"{said.host} did not finish within {TIMEOUT:.0f} seconds") from None
        except smtplib.SMTPResponseException as error:
            raise UndeliveredError(f"{said.host} said {_reply(error.smtp_code, error.smtp_error)}") from None
        except smtplib.SMTPRecipientsRefused as error:
            each = list(error.recipients.items())[:5]
            refused = "; ".join(f"{_places([who], said)}: {_reply(*reply)}" for who, reply in each)
            raise UndeliveredError(f"{said.host} takes no mail for {refused[:200]}") from None
        except (smtplib.SMTPException, OSError) as error:
            why = in_words(error) if isinstance(error, OSError) else str(error)
            raise UndeliveredError(f"{said.host}: {visible(why)[:200]}") from None
        finally:
            sending.cut()  # the thread ends with its connection


def message(notice: Notice, said: ChannelSettings, at: float) -> EmailMessage:
    """The mail. `at` is Unix seconds."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = said.sender
    mail["To"] = ", ".join(said.to)
    mail["Subject"] = notice.title
    mail["Date"] = formatdate(at)
    mail["Message-ID"] = f"<{notice.id}@doorward>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    mail.set_content(plain(notice))
    return mail


class _Sending:
    """One conversation with a server, in a thread, which may be cut from outside."""

    def __init__(self, said: ChannelSettings, password: str, mail: EmailMessage) -> None:
        self._said, self._password, self._mail = said, password, mail
        self._client: smtplib.SMTP | None = None
        self._over = False

    def run(self) -> str:
        said = self._said
        tls = context(said.ca)
        port = said.port or PORTS[said.tls]
        us = said.sender.rpartition("@")[2]  # else smtplib asks for our name, and may wait for an answer
        client = _Implicit(tls, said.host, us) if said.tls == IMPLICIT else _Client(local_hostname=us, timeout=TIMEOUT)
        self._client = client
        try:
            return self._converse(client, port, tls)
        finally:
            client.close()  # smtplib leaves it open after most errors

    def _converse(self, client: smtplib.SMTP, port: int, tls: ssl.SSLContext) -> str:
        said = self._said
        code, reply = client.connect(said.host, port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, reply)
        if self._over:
            raise TimeoutError
        if said.tls != IMPLICIT:
            client._host = said.host  # type: ignore[attr-defined]  # what starttls compares the certificate with
            client.starttls(context=tls)
        if said.user:
            client.login(said.user, self._password)
        refused = client.send_message(self._mail)
        with suppress(smtplib.SMTPException, OSError):
            client.quit()  # it has the mail
        if refused:
            return f"taken, but not for {_places(list(refused), said)}"
        return f"taken for {len(said.to)} address{'es' if len(said.to) > 1 else ''}"

    def cut(self) -> None:
        self._over = True
        sock = getattr(self._client, "sock", None)
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class _Bounded:
    """A file of answers that ends in an error when there are too many."""

    def __init__(self, file: Any) -> None:
        self._file, self._left = file, LIMIT

    def readline(self, size: int) -> bytes:
        line: bytes = self._file.readline(min(size, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise OSError(f"it said more than {LIMIT // 1024} KiB")
        return line

    def close(self) -> None:
        self._file.close()


class _Client(smtplib.SMTP):
    """smtplib's, which reads answers of any length, bounded."""

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Bounded(self.sock.makefile("rb"))
        return super().getreply()


class _Implicit(_Client):
    """TLS from the first byte."""

    def __init__(self, tls: ssl.SSLContext, host: str, us: str) -> None:
        self._context, self._name = tls, host
        super().__init__(local_hostname=us, timeout=TIMEOUT)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain_socket = socket.create_connection((host, port), timeout)
        return self._context.wrap_socket(plain_socket, server_hostname=self._name)


def _places(refused: Sequence[str], said: ChannelSettings) -> str:
    """Addresses by their places in the configuration: on record, they would be masked."""
    return ", ".join(f"to[{said.to.index(who)}]" if who in said.to else "somebody" for who in refused[:10])


def _reply(code: int, text: object) -> str:
    shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return f"{code} {visible(shown)[:200]}".strip()
