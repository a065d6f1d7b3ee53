"""What `doorward doctor` finds elsewhere: the gateway's own listeners, issuers and targets, and their clocks."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import os
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from doorward.adapters.identity.keys import IssuerKeys
from doorward.adapters.identity.settings import IssuerSettings
from doorward.adapters.secrets.sources import SecretSources
from doorward.cli.diagnosis import Finding, Verdict, failed
from doorward.config import Config, HttpListener, PostgresListener
from doorward.errors import DoorwardError
from doorward.masking.labelling import labelling
from doorward.masking.transforms import Transforms, keep_nothing
from doorward.model import Mode, Target
from doorward.server import dial
from doorward.server.side import Row, SideConnection
from doorward.server.tls import server_context
from doorward.sql.catalogue import QUERIES, build, relations

NAMED = 20  # columns that are listed
SOON = 30  # days before a certificate's end
_PATIENCE = 5.0
_ROLE = """
SELECT r.rolsuper, r.rolreplication, r.rolcreaterole, r.rolbypassrls,
       extract(epoch FROM pg_catalog.clock_timestamp())::text, pg_catalog.current_setting('server_version'),
       pg_catalog.pg_has_role('pg_execute_server_program', 'member') OR pg_catalog.pg_has_role('pg_read_server_files', 'member')
       OR pg_catalog.pg_has_role('pg_write_server_files', 'member')
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user"""


async def listeners(config: Config) -> list[Finding]:
    """Whether the gateway runs and is ready; if it does not, whether it could listen."""
    findings = []
    said = config.listen
    for part, listener in (("listen.postgres", said.postgres), ("listen.http", said.http)):
        if listener.tls_cert is not None and listener.tls_key is not None:
            findings.append(_certificate(part, listener.tls_cert, listener.tls_key))
    ready = await _ready(said.http, config.gateway.data)
    if ready is not None:
        return [*findings, ready]
    for part, listener in (("listen.postgres", said.postgres), ("listen.http", said.http)):
        findings.append(_free(part, listener))
    return findings


async def _ready(listener: HttpListener, data: Path) -> Finding | None:
    """What a running gateway says of itself, if it is the one with this data directory; None if nobody answers."""
    if listener.port == 0:
        return None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listener.address, listener.address)  # noqa: S104  # not to bind to
    at = f"{'https' if listener.tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{listener.port}"
    url = f"{at}/readyz"
    try:
        # Who answers there is not the question here, and nothing is sent that would matter.
        async with httpx2.AsyncClient(verify=False, trust_env=False, timeout=_PATIENCE) as client:
            answer = await client.get(url)
            served = await client.get(f"{at}/oauth/jwks")
    except (httpx2.HTTPError, OSError):
        return None
    text = " ".join(answer.text.split())[:200]
    if served.status_code == 200 and answer.status_code in (200, 503) and not _has_keys(data, served.text):
        hint = "stop that one, choose another port (listen.http.port), or run this with its configuration"
        return Finding("listen.http", Verdict.FAIL, f"another gateway answers at {at}: its keys are not those in {data}", hint)
    if answer.status_code == 200 and text == "ready":
        return Finding("gateway", Verdict.OK, f"it runs and is ready ({url})")
    if answer.status_code == 503:
        return Finding("gateway", Verdict.FAIL, f"it runs and is not ready: {text}", "its log says more")
    hint = "stop that, or choose another port: listen.http.port"
    return Finding("listen.http", Verdict.FAIL, f"something else answers at {url}", hint)


def _has_keys(data: Path, served: str) -> bool:
    """Whether a gateway's JWK Set (what its tokens verify with) is of the keys in this data directory."""
    keys, ours = data / "keys", set()
    if keys.exists() and not os.access(keys, os.R_OK | os.X_OK):
        return True  # it cannot be told, and what was found of the data directory says why
    for path in sorted(keys.glob("token-*.key")):
        try:
            public = Ed25519PrivateKey.from_private_bytes(path.read_bytes()).public_key().public_bytes_raw()
        except (OSError, ValueError):
            continue
        ours.add(base64.urlsafe_b64encode(public).rstrip(b"=").decode())
    try:
        return any(key["x"] in ours for key in json.loads(served)["keys"])
    except (ValueError, KeyError, TypeError):
        return False


def _certificate(part: str, certificate: Path, key: Path) -> Finding:
    try:
        server_context(certificate, key)
        leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except DoorwardError as error:
        return failed(part, error)
    except (OSError, ValueError) as error:
        return Finding(part, Verdict.FAIL, f"{certificate} cannot be read: {error}", "give a PEM certificate chain")
    left = (leaf.not_valid_after_utc - datetime.datetime.now(datetime.UTC)).days
    if left < 0:
        return Finding(part, Verdict.FAIL, f"{certificate} expired {-left} day(s) ago", "renew it")
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        hint = "clients look at nothing else: have it signed anew with the names by which they connect"
        return Finding(part, Verdict.WARN, f"{certificate} has no subject alternative name", hint)
    listed = ", ".join(str(name.value) for name in names)
    if left < SOON:
        return Finding(part, Verdict.WARN, f"{certificate} ends in {left} day(s)", "renew it")
    return Finding(part, Verdict.OK, f"certificate for {listed}, {left} days left")


def _free(part: str, listener: PostgresListener | HttpListener) -> Finding:
    family = socket.AF_INET6 if ":" in listener.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listener.address, listener.port))
        except OSError as error:
            text = f"cannot listen on {listener.address}:{listener.port} ({error.strerror}), and no gateway answers"
            return Finding(part, Verdict.FAIL, text, "stop what uses it, or choose another port")
    return Finding(part, Verdict.OK, f"{listener.address}:{listener.port} is free; the gateway does not run")


async def issuer(settings: IssuerSettings) -> list[Finding]:
    """Whether its keys can be had, and whether its clock agrees with ours."""
    part = f"issuer {settings.url}"
    keys = IssuerKeys(settings, time.monotonic)
    try:
        await keys.refresh()
    except DoorwardError as error:
        hint = error.hint or "check the url, the network, and ca if an authority of your own signed its certificate"
        return [Finding(part, Verdict.FAIL, error.message, hint)]
    findings = [Finding(part, Verdict.OK, "answers, and has keys")]
    if settings.development:
        hint = "never for real: anybody at this machine can be anybody"
        findings.append(Finding(part, Verdict.WARN, "it is a development issuer", hint))
    skew = await _issuer_skew(settings)
    if skew is not None:
        findings.append(_clock(part, skew, settings.skew_seconds))
    return findings


async def _issuer_skew(settings: IssuerSettings) -> float | None:
    """How many seconds its clock is ahead of ours, to a second or two; None when it does not say."""
    url = settings.url.removesuffix("/") + "/.well-known/openid-configuration"
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        async with httpx2.AsyncClient(
            verify=context, trust_env=not settings.development, timeout=_PATIENCE
        ) as client, client.stream("GET", url) as answer:  # fmt: skip
            said = answer.headers.get("date", "")
        return parsedate_to_datetime(said).timestamp() - time.time() if said else None
    except (httpx2.HTTPError, OSError, ValueError, TypeError):
        return None


def _clock(part: str, skew: float, allowed: float) -> Finding:
    if abs(skew) <= max(2.0, allowed / 2):
        return Finding(part, Verdict.OK, "its clock agrees with this machine's")
    direction = "ahead of" if skew > 0 else "behind"
    verdict = Verdict.FAIL if abs(skew) > allowed else Verdict.WARN
    text = f"its clock is {abs(skew):.0f} s {direction} this machine's"
    return Finding(part, verdict, text, "synchronise both (chrony, systemd-timesyncd)")


async def target(config: Config, target: Target) -> list[Finding]:
    """Whether the gateway can log in there, as whom, and whether every labelled column exists."""
    part = f"target {target.name}"
    try:
        password = b""
        if target.credential is not None:
            password = bytes(await asyncio.to_thread(SecretSources(config.gateway.data).get, target.credential))
    except DoorwardError:
        return [Finding(part, Verdict.FAIL, "not tried: its secret is not there")]
    try:
        parameters = {"application_name": "doorward doctor", "search_path": "pg_catalog"}
        upstream = await dial.dial(target, password, parameters=parameters)
        side = SideConnection(target, upstream)
    except DoorwardError as error:
        return [failed(part, error)]
    try:
        role = (await side.query(_ROLE))[0]
        rows = [*await side.query(QUERIES["system relations"]), *await side.query(QUERIES["relations"])]
        columns = [*await side.query(QUERIES["system columns"]), *await side.query(QUERIES["columns"])]
    except DoorwardError as error:
        return [failed(part, error)]
    finally:
        await side.close()
    mode = target.options["tls"]
    text = f"{target.user} logs in to PostgreSQL {role[5]} at {target.host}:{target.port}, tls {mode}"
    findings = [Finding(part, Verdict.OK, text)]
    if mode != "verify-full" and target.host not in ("127.0.0.1", "::1", "localhost"):
        what = "nobody proves that it is the target who answers" + (
            "" if mode == "require" else ", and everybody can listen"
        )
        findings.append(Finding(part, Verdict.WARN, f"tls is {mode}: {what}", 'set tls = "verify-full"'))
    findings += _privileges(part, target, role)
    findings.append(_clock(part, float(role[4] or 0) - time.time(), 60))
    try:
        labels = labelling(
            build(relations(rows, columns)), target.labels,
            Transforms(config.masking.transforms, bytes(32), keep=keep_nothing, subjects=config.masking.date_shift),
            by_name=config.masking.column_names,
        )  # fmt: skip
    except ValueError as error:
        return [*findings, Finding(part, Verdict.FAIL, f"its catalogue is not what it should be: {error}")]
    closed = "it will be closed once it enforces" if target.mode is Mode.OBSERVE else "nobody is let in while this is so"
    hint = f"{closed}: correct [targets.labels] or masking.transforms"
    findings += [Finding(part, Verdict.FAIL, f"label: {fault}", hint) for fault in labels.faults]
    if target.labels and not labels.faults:
        findings.append(Finding(part, Verdict.OK, f"all {len(target.labels)} labelled columns exist"))
    if labels.named:
        shown = ", ".join(f"{column} = {label}" for column, label in list(labels.named.items())[:NAMED])
        more = f", and {len(labels.named) - NAMED} more" if len(labels.named) > NAMED else ""
        if config.masking.column_names == "mask":
            text = f"masked for their names: {shown}{more}"
            hint = 'label what the names are wrong about: "none" in [targets.labels] shows a column'
            findings.append(Finding(part, Verdict.OK, text, hint))
        else:
            text = f"not masked, though their names say what they hold: {shown}{more}"
            hint = 'label them in [targets.labels], or set masking.column_names = "mask"'
            findings.append(Finding(part, Verdict.WARN, text, hint))
    return findings


def _privileges(part: str, target: Target, role: Row) -> list[Finding]:
    superuser, replication, create_role, bypass, _now, _version, server_files = role
    held = [
        name
        for name, has in (
            ("superuser", superuser), ("replication", replication), ("createrole", create_role),
            ("bypassrls", bypass), ("server files or programs", server_files if superuser != "t" else "f"),
        )
        if has == "t"
    ]  # fmt: skip
    if not held:
        return [Finding(part, Verdict.OK, f"{target.user} is an ordinary role")]
    hint = "give the gateway a role that may do only what its clients should ever do"
    return [Finding(part, Verdict.WARN, f"{target.user} may do more than it should: {', '.join(held)}", hint)]
