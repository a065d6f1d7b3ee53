"""`doorward log`: what is in the log, for somebody who was not there.

`status` and `stamp` ask a running gateway. `proof` reads a data directory and writes one small file a leaf; `check-proof` needs
that file and a trust policy, nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cyclopts import App

from doorward.adapters.blobs.evidence import DirectoryEvidence
from doorward.adapters.blobs.files import LocalKeyFiles, LocalRecordingFiles
from doorward.adapters.store.sql import SqlStore
from doorward.cli import output
from doorward.cli.gateway import HERE, Connection, GatewayClient
from doorward.cli.options import Json
from doorward.cli.output import RefusedError
from doorward.cli.verify import log_key, trust_policy
from doorward.config import load
from doorward.errors import ConfigError, IntegrityError
from doorward.guard.keyring import Keyring
from doorward.guard.reader import RecordReader
from doorward.ledger import leaf, tiles
from doorward.ledger.checkpoint import parse_text, split_note
from doorward.ledger.proof import MAX_FILE, check_proof, encode_proof
from doorward.ledger.tree import inclusion_proof
from doorward.ledger.trust import NONE, TrustPolicy

app = App(name="log", help="See how far the log is, have it stamped, and prove what is in it.")

app.command("doorward.cli.triage:triage_command", name="fork-triage", help="Show what everybody knows of the log.")

SUFFIX: Final = ".tlog-proof"
MOST: Final = 10_000  # proofs that one command writes
# Every event that names an approval in its body.
APPROVAL_EVENTS: Final = (
    "approval.requested", "approval.voted", "approval.vote_refused", "approval.parked", "approval.resumed", "approval.spent",
    "approval.expired", "approval.withdrawn", "operation.held", "break_glass.reviewed",
)  # fmt: skip
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@app.command(name="status")
def status_command(*, as_json: Json = False, connection: Connection = HERE) -> int:
    """Show how far the log is, its keys, and what witnesses and time stamp authorities have seen of it; with `administer`."""
    with GatewayClient(connection) as gateway:
        found = gateway.get("log")
    if as_json:
        output.print_json(found)
        return 0
    output.facts([
        ("origin", output.visible(found["origin"])), ("leaves", f"{found['size']:,}"), ("root", found["root"]),
        *(("key", output.visible(key)) for key in found["keys"]),
        ("witnessed", f"{found['witnessed']:,} leaves" if "witnessed" in found else "by nobody: ledger.witnesses is not set"),
        *(("witness", output.visible(f"{w['name']}  {w['wrong'] or 'ok'}")) for w in found["witnesses"]),
        ("overdue", output.visible(found.get("overdue", ""))),
        ("stamped", f"{found['stamped']:,} leaves at {output.moment(found['stamped_at'])}" if found.get("stamped_at") else ""),
    ])  # fmt: skip
    return 1 if found.get("overdue") else 0


@app.command(name="stamp")
def stamp_command(*, as_json: Json = False, connection: Connection = HERE) -> int:
    """Have the log stamped now by the time stamp authorities that are configured; with `administer`."""
    with GatewayClient(connection) as gateway:
        found = gateway.post("log", "stamp")
    if as_json:
        output.print_json(found)
    for each in [] if as_json else found:
        print(f"{each['size']:,} leaves at {output.moment(each['stamped_at'])} by {output.visible(each['authority'])}")
    return 0


@app.command(name="rotate-key")
def rotate_command(*, days: int = 7, as_json: Json = False, connection: Connection = HERE) -> int:
    """Have a fresh key sign the log from now on; with `administer`. Verifiers that believe the old key follow to the new one.

    Parameters
    ----------
    days
        How long the old key signs as well, so that witnesses can be told of the new one: 1 to 90.
    """
    with GatewayClient(connection) as gateway:
        found = gateway.post("log", "rotate-key", body={"days": days})
    if as_json:
        output.print_json(found)
        return 0
    print(output.visible(found["new"]))
    output.note(
        f"it signs from now on, and the old one beside it for {found['days']} days. Until then: give it to every witness "
        "(--log, beside the old one), put it into trust policies, and take a backup of keys/"
    )
    return 0


@app.command(name="proof")
def proof_command(
    what: str, /, *, data: Path | None = None, out: Path = Path(), as_json: Json = False, config: Path | None = None
) -> int:
    """Write proofs that leaves are in the log: one file a leaf, which anybody can check offline.

    Parameters
    ----------
    what
        A leaf's number, or the id of a session or of a request for approval: then all leaves about it.
    data
        The data directory, or a copy of it; for a request, one with its keys. Default: what the configuration says.
    out
        The directory to write to.
    config
        The configuration whose data directory to read. Default: doorward.toml.
    """
    if data is None:
        data = load(config or Path("doorward.toml")).gateway.data
    source = DirectoryEvidence(data)
    notes = list(_notes(source))
    if not notes:
        raise RefusedError(f"there is no log in {data}", hint="give the data directory, or a copy with log/ in it")
    if what.isdecimal():
        places = [int(what)]
    elif _UUID.fullmatch(what):
        places = asyncio.run(_about(data, what))
    else:
        raise ConfigError(
            f"{what} is neither a leaf's number nor an id", hint="give a number, a session's id or a request's id"
        )
    newest = max(size for size, _ in notes)
    places = [place for place in places if place < newest]
    if not places:
        raise RefusedError(f"no leaf of the log is about {what}", hint="the newest second is not in the log yet")
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for place in places[:MOST]:
        # The smaller of the two is witnessed, and says more; the other has the newest leaves.
        size, note = min((each for each in notes if each[0] > place), key=lambda each: each[0])
        entry = tiles.read_bundle(place // tiles.WIDTH, size, source.read)[place % tiles.WIDTH]
        hashes = inclusion_proof(place, size, tiles.TileNodes(size, source.read))
        path = out / f"{place}{SUFFIX}"
        path.write_bytes(encode_proof(place, hashes, note, entry))
        text, signatures = split_note(note)
        witnesses = sum(each.name != parse_text(text)[0] for each in signatures)
        written.append(
            {"leaf": place, "type": leaf.parse(entry).type, "size": size, "cosignatures": witnesses, "file": str(path)}
        )
    if as_json:
        output.print_json(written)
        return 0
    for each in written:
        said = f"{each['cosignatures']} cosignatures" if each["cosignatures"] else "not witnessed (yet)"
        print(f"{each['file']}: leaf {each['leaf']}, {each['type']}, in a log of {each['size']}, {said}")
    return 0


@app.command(name="check-proof")
def check_proof_command(
    *files: Path, policy: Path | None = None, vkey: str | None = None, as_json: Json = False
) -> int:
    """Check proofs offline: that each leaf is in a log that you believe. Exit code 0 if all hold, else 1.

    Parameters
    ----------
    files
        The files, as `doorward log proof` writes them.
    policy
        A trust policy (C2SP tlog-policy): the logs and witnesses that you believe, and how many witnesses it takes.
    vkey
        Or only the log's verifier key, or a file that holds it: then no witnesses are asked for.
    """
    if not files or (policy is None) == (vkey is None):
        raise ConfigError(
            "check-proof takes files, and --policy or --vkey",
            hint="doorward log check-proof 7.tlog-proof --policy FILE",
        )
    trust = TrustPolicy((), {}, {}, NONE) if policy is None else trust_policy(policy)
    more = [] if vkey is None else [log_key(vkey)]
    found, right = [], True
    for path in files:
        try:
            with path.open("rb") as file:
                proven = check_proof(file.read(MAX_FILE + 1), trust, more)
        except IntegrityError as error:
            right = False
            found.append({"file": str(path), "holds": False, "why": error.message})
            continue
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read ({error.strerror})", hint="give a file that `doorward log proof` wrote"
            ) from None
        seen = proven.witnessed
        found.append({
            "file": str(path), "holds": True, "origin": seen.checkpoint.origin, "size": seen.checkpoint.size,
            "leaf": proven.place, "type": proven.leaf.type, "at": proven.leaf.at, "session": proven.leaf.session or "",
            "witnesses": [{"name": each.witness.name, "at": each.at} for each in seen.cosignatures],
        })  # fmt: skip
    if as_json:
        output.print_json(found)
        return 0 if right else 1
    for each in found:
        name = output.visible(str(each["file"]))
        if not each["holds"]:
            print(f"NOT PROVEN {name}: {output.visible(str(each['why']))}")
            continue
        who = ", ".join(f"{w['name']} at {output.moment(w['at'] * 1000)}" for w in each["witnesses"])  # type: ignore[attr-defined]
        print(
            f"holds      {name}: leaf {each['leaf']} of {output.visible(str(each['origin']))} is {each['type']} of "
            f"{output.moment(int(str(each['at'])))}; {'seen by ' + output.visible(who) if who else 'no witness was asked for'}"
        )
    return 0 if right else 1


def _notes(source: DirectoryEvidence) -> Iterator[tuple[int, bytes]]:
    """The checkpoints that are published, with their sizes; a witnessed one comes first."""
    for path in ("witnessed", ""):
        with contextlib.suppress(FileNotFoundError):
            note = source.read(path) if path else source.checkpoint()
            yield parse_text(split_note(note)[0])[1], note


async def _about(data: Path, identifier: str) -> list[int]:
    """The leaves about a session, or about a request for approval."""
    if not (data / "store.sqlite").is_file():
        raise ConfigError(
            f"there is no store in {data} to look {identifier} up in",
            hint="give leaves by number, or the whole directory",
        )
    store = SqlStore(data / "store.sqlite")
    try:
        await store.open_to_read()
        found: list[int] = []
        after = -1
        while (page := await store.events(session_id=identifier, after=after)) and len(found) < MOST:
            found += [stored.index for stored in page]
            after = found[-1]
        if found or not (data / "keys" / "kek.key").is_file():
            return found
        reader = RecordReader(store, LocalRecordingFiles(data), Keyring(LocalKeyFiles(data)))
        return [
            each.index
            async for each in reader.events(types=APPROVAL_EVENTS)
            if each.event.body.get("approval") == identifier
        ]
    finally:
        await store.close()
