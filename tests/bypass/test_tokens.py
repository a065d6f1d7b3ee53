"""Stolen, copied, forged and misused tokens and keys, over the wire. TK-nn in docs/bypasses.md."""

from __future__ import annotations

import base64
import datetime
import hmac
import itertools
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from joserfc.jwk import OctKey

from doorward.adapters.blobs.files import LocalKeyFiles
from doorward.adapters.identity.clients import ClientAuthority
from doorward.policy.starter import starter
from tests.memory.files import MemoryKeyFiles
from tests.rig import record
from tests.rig.approvers import call
from tests.rig.bound import Holder
from tests.rig.gateway import Gateway, launch, target_of
from tests.rig.issuer import LocalIssuer
from tests.rig.postgres import PostgresServer
from tests.suites.lives import CLOCK

MINTED = itertools.count(1)
NOTED: set[tuple[str, str]] = set()  # listener and code of what was refused


@pytest.fixture(scope="module")
def idp() -> Iterator[LocalIssuer]:
    issuer = LocalIssuer()
    yield issuer
    issuer.down()


@pytest.fixture(scope="module")
def jobs() -> Iterator[LocalIssuer]:
    """A platform of workloads."""
    issuer = LocalIssuer()
    yield issuer
    issuer.down()


@pytest.fixture(scope="module")
def gate(
    tmp_path_factory: pytest.TempPathFactory, server: PostgresServer, idp: LocalIssuer, jobs: LocalIssuer
) -> Iterator[Gateway]:
    """A gateway with the policy that `doorward init` writes. Targets: `shop`, and `ware`, the same. In the end, everything that
    was refused is on record."""
    folder = tmp_path_factory.mktemp("gate") / "gateway"
    folder.mkdir(mode=0o700)
    with launch(
        folder, idp, server, policy=starter(approvers="dba"),
        targets=[target_of(server, folder), target_of(server, folder, name="ware")],
        issuers=[
            {"url": idp.url, "audience": "doorward", "development": True},
            {"url": jobs.url, "audience": "doorward", "development": True, "workload": "github"},
        ],
    ) as running:  # fmt: skip
        yield running
        assert running.stop() == 0
        found = {(e.body["listener"], e.body["code"]) for e in record.events(running.data, "authentication.refused")}
        assert found >= NOTED


@pytest.fixture
def holder(gate: Gateway, tmp_path: Path) -> Iterator[Holder]:
    holder = Holder(gate, tmp_path)
    yield holder
    holder.close()


def minted(gate: Gateway, sub: str = "ann", **claims: Any) -> str:
    """A bearer token of somebody who may do what people may."""
    return gate.token(**{"sub": sub, "groups": ["people"], "jti": f"tk{next(MINTED)}", **claims})


def opened(gate: Gateway, token: str, target: str = "shop", **keywords: str) -> psycopg.Connection:
    return psycopg.connect(**{**gate.keywords(target, token=token), **keywords}, autocommit=True)  # type: ignore[arg-type]


def refused(gate: Gateway, token: str, target: str = "shop", **keywords: str) -> str:
    """What the client is told. Nothing of it was a session, so that no target was dialled."""
    before = sessions(gate)
    with pytest.raises(psycopg.OperationalError) as caught:
        opened(gate, token, target, **keywords).close()
    assert sessions(gate) == before
    return str(caught.value)


def sessions(gate: Gateway) -> int:
    """How many there were."""
    status, text = call(gate, "/metrics")
    counts = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith("doorward_sessions_total")]
    assert status == 200
    return sum(int(float(count)) for count in counts)


def on_record(listener: str, code: str) -> None:
    """Such a refusal has to be in the log: `gate` looks, when it has ended."""
    NOTED.add((listener, code))


# -- what a key is good for ------------------------------------------------------------------------------------------


def test_a_copied_bearer_token_reads_and_one_with_its_key_writes(
    gate: Gateway, holder: Holder, server: PostgresServer
) -> None:
    """TK-01: the same person, the same token: by itself V1, which reads; over a connection with their certificate V2, which
    writes. psql needs nothing but sslcert and sslkey."""
    with server.connect() as direct:
        direct.execute("create table if not exists tk (v text)")
    issued = holder.bound(minted(gate))
    files = holder.files(issued["certificate"])
    token = minted(gate)
    with opened(gate, token) as bearer:
        assert bearer.execute("select 1").fetchone() == (1,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="not bound to a key"):
            bearer.execute("insert into tk values ('copied')")
    with opened(gate, token, **files) as bound:
        bound.execute("insert into tk values ('hers')")
        assert bound.execute("select count(*) from tk where v = 'hers'").fetchone() == (1,)
    where = " ".join(f"{name}={value}" for name, value in {**gate.keywords(token=issued["access_token"]), **files}.items())
    done = subprocess.run(
        ["psql", "-X", "-Atc", "insert into tk values ('psql') returning v", where], capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout.splitlines()[:1], done.returncode) == (["psql"], 0), done.stderr
    with server.connect() as direct:
        assert direct.execute("select count(*) from tk where v = 'copied'").fetchone() == (0,)
    levels = {row["assurance"] for row in call(gate, "/api/sessions", token=minted(gate))[1]}
    limit = time.monotonic() + 5
    while levels != {"V1", "V2"} and time.monotonic() < limit:
        time.sleep(0.2)
        levels = {row["assurance"] for row in call(gate, "/api/sessions", token=minted(gate))[1]}
    assert levels == {"V1", "V2"}


def test_an_attested_agent_that_acts_for_a_person(
    gate: Gateway, holder: Holder, jobs: LocalIssuer, server: PostgresServer
) -> None:
    """TK-01: with its certificate V3: it reads, and what it changes waits. With a copy of its token nobody does anything, and
    with its platform's token by itself it only reads."""
    call(gate, "/api/whoami", token=minted(gate, sub="olga"))
    admin = minted(gate, sub="adam", groups=["admins"])
    ids = {"repository_id": "74", "repository_owner_id": "65"}
    status, made = call(gate, "/api/agents", {
        "name": "bot", "owner": f"{gate.issuer.url}|olga", "issuer": jobs.url, "bound": ids, "groups": ["agents"],
    }, token=admin)  # fmt: skip
    assert status in (200, 201), made

    def job() -> str:
        now = int(time.time())
        said: dict[str, Any] = {**ids, "sub": "repo:octo/shop:ref:refs/heads/main", "jti": f"job{next(MINTED)}"}
        return jobs.mint({"typ": "JWT"}, **said, client_id=None, iat=now, exp=now + 300)

    issued = holder.bound(minted(gate), actor=job(), audience=["shop"])
    files = holder.files(issued["certificate"])
    with opened(gate, issued["access_token"], **files) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        connection.execute("set doorward.wait = '1ms'")
        with pytest.raises(psycopg.Error, match="approv"):
            connection.execute("create table never (v text)")
    who = holder.ask("/api/whoami", issued["access_token"]).json()
    assert (who["assurance"], who["kind"], who["on_behalf_of"]["subject"]) == ("V3", "agent", "ann")
    assert "nothing here proves" in refused(gate, issued["access_token"])
    with opened(gate, job()) as bearer, pytest.raises(psycopg.errors.InsufficientPrivilege, match="not bound to a key"):
        bearer.execute("create table never (v text)")
    with server.connect() as direct:
        assert direct.execute("select to_regclass('never')").fetchone() == (None,)


def test_a_bound_token_is_no_bearer_token(gate: Gateway, holder: Holder, tmp_path: Path) -> None:
    """TK-02: at a database without its certificate or with another one, over HTTP as Bearer, at the exchange: refused."""
    issued = holder.bound(minted(gate))
    token = issued["access_token"]
    assert "nothing here proves" in refused(gate, token)
    on_record("postgres", "bound")
    (tmp_path / "other").mkdir()
    other = Holder(gate, tmp_path / "other")
    anothers = other.files(other.bound(minted(gate))["certificate"])
    assert "another key" in refused(gate, token, **anothers)
    assert holder.ask("/api/whoami", token, scheme="Bearer", proof="").status_code == 401
    on_record("http", "bound")
    assert other.ask("/api/whoami", token).status_code == 401
    assert holder.exchange(token, proven=False)[0] == other.exchange(token)[0] == 400
    on_record("exchange", "bound")
    assert holder.ask("/api/whoami", minted(gate)).status_code == 401  # and a bearer token is none that is bound
    opened(gate, token, **holder.files(issued["certificate"])).close()
    other.close()


def test_what_is_bound_only_to_a_proof_opens_no_database(gate: Gateway, holder: Holder) -> None:
    """TK-02: a certificate of the same person makes no difference: the token names another key."""
    proven = holder.bound(minted(gate), certificate=False)["access_token"]
    assert "nothing here proves" in refused(gate, proven)
    certified = holder.bound(minted(gate), proven=False)
    assert "another key" in refused(gate, proven, **holder.files(certified["certificate"]))
    assert holder.ask("/api/whoami", certified["access_token"]).status_code == 401  # nor the other way round


def test_a_proof_is_for_one_request_once(gate: Gateway, holder: Holder) -> None:
    """TK-03: said again, sent to another route or by another method, about another token, without a nonce or with a guessed
    one: refused. With one of its own each request is answered, and says which nonce to use next."""
    token = holder.bound(minted(gate))["access_token"]
    other = holder.bound(minted(gate))["access_token"]
    assert holder.ask("/api/whoami", token).json()["assurance"] == "V2"
    proof = holder.proof("GET", "/api/whoami", token)
    answer = holder.ask("/api/whoami", token, proof=proof)
    assert (answer.status_code, bool(answer.headers["dpop-nonce"])) == (200, True)
    for path, said, how in (
        ("/api/whoami", token, proof),
        ("/api/sessions", token, holder.proof("GET", "/api/whoami", token)),
        ("/api/whoami", token, holder.proof("POST", "/api/whoami", token)),
        ("/api/whoami", other, holder.proof("GET", "/api/whoami", token)),
        ("/api/whoami", token, holder.proof("GET", "/api/whoami")),
        ("/api/whoami", token, holder.proof("GET", "/api/whoami", token, nonce="")),
        ("/api/whoami", token, holder.proof("GET", "/api/whoami", token, nonce="guessed")),
        ("/api/whoami", token, ""),
    ):
        refusal = holder.ask(path, said, proof=how)
        assert refusal.status_code == 401, (path, how)
        assert refusal.headers["www-authenticate"]
    on_record("http", "replayed")
    on_record("http", "proof")


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_proof_that_nobody_signed(gate: Gateway, holder: Holder, algorithm: str) -> None:
    """TK-04: `alg` none, and HMAC with the public key as its secret; also at the exchange."""
    token = holder.bound(minted(gate))["access_token"]
    head, body, _ = holder.proof("GET", "/api/whoami", token).split(".")
    header = {**json.loads(base64.urlsafe_b64decode(head + "==")), "alg": algorithm}
    signed = f"{_b64(json.dumps(header).encode())}.{body}"
    public = json.dumps(header["jwk"]).encode()
    signature = "" if algorithm == "none" else _b64(hmac.digest(public, signed.encode(), "sha256"))
    assert holder.ask("/api/whoami", token, proof=f"{signed}.{signature}").status_code == 401
    on_record("http", "algorithm")


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_token_that_nobody_signed(gate: Gateway, idp: LocalIssuer, holder: Holder, algorithm: str) -> None:
    """TK-04: the same of tokens, at every listener that takes one."""
    if algorithm == "none":
        token = f"{_b64(json.dumps({'alg': 'none', 'typ': 'at+jwt'}).encode())}.{_b64(json.dumps(idp.claims()).encode())}."
    else:
        secret = OctKey.import_key(json.dumps(idp.keys[0].as_dict(private=False)).encode())
        token = idp.mint({"kid": idp.keys[0].kid}, key=secret)
    assert "refused" in refused(gate, token)
    assert call(gate, "/api/whoami", token=token)[0] == 401
    assert holder.exchange(token, proven=False, certificate=False)[0] == 400
    for listener in ("postgres", "http", "exchange"):
        on_record(listener, "algorithm")


def _b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def test_what_is_not_exchanged(gate: Gateway, idp: LocalIssuer, holder: Holder) -> None:
    """TK-05: a token without `jti`, one that was exchanged before, one for another audience, a static key, a long one; the
    gateway's own bearer token, to be bound to a thief's key. Each is on record."""
    spent = minted(gate)
    holder.bound(spent)
    bearer = holder.bound(minted(gate), proven=False, certificate=False)["access_token"]
    now = int(time.time())
    for token, code in (
        (idp.mint({"typ": "JWT"}, sub="ann", jti=None), "no_jti"),
        (spent, "replayed"),
        (minted(gate, aud="https://elsewhere.test"), "audience"),
        ("sk_live_51H8xJ", "static"),
        (minted(gate, iat=now, exp=now + 7200), "too_long"),
        (bearer, "bound"),
    ):
        status, answer = holder.exchange(token)
        assert (status, answer["error"]) == (400, "invalid_request"), code
        on_record("exchange", code)


def test_a_token_is_good_only_where_it_is_for(gate: Gateway, idp: LocalIssuer, holder: Holder, server: PostgresServer) -> None:
    """UI-08, MC-04: one for a target opens no other and administers nothing; one for another audience opens nothing at all.
    What a client presents is never passed on to the target."""
    issued = holder.bound(minted(gate, groups=["people", "admins"]), audience=["shop"])
    files = holder.files(issued["certificate"])
    token = issued["access_token"]
    begun = server.position()
    with opened(gate, token, "shop", **files) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert "good for shop only" in refused(gate, token, "ware", **files)
    assert [each["name"] for each in holder.ask("/api/targets", token).json()] == ["shop"]
    assert holder.ask("/api/revocations", token).status_code == 403
    assert holder.ask("/api/policy/reload", token, method="POST", body={}).status_code == 403
    whole = holder.bound(minted(gate, groups=["people", "admins"]))["access_token"]
    assert holder.ask("/api/revocations", whole).status_code == 200
    assert holder.exchange(token, audience=["ware"])[1]["error"] == "invalid_target"
    foreign = minted(gate, aud="shop")
    assert "not for this gateway" in refused(gate, foreign)
    assert call(gate, "/api/whoami", token=foreign)[0] == 401
    on_record("postgres", "audience")
    on_record("http", "audience")
    log = Path(server.log).read_bytes()[begun:]
    assert token.encode() not in log
    assert token.rpartition(".")[2].encode() not in log


# -- certificates ----------------------------------------------------------------------------------------------------


def authority(gate: Gateway) -> ClientAuthority:
    """The gateway's own, as a thief of its keys would have it; only to make what it never makes."""
    return ClientAuthority(f"http://localhost:{gate.http_port}", LocalKeyFiles(gate.data), CLOCK.now)


def forged(gate: Gateway, holder: Holder, by: ClientAuthority, *, starts: int = -60, ends: int = 600, who: str = "") -> str:
    now = CLOCK.now() // 1000
    return by.issue(
        holder.request(), who or f"{gate.issuer.url}|ann", id=CLOCK.new_id(), issued=now + starts + 60, expires=now + ends
    )[0]


def for_servers(gate: Gateway, holder: Holder) -> str:
    """By the right key, for the right person, for another use."""
    key, own = authority(gate)._current()
    sound = x509.load_pem_x509_certificate(forged(gate, holder, authority(gate)).encode())
    names = sound.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    start = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(sound.subject).issuer_name(own.subject)
        .public_key(holder.secret.public_key()).serial_number(77)
        .not_valid_before(start - datetime.timedelta(hours=1)).not_valid_after(start + datetime.timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    return made.public_bytes(serialization.Encoding.PEM).decode()


def by_itself(gate: Gateway, holder: Holder) -> str:
    """Signed by its own key, under the authority's name."""
    _, own = authority(gate)._current()
    start = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(own.subject).issuer_name(own.subject)
        .public_key(holder.secret.public_key()).serial_number(78)
        .not_valid_before(start - datetime.timedelta(hours=1)).not_valid_after(start + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(holder.secret, hashes.SHA256())
    )  # fmt: skip
    return made.public_bytes(serialization.Encoding.PEM).decode()


def the_authoritys(gate: Gateway, holder: Holder) -> str:
    """By whoever has its key."""
    holder.secret, own = authority(gate)._current()
    holder.pem = holder.secret.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return own.public_bytes(serialization.Encoding.PEM).decode()


CERTIFICATES: dict[str, tuple[Callable[[Gateway, Holder], str], str, str]] = {
    "another gateway's": (
        lambda gate, holder: forged(
            gate, holder, ClientAuthority(f"http://localhost:{gate.http_port}", MemoryKeyFiles(), CLOCK.now)
        ), "certificate", "unknown ca",
    ),
    "for another name of it": (
        lambda gate, holder: forged(
            gate, holder, ClientAuthority("https://door.test", LocalKeyFiles(gate.data), CLOCK.now)
        ), "certificate", "not for clients of this gateway",
    ),
    "expired": (
        lambda gate, holder: forged(gate, holder, authority(gate), starts=-600, ends=-5), "expired", "certificate expired",
    ),
    "not yet valid": (lambda gate, holder: forged(gate, holder, authority(gate), starts=300), "certificate", "bad certificate"),
    "for servers": (for_servers, "certificate", "unsupported certificate"),
    "by itself": (by_itself, "certificate", "unknown ca"),
    "the authority's": (the_authoritys, "certificate", "unknown ca"),
    "somebody else's": (
        lambda gate, holder: forged(gate, holder, authority(gate), who=f"{gate.issuer.url}|bob"), "certificate",
        "somebody else's",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CERTIFICATES)
def test_a_certificate_that_lets_nobody_in(gate: Gateway, holder: Holder, kind: str) -> None:
    """TK-06: whoever's it is, with a sound token beside it: nothing is dialled, and it is on record."""
    make, code, said = CERTIFICATES[kind]
    assert said in refused(gate, minted(gate), **holder.files(make(gate, holder)))
    on_record("postgres", code)
    opened(gate, minted(gate)).close()  # without it, as before


def test_a_certificate_without_its_key_or_without_a_token(gate: Gateway, holder: Holder, tmp_path: Path) -> None:
    """TK-06: a copied certificate cannot be shown, and one that is shown is no login."""
    files = holder.files(holder.bound(minted(gate))["certificate"])
    thief = tmp_path / "thief.key"
    thief.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))  # fmt: skip
    thief.chmod(0o600)
    assert "key" in refused(gate, minted(gate), **{**files, "sslkey": str(thief)})
    assert "refused" in refused(gate, "no-token", **files)


# -- taking it away --------------------------------------------------------------------------------------------------


def test_revocation_ends_what_runs_and_what_is_idle(gate: Gateway, holder: Holder) -> None:
    """TK-07: within five seconds, whichever of the certificate, the token it came from and its owner is revoked; the
    certificate is refused from then on. A session outlives its token until then."""
    now = int(time.time())
    short = holder.bound(minted(gate, sub="mia", iat=now, exp=now + 6), proven=False, certificate=False)
    outliving = opened(gate, short["access_token"])
    admin = minted(gate, sub="adam", groups=["admins"])
    for kind in ("certificate", "source", "owner"):
        source = minted(gate, sub="eva")
        issued = holder.bound(source)
        files = holder.files(issued["certificate"], kind)
        idle, busy = (opened(gate, minted(gate, sub="eva"), **files) for _ in range(2))
        ended: list[str] = []

        def run(connection: psycopg.Connection = busy, ended: list[str] = ended) -> None:
            try:
                connection.execute("select count(*) from generate_series(1, 10000000000)")
            except psycopg.Error as error:
                ended.append(str(error))

        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(0.3)
        serial = x509.load_pem_x509_certificate(issued["certificate"].encode()).serial_number
        what = {
            "certificate": ("jti", f"{serial:032x}"), "source": ("jti", _said(source)["jti"]),
            "owner": ("subject", f"{gate.issuer.url}|eva"),
        }[kind]  # fmt: skip
        value = what[1]
        if kind == "certificate":
            value = "-".join((value[:8], value[8:12], value[12:16], value[16:20], value[20:]))
        begun = time.monotonic()
        status, made = call(gate, "/api/revocations", {"kind": what[0], "value": value}, token=admin)
        assert status in (200, 201), made
        thread.join(5)
        assert not thread.is_alive()
        assert len(ended) == 1
        with pytest.raises(psycopg.OperationalError):
            idle.execute("select 1")
        assert time.monotonic() - begun < 5
        assert "revoked" in refused(gate, minted(gate, sub="eva"), **files)
        on_record("postgres", "revoked")
        assert call(gate, f"/api/revocations/{made['revocation']}", method="DELETE", token=admin)[0] == 200
        busy.close()
        idle.close()
    time.sleep(max(0.0, now + 6.5 - time.time()))
    assert outliving.execute("select 1").fetchone() == (1,)  # its token has expired
    call(gate, "/api/revocations", {"kind": "jti", "value": _said(short["access_token"])["jti"]}, token=admin)
    with pytest.raises(psycopg.OperationalError):
        outliving.execute("select 1")  # it had ended when the answer came
    outliving.close()


def _said(token: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
