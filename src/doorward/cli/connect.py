"""`doorward connect` and `doorward run`: any client, without a password and without knowing of Doorward.

The identity is that of whoever runs the command. What runs gets ports, and no token.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote, urlsplit

from cyclopts import Parameter

from doorward.cli import output
from doorward.cli.bound import Bound, bind, new_key, terms
from doorward.cli.carry import Carrier, Pass, Place
from doorward.cli.gateway import HERE, Connection, GatewayClient, bound, given, http, loopback, token_of
from doorward.cli.logins import LEFT, expiry
from doorward.cli.options import Json, Many
from doorward.cli.output import RefusedError
from doorward.errors import AuthenticationError, ConfigError

if TYPE_CHECKING:
    from doorward.config import Config

# What says who somebody is: a program that runs behind a port needs none of it.
SECRETS: Final = (
    "DOORWARD_TOKEN", "DOORWARD_TOKEN_FILE", "DOORWARD_CLIENT_SECRET", "PGPASSWORD", "PGPASSFILE", "PGSERVICE",
    "PGSERVICEFILE", "PGSSLKEY", "PGSSLCERT", "PGHOSTADDR", "PGOPTIONS", "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL", "CI_JOB_JWT", "CI_JOB_JWT_V2", "CI_JOB_TOKEN",
)  # fmt: skip
NOT_FOUND: Final = 127


class Passes:
    """As whom each connection is made: the caller's token, read again when it ends (a login is renewed, and a file may be),
    with a key wherever the gateway binds it to one. A kept login has its key and certificate; a token that is given is
    exchanged for one that is bound, once, and for these `targets` only."""

    def __init__(
        self, connection: Connection, settings: Config | None, url: str, targets: Sequence[str], *, tls: bool
    ) -> None:
        self._connection, self._settings, self._url = connection, settings, url
        self._targets = tuple(targets)
        self._plain = terms(connection.ca) if tls else None
        self._turn = asyncio.Lock()
        self._token = ""
        self._bound: Bound | None = None  # what `_token` was exchanged for
        self._asked = ""  # the token of which the gateway was asked to bind it
        self._terms: tuple[str, ssl.SSLContext | None] = "", self._plain  # of which certificate

    async def __call__(self) -> Pass:
        async with self._turn:
            return await asyncio.to_thread(self._next)

    def _next(self) -> Pass:
        now = time.time()
        if self._bound is not None and self._bound.expires_at - now > LEFT:
            return Pass(self._bound.token, self._with(self._bound))
        if not self._token or expiry(self._token) - now < LEFT or given(self._connection):
            self._token = token_of(self._connection, self._settings, self._url)
        if expiry(self._token) < time.time():
            raise AuthenticationError("your token has expired", hint="log in with `doorward login`")
        if self._plain is None:
            return Pass(self._token, None)
        with http(self._url, self._connection.ca) as client:
            if not given(self._connection):
                held = bound(self._url, client, certificate=True)
                return Pass(self._token, self._plain if held is None else self._with(held))
            if self._token != self._asked:
                self._asked = self._token
                try:
                    self._bound = bind(client, self._token, new_key(), proven=False, targets=self._targets)
                    return Pass(self._bound.token, self._with(self._bound))
                except AuthenticationError as error:
                    output.note(f"Your token is bound to no key: {output.visible(error.message)}")
        return Pass(self._token, self._plain)

    def _with(self, held: Bound) -> ssl.SSLContext | None:
        if held.certificate != self._terms[0]:
            self._terms = held.certificate, terms(self._connection.ca, held)
        return self._terms[1]


def connect(
    target: str,
    *,
    port: int = 0,
    socket: Path | None = None,
    postgres: str = "",
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Open a local port that carries your identity to a target, for any client.

    Clients connect to it without a password; only your own processes may. It is open until you interrupt it.

    Parameters
    ----------
    target
        Which target.
    port
        The port of 127.0.0.1 to open. Default: a free one.
    socket
        Open a Unix socket in this folder instead, which only you may enter.
    postgres
        Where the gateway's port for PostgreSQL is, as host:port. Default: what the gateway says.
    """
    place, _, passes = _place(connection, [target], postgres)
    return asyncio.run(_connect(target, place, passes, port, socket, as_json))


async def _connect(target: str, place: Place, passes: Passes, port: int, socket: Path | None, as_json: bool) -> int:
    carrier = Carrier(target, place, passes, said=output.note)
    if socket is not None:
        path = await carrier.listen_in(socket)
        where, url = {"socket": str(path)}, f"postgresql:///{quote(target)}?host={quote(str(path.parent), safe='')}"
    else:
        opened = await carrier.listen(port)
        where, url = {"port": str(opened)}, address(target, opened)
    if as_json:
        output.print_json({"target": target, **where, "url": url})
    else:
        output.console().print(f"{output.visible(target)} is at {output.visible(url)}", soft_wrap=True)
        output.note("Ctrl-C closes it.")
    sys.stdout.flush()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await carrier.close()
    return 0


def run(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    target: Many = (),
    postgres: str = "",
    connection: Connection = HERE,
) -> int:
    """Run a command with a local port for each target, and no credential in its environment.

    It finds its targets in PGHOST, PGPORT, PGDATABASE, PGUSER and DATABASE_URL (the first target), and each in
    DOORWARD_URL_<TARGET>. The exit code is the command's.

    Parameters
    ----------
    command
        What to run, behind `--`.
    target
        A target that it may reach; may be given several times. Default: all that you may connect to.
    postgres
        Where the gateway's port for PostgreSQL is, as host:port. Default: what the gateway says.
    """
    if not command:
        raise ConfigError("there is nothing to run", hint="doorward run --target shop -- psql -c 'select 1'")
    place, names, passes = _place(connection, target, postgres)
    return asyncio.run(_run(list(command), names, place, passes))


async def _run(command: list[str], names: Sequence[str], place: Place, passes: Passes) -> int:
    async with AsyncExitStack() as stack:
        ports: dict[str, int] = {}
        for name in names:
            carrier = Carrier(name, place, passes, said=output.note)
            ports[name] = await carrier.listen()
            stack.push_async_callback(carrier.close)
        try:
            process = await asyncio.create_subprocess_exec(*command, env=environment(dict(os.environ), ports))
        except OSError as error:
            output.failed(f"{command[0]} cannot be run ({error.strerror})", "check its name and PATH")
            return NOT_FOUND
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, _pass_on, process, number)
        status = await process.wait()
        return status if status >= 0 else 128 - status


def _pass_on(process: asyncio.subprocess.Process, number: int) -> None:
    if process.returncode is None and number != signal.SIGINT:  # a terminal's Ctrl-C reaches the command by itself
        process.send_signal(number)


def environment(given: dict[str, str], ports: dict[str, int]) -> dict[str, str]:
    """The environment of what runs: without what says who somebody is, and with where its targets are."""
    kept = {name: value for name, value in given.items() if name not in SECRETS}
    for number, (name, port) in enumerate(ports.items()):
        url = address(name, port)
        kept["DOORWARD_URL_" + "".join(c if c.isalnum() else "_" for c in name.upper())] = url
        if not number:
            kept |= {
                "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGDATABASE": name, "PGUSER": "doorward", "PGSSLMODE": "disable",
                "PGGSSENCMODE": "disable", "DATABASE_URL": url,
            }  # fmt: skip
    return kept


def address(target: str, port: int) -> str:
    """What most drivers take."""
    return f"postgresql://doorward@127.0.0.1:{port}/{quote(target)}?sslmode=disable"


def _place(connection: Connection, wanted: Sequence[str], postgres: str) -> tuple[Place, Sequence[str], Passes]:
    """Where the gateway's door is, the targets behind it that the caller asks for, and as whom they are connected to. Raises
    RefusedError."""
    with GatewayClient(connection) as gateway:
        found: list[dict[str, Any]] = gateway.get("targets")
        names = [str(each["name"]) for each in found]
        missing = [name for name in wanted if name not in names]
        if missing or not names:
            raise RefusedError(
                f"there is no target {missing[0]} that you may connect to" if missing else "there is no target for you",
                hint=f"you may connect to: {', '.join(names)}" if names else "ask who writes the policies",
            )
        door = found[0]
        host, port = urlsplit(gateway.url).hostname or "127.0.0.1", int(door["port"])
    if postgres:
        said, _, number = postgres.rpartition(":")
        if not said or not number.isdigit() or not 0 < int(number) < 65536:
            raise ConfigError(f"{postgres} is no address", hint="write it as host:port")
        host, port = said.strip("[]"), int(number)
    if not door["tls"] and not loopback(host):
        raise ConfigError("the gateway has no TLS, and is not on this machine", hint="give it a certificate")
    chosen = wanted or names
    return Place(host, port), chosen, Passes(connection, gateway.settings, gateway.url, chosen, tls=bool(door["tls"]))
