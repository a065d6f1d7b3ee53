"""Tokens that are bound to a key: real tokens and certificates, a real store, no sockets."""

from __future__ import annotations

import base64
import datetime
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from doorward.adapters.identity import clients
from doorward.adapters.identity.clients import PERIOD, ClientAuthority
from doorward.adapters.identity.jwt import parse
from doorward.errors import AuthenticationError, ConfigError
from doorward.guard.exchange import Issued
from doorward.guard.ports import ClientCertificate, Shown
from doorward.model import Assurance
from tests.memory.files import MemoryKeyFiles
from tests.rig.identities import ADAM, OWN, Identities
from tests.rig.issuer import LocalIssuer
from tests.suites.lives import CLOCK
from tests.unit.guard.test_exchange import JOB, job, person, refused

NOW = 1_800_000_000
KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def world(identities: Identities) -> Identities:
    return identities


def asked(key: Any = KEY) -> str:
    """A request for a certificate (PKCS#10)."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, algorithm)
    return request.public_bytes(serialization.Encoding.PEM).decode()


def der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)


def held(world: Identities, issued: Issued) -> Shown:
    """What a connection shows that was made with the certificate."""
    return Shown(certificate=world.clients.read(der(issued.certificate)))


# -- tokens ----------------------------------------------------------------------------------------------------------


async def test_a_token_is_bound_to_the_key_that_was_shown(world: Identities, people: LocalIssuer) -> None:
    """It is V2 with that key, and nothing with another, with a certificate, or by itself; what comes of it is bound as well."""
    issued = await world.exchange.exchange(person(people), key="thumb")
    found = await world.standing.authenticate(issued.token, Shown(key="thumb"))
    assert (found.assurance, found.bound_to, issued.key) == (Assurance.V2, "jkt:thumb", "thumb")
    certificate = ClientCertificate(CLOCK.new_id(), found.id, "x", 0)
    for shown in (Shown(), Shown(key="other"), Shown(certificate=certificate)):
        assert (await refused(world.standing.authenticate(issued.token, shown))).code == "bound"
        assert (await refused(world.exchange.exchange(issued.token, key=shown.key))).code == "bound"
    again = await world.exchange.exchange(issued.token, key="thumb")
    assert parse(again.token).claims["cnf"] == {"jkt": "thumb"}
    (event, _) = await world.events("token.exchanged")
    assert event.body["cnf"] == {"jkt": "thumb"}


async def test_an_issuers_own_bound_token_is_taken_with_its_key(world: Identities, people: LocalIssuer) -> None:
    """And no other way; a binding of another kind is none that we could check."""
    token = person(people, cnf={"jkt": "thumb"})
    assert (await world.standing.authenticate(token, Shown(key="thumb"))).assurance is Assurance.V2
    assert (await refused(world.standing.authenticate(token))).code == "bound"
    unknown_ones: list[Any] = [{}, {"jwk": {}}, {"jkt": "thumb", "kid": "x"}, "thumb", None, []]
    for cnf in unknown_ones:
        unknown = people.mint(raw=json.dumps({**people.claims(jti="n"), "cnf": cnf}).encode())
        assert (await refused(world.standing.authenticate(unknown, Shown(key="thumb")))).code == "bound"


async def test_a_bearer_token_of_the_gateway_stays_one(world: Identities, people: LocalIssuer, jobs: LocalIssuer) -> None:
    """Whoever copied it could bind it to a key of theirs; so could who copied an agent's, to act for people as V3."""
    bearer = (await world.exchange.exchange(person(people))).token
    for key, request in (("thumb", ""), ("", asked())):
        assert (await refused(world.exchange.exchange(bearer, key=key, request=request))).code == "bound"
    await world.agent(jobs.url, **JOB)
    agent = (await world.exchange.exchange(job(jobs))).token
    assert (await refused(world.exchange.exchange(person(people), agent, key="thumb"))).code == "bound"
    assert (await world.exchange.exchange(person(people), agent)).key == ""


async def test_an_attested_agent_that_acts_for_a_person_is_v3(
    world: Identities, people: LocalIssuer, jobs: LocalIssuer
) -> None:
    """With a key. What a person bound to theirs is not the agent's to present."""
    await world.agent(jobs.url, **JOB)
    issued = await world.exchange.exchange(person(people), job(jobs), key="thumb", request=asked())
    acting = await world.standing.authenticate(issued.token, Shown(key="thumb"))
    assert acting.assurance is Assurance.V3
    assert acting.on_behalf_of is not None
    assert acting.on_behalf_of.assurance is Assurance.V3
    assert acting.on_behalf_of.bound_to == ""
    by_certificate = await world.standing.authenticate(issued.token, held(world, issued))
    assert (by_certificate.assurance, by_certificate.bound_to[:12]) == (Assurance.V3, "certificate:")
    theirs = (await world.exchange.exchange(person(people), key="hers")).token
    for key in ("hers", "thumb", ""):
        assert (await refused(world.exchange.exchange(theirs, job(jobs), key=key))).code == "bound"


async def test_a_proof_counts_only_with_a_sound_token(world: Identities, people: LocalIssuer) -> None:
    """What objects to it is asked after the token was verified, and before anything is spent."""

    def object_() -> None:
        raise AuthenticationError("used before", code="replayed")

    called: list[int] = []
    await refused(world.exchange.exchange("no.to.ken", key="k", proven=lambda: called.append(1)))
    assert called == []
    token = person(people)
    assert (await refused(world.exchange.exchange(token, key="k", proven=object_))).code == "replayed"
    assert (await world.exchange.exchange(token, key="k", proven=lambda: called.append(1))).key == "k"
    assert called == [1]


# -- certificates ----------------------------------------------------------------------------------------------------


async def test_a_persons_certificate_makes_of_their_bearer_token_v2(world: Identities, people: LocalIssuer) -> None:
    """Of any token that is theirs, for as long as a login; it is on record; of somebody else's token it makes nothing."""
    issued = await world.exchange.exchange(person(people), request=asked())
    shown = held(world, issued)
    assert shown.certificate is not None
    assert shown.certificate.identity == f"{people.url}|ann"
    assert 12 * 3600 - 10 <= shown.certificate.expires - world.clock.now() // 1000 <= 12 * 3600
    token = person(people)
    found = await world.standing.authenticate(token, shown)
    assert (found.assurance, found.bound_to) == (Assurance.V2, f"certificate:{shown.certificate.id}")
    assert (await world.standing.authenticate(token)).assurance is Assurance.V1
    assert (await world.standing.authenticate(issued.token, shown)).bound_to == found.bound_to
    assert (await refused(world.standing.authenticate(issued.token))).code == "bound"
    other = await refused(world.standing.authenticate(person(people, sub="bob"), shown))
    assert (other.code, other.issuer, bool(other.token)) == ("certificate", people.url, True)
    (event,) = await world.events("certificate.issued")
    assert (event.body["certificate"], event.body["thumbprint"]) == (shown.certificate.id, shown.certificate.thumbprint)
    assert event.body["expires_at"] == shown.certificate.expires * 1000


async def test_an_agents_certificate_lasts_as_long_as_its_token(world: Identities, jobs: LocalIssuer) -> None:
    """Ten minutes; and it names the registered agent."""
    await world.agent(jobs.url, **JOB)
    issued = await world.exchange.exchange(job(jobs), request=asked())
    certificate = world.clients.read(der(issued.certificate))
    assert certificate.identity == f"{OWN}|bot"
    assert 0 <= certificate.expires - world.clock.now() // 1000 <= 600
    assert (await world.standing.authenticate(job(jobs), held(world, issued))).assurance is Assurance.V2


@pytest.mark.parametrize("kind", ["certificate", "token", "source", "subject"])
async def test_a_revoked_certificate_lets_nobody_in(world: Identities, people: LocalIssuer, kind: str) -> None:
    """By its own id, by the token that it was made from, or with its owner; sessions that it opened end."""
    source = person(people)
    issued = await world.exchange.exchange(source, request=asked())
    shown = held(world, issued)
    assert shown.certificate is not None
    session = await world.session(await world.standing.authenticate(person(people), shown))
    bystander = await world.session(await world.standing.authenticate(person(people)))
    what = {
        "certificate": ("jti", shown.certificate.id), "token": ("jti", parse(issued.token).claims["jti"]),
        "source": ("jti", parse(source).claims["jti"]), "subject": ("subject", f"{people.url}|ann"),
    }  # fmt: skip
    await world.revocations.revoke(*what[kind], actor=ADAM.id)
    assert "revoked" in session.ended
    assert bool(bystander.ended) is (kind == "subject")
    assert (await refused(world.standing.authenticate(person(people), shown))).code == "revoked"


@pytest.mark.parametrize(
    "key",
    [KEY, ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)],
    ids=lambda key: type(key).__name__,
)
def test_keys_that_clients_have(key: Any) -> None:
    """And what a certificate says: one URI, for clients, and nothing that the request asked for."""
    authority = ClientAuthority(OWN, MemoryKeyFiles(), lambda: NOW * 1000)
    pem, made = authority.issue(asked(key), "https://idp|a|b/c d", id=CLOCK.new_id(), issued=NOW, expires=NOW + 600)
    assert authority.read(der(pem)) == made
    assert made.identity == "https://idp|a|b/c d"
    certificate = x509.load_pem_x509_certificate(pem.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(f"{OWN}/identities/https%3A%2F%2Fidp%7Ca%7Cb%2Fc%20d")]
    uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificate.subject.rfc4514_string() == "CN=b/c d"
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).total_seconds() == 660


@pytest.mark.parametrize(
    "request_",
    [
        "", "hello", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "\u00e9",
        asked() + "x" * 20000,
        asked(ec.generate_private_key(ec.SECP192R1())), asked(ec.generate_private_key(ec.SECP256K1())),
        asked(dsa.generate_private_key(2048)),
    ],
    ids=range(8),
)  # fmt: skip
def test_requests_that_are_none(request_: str) -> None:
    """Unreadable, too long, or of a key that is none to rely on."""
    authority = ClientAuthority(OWN, MemoryKeyFiles(), lambda: NOW * 1000)
    with pytest.raises(AuthenticationError) as caught:
        authority.issue(request_, "i|s", id=CLOCK.new_id(), issued=NOW, expires=NOW + 600)
    assert caught.value.code == "certificate"


def test_a_request_that_its_key_has_not_signed() -> None:
    """Somebody else's key is not to be had."""
    signed, other = (x509.load_pem_x509_csr(asked(ec.generate_private_key(ec.SECP256R1())).encode()) for _ in range(2))
    ours, theirs = (each.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    ) for each in (signed, other))  # fmt: skip
    swapped = signed.public_bytes(serialization.Encoding.DER).replace(ours, theirs)
    pem = "-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(swapped).decode() + "-----END CERTIFICATE REQUEST-----\n"
    authority = ClientAuthority(OWN, MemoryKeyFiles(), lambda: NOW * 1000)
    with pytest.raises(AuthenticationError, match="not signed by its own key"):
        authority.issue(pem, "i|s", id=CLOCK.new_id(), issued=NOW, expires=NOW + 600)


def test_only_its_own_are_known_again() -> None:
    """Not another gateway's, also under the same name or by the same key for another name; not one that has expired, is for
    servers, or is an authority's own; not bytes."""
    files = MemoryKeyFiles()
    at = [NOW]
    authority = ClientAuthority(OWN, files, lambda: at[0] * 1000)

    def made(by: ClientAuthority) -> bytes:
        return der(by.issue(asked(), "i|s", id=CLOCK.new_id(), issued=NOW, expires=NOW + 600)[0])

    sound = made(authority)
    assert ClientAuthority(OWN, files, lambda: NOW * 1000).read(sound) == authority.read(sound)

    def code(der_: bytes) -> str:
        with pytest.raises(AuthenticationError) as caught:
            authority.read(der_)
        return caught.value.code

    assert code(made(ClientAuthority(OWN, MemoryKeyFiles(), lambda: NOW * 1000))) == "certificate"
    assert code(made(ClientAuthority("https://other.test", files, lambda: NOW * 1000))) == "certificate"
    assert code(der(authority.pem())) == "certificate"
    assert code(b"") == code(b"\x30\x00") == code(sound[:-1]) == "certificate"
    for uses in ([ExtendedKeyUsageOID.SERVER_AUTH], None):
        assert code(like(authority, uses)) == "certificate"
    assert authority.read(like(authority, [ExtendedKeyUsageOID.CLIENT_AUTH])).identity == "i|s"
    at[0] = NOW + 600
    assert code(sound) == "expired"
    at[0] = NOW - 61
    assert code(sound) == "expired"


def like(authority: ClientAuthority, uses: list[x509.ObjectIdentifier] | None) -> bytes:
    """A certificate that the authority's key has signed, with these uses."""
    key, own = authority._current()
    start = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    builder = (
        x509.CertificateBuilder().subject_name(own.subject).issuer_name(own.subject).public_key(KEY.public_key())
        .serial_number(5).not_valid_before(start).not_valid_after(start + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"{OWN}/identities/i%7Cs")]), critical=False)
    )  # fmt: skip
    if uses is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_the_authoritys_keys_rotate() -> None:
    """What was signed by the one before is known; the next is there an hour before its time; older files are removed, and what
    is no key is said."""
    files = MemoryKeyFiles()
    at = [NOW // PERIOD * PERIOD + PERIOD - clients.SOON - 1]
    authority = ClientAuthority(OWN, files, lambda: at[0] * 1000)
    period = at[0] // PERIOD
    first = der(authority.issue(asked(), "i|s", id=CLOCK.new_id(), issued=at[0], expires=at[0] + 43200)[0])
    before = authority.pem()
    assert before.count("BEGIN") == 2
    at[0] += 1
    assert authority.pem().count("BEGIN") == 3
    assert before in authority.pem()
    at[0] += clients.SOON
    assert authority.read(first).identity == "i|s"
    assert files.names() == [f"clients-{period}.key", f"clients-{period + 1}.key"]
    at[0] += PERIOD
    with pytest.raises(AuthenticationError, match="not of this gateway"):
        authority.read(first)
    broken = MemoryKeyFiles()
    broken.keys[f"clients-{NOW // PERIOD}.key"] = b"x" * 32
    with pytest.raises(ConfigError, match="is not a key"):
        ClientAuthority(OWN, broken, lambda: NOW * 1000).pem()
