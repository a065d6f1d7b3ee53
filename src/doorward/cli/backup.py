"""`doorward backup` and `doorward restore`: a data directory into one encrypted file, and back.

A restore says yes only when everything that came back has been checked: each file against the manifest, the log and every
recording as `doorward verify` does, and the key ring, of which every month that the log says was made must be there.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from doorward.adapters.blobs import backup as backups
from doorward.adapters.blobs.evidence import DirectoryEvidence
from doorward.adapters.blobs.files import LocalKeyFiles, LocalRecordingFiles
from doorward.adapters.clock import SystemClock
from doorward.adapters.store.sql import SqlStore
from doorward.cli import output
from doorward.cli.options import Json
from doorward.cli.output import RefusedError
from doorward.config import load, read_policies
from doorward.errors import ConfigError, IntegrityError
from doorward.guard.keyring import Keyring, epoch_of
from doorward.guard.reader import RecordReader
from doorward.guard.retention import lost_epochs
from doorward.ledger.checkpoint import NoteVerifier, open_checkpoint
from doorward.ledger.verify import Status, verify

MOST_KEY: Final = 64 * 1024  # bytes of a file of identities, or of a passphrase
SHORTEST: Final = 12  # characters of a passphrase


def backup_command(
    out: Path,
    /,
    *,
    recipient: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    passphrase_file: Path | None = None,
    as_json: Json = False,
    config: Path | None = None,
) -> int:
    """Back up store, log, recordings, keys, configuration and policies into one encrypted file. The gateway may run.

    Parameters
    ----------
    out
        The file to make.
    recipient
        An age recipient (age1...) who may read it. May be repeated.
    passphrase_file
        A file with a passphrase, instead. The key that it opens is put beside the backup, as OUT.key.
    as_json
        Print JSON.
    config
        The configuration whose data directory to back up. Default: doorward.toml.
    """
    import pyrage

    if bool(recipient) == (passphrase_file is not None):
        raise ConfigError("a backup is for recipients, or for a passphrase", hint="give --recipient, or --passphrase-file")
    found = load(config or Path("doorward.toml"))
    key = out.with_name(out.name + ".key")
    recipients: list[Any]
    if passphrase_file is not None:
        if key.exists():
            raise ConfigError(f"{key} is there already", hint="give a name that is not")
        identity = pyrage.x25519.Identity.generate()
        recipients = [identity.to_public()]
        sealed = pyrage.passphrase.encrypt(f"{identity}\n".encode(), _passphrase(passphrase_file))
    else:
        recipients = [_recipient(each) for each in recipient]
    clock = SystemClock()
    made, files = backups.write(
        found.gateway.data, out, recipients, id_=clock.new_id(), now=clock.now(), config=_config(found)
    )
    if passphrase_file is not None:
        with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as sink:
            sink.write(sealed)
            sink.flush()
            os.fsync(sink.fileno())
    shown = {
        "backup": made.id, "file": str(out), "bytes": out.stat().st_size, "files": files, "origin": made.origin,
        "size": made.size, "root": made.root, "made_at": made.made_at,
    }  # fmt: skip
    if as_json:
        output.print_json(shown)
    else:
        output.facts([
            ("backup", made.id), ("file", f"{out}, {shown['bytes']:,} bytes, {files:,} files in it"),
            ("up to", f"{output.visible(made.origin)}, {made.size:,} leaves, {made.root}"),
            ("key", f"{key}, which the passphrase opens: keep it with the backup" if passphrase_file else ""),
        ])  # fmt: skip
    return 0


def restore_command(
    file: Path | None = None,
    /,
    *,
    data: Path,
    identity: Path | None = None,
    passphrase_file: Path | None = None,
    vkey: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    declare: str = "",
    latest: Path | None = None,
    as_json: Json = False,
) -> int:
    """Restore a backup into a data directory that is not there yet, and check everything in it. A gateway starts from it only
    when somebody has said why it may: what came after the backup is lost.

    Parameters
    ----------
    file
        The backup. Without one, only declare what was restored before.
    data
        The data directory to make.
    identity
        A file with an age identity (AGE-SECRET-KEY-1...) of a recipient.
    passphrase_file
        A file with the passphrase of a backup that was made with one.
    vkey
        The log's verifier key as its owner published it. Without it, the key in the backup is used, which shows that it fits
        together, not whose it is.
    declare
        Why a gateway may go on from this backup, for the record.
    latest
        The newest checkpoint that was kept elsewhere: how much is lost goes on record.
    as_json
        Print JSON.
    """
    if file is None:
        if not declare:
            raise ConfigError("there is nothing to restore", hint="give the backup, or --declare REASON")
        said = backups.marked(data)
        if said is None:
            raise RefusedError(f"{data} was not restored, or that is on record already")
    else:
        said = _restored(file, data, identity, passphrase_file, vkey)
    if declare:
        if not declare.isprintable() or len(declare) > 1000:
            raise ConfigError("--declare is a sentence of at most 1,000 characters")
        said |= {"reason": declare, "by": f"{os.getuid()}", "lost": _lost(data, latest, said)}
        backups.mark(data, said)
    if as_json:
        output.print_json(said)
    else:
        output.facts([
            ("restored", str(data)), ("from", f"{said['backup']}, made {output.moment(said['made_at'])}"),
            ("up to", f"{said['size']:,} leaves, {said['root']}"),
            ("lost keys", ", ".join(said["lost_epochs"])),
            ("lost", "" if said.get("lost") is None else f"{said['lost']:,} leaves that came after"),
        ])  # fmt: skip
        if said["lost_epochs"]:
            output.note("what was sealed under a lost key cannot be read, in this copy or any other")
        if not declare:
            output.note(f"a gateway does not start from it until you say why: doorward restore --data {data} --declare REASON")
    return 1 if said["lost_epochs"] else 0


def _restored(
    file: Path, data: Path, identity: Path | None, passphrase_file: Path | None, vkey: str | None
) -> dict[str, Any]:
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise ConfigError(f"{data} is not empty", hint="restore into a directory that is not there yet")
    work = data.with_name(data.name + ".restoring")
    if work.exists():
        shutil.rmtree(work)  # of a restore that died: nothing has used it
    try:
        made = backups.read(file, _identities(file, identity, passphrase_file), work)
        lost = _checked(work, made, vkey)
        said: dict[str, Any] = {
            "backup": made.id, "made_at": made.made_at, "origin": made.origin, "size": made.size, "root": made.root,
            "restored_at": int(time.time() * 1000), "lost_epochs": lost,
        }  # fmt: skip
        # Before it has its name: a directory that was restored is never without it.
        backups.mark(work, said)
        if data.exists():
            data.rmdir()
        work.rename(data)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return said


def _checked(data: Path, made: backups.Backup, vkey: str | None) -> list[str]:
    """The epochs whose keys are not in it. IntegrityError unless all else is whole."""
    source = DirectoryEvidence(data)
    try:
        key = NoteVerifier(vkey.strip() if vkey is not None else source.vkey() or "")
    except IntegrityError as error:
        raise ConfigError(f"--vkey: {error.message}" if vkey else "there is no verifier key in the backup") from None
    report = verify(source, [key])
    if report.status is not Status.SOUND:
        spot = (report.faults or report.gaps)[0]
        raise IntegrityError(f"what came back is not sound: {spot}", spot=spot.file)
    if report.checkpoint is None or (report.checkpoint.size, report.checkpoint.root.hex()) != (made.size, made.root):
        raise IntegrityError("its log is not the one that it says it has", spot="log/checkpoint")
    return asyncio.run(_keys(data, made))


async def _keys(data: Path, made: backups.Backup) -> list[str]:
    for name in ("wal.key", "kek.key", "log.key"):
        if not (data / "keys" / name).is_file():
            raise IntegrityError(f"keys/{name} is not in it", spot=f"keys/{name}")
    store, ring = SqlStore(data / backups.STORE), Keyring(LocalKeyFiles(data))
    await store.open()
    try:
        head = await store.head()
        if head is None or (head.size, head.root.hex()) != (made.size, made.root):
            raise IntegrityError("its store is not of the same moment as its log", spot=backups.STORE)
        reader = RecordReader(store, LocalRecordingFiles(data), ring)
        async for _ in reader.events():
            pass  # each opens, or its key is gone
        before = ""
        while page := await store.sessions(before=before, limit=1000):
            before = page[-1].id
            for row in page:
                wrapped = await store.wrapped_key(row.id)
                if wrapped is None:
                    raise IntegrityError("a session's key is not in it", spot=f"session {row.id}")
                if ring.unwrap(row.id, wrapped) is None and not epoch_of(wrapped):
                    raise IntegrityError("a session's key does not open", spot=f"session {row.id}")
        return sorted(await lost_epochs(reader, ring))
    finally:
        await store.close()


def _lost(data: Path, latest: Path | None, said: dict[str, Any]) -> int | None:
    if latest is None:
        return None
    try:
        key = NoteVerifier(DirectoryEvidence(data).vkey() or "")
        kept = open_checkpoint(latest.read_bytes(), [key])
    except OSError as error:
        raise ConfigError(f"{latest} cannot be read ({error.strerror})") from None
    return max(0, kept.size - int(said["size"]))


def _config(found: Any) -> Iterator[tuple[str, Path]]:
    yield "doorward.toml", found.path
    base = found.path.parent
    for name in read_policies(found):
        path = Path(name)
        yield (name if not path.is_absolute() and ".." not in path.parts else f"policies/{path.name}"), base / path


def _recipient(text: str) -> Any:
    import pyrage

    try:
        return pyrage.x25519.Recipient.from_str(text.strip())
    except pyrage.RecipientError:
        raise ConfigError(f"--recipient {text[:80]}: this is no age recipient", hint="make a key: age-keygen") from None


def _identities(file: Path, identity: Path | None, passphrase_file: Path | None) -> list[Any]:
    import pyrage

    if (identity is None) == (passphrase_file is None):
        raise ConfigError("a backup is opened by an identity, or by a passphrase", hint="give --identity, or --passphrase-file")
    if identity is not None:
        text = _small(identity).decode("utf-8", "replace")
    else:
        assert passphrase_file is not None
        try:
            opened: bytes = pyrage.passphrase.decrypt(
                _small(file.with_name(file.name + ".key")), _passphrase(passphrase_file)
            )
        except pyrage.DecryptError:
            raise RefusedError("that is not its passphrase", hint="try another") from None
        text = opened.decode()
    try:
        found = [
            pyrage.x25519.Identity.from_str(line.strip()) for line in text.splitlines()
            if line.strip() and not line.startswith("#")
        ]  # fmt: skip
    except pyrage.IdentityError:
        found = []
    if not found:
        raise ConfigError("there is no age identity in it", hint="give the file that age-keygen made")
    return found


def _passphrase(path: Path) -> str:
    found = _small(path).decode("utf-8", "replace").strip("\r\n")
    if len(found) < SHORTEST:
        raise ConfigError(f"the passphrase in {path} is shorter than {SHORTEST} characters", hint="take a longer one")
    return found


def _small(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            found = file.read(MOST_KEY + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})", hint="give a file that can") from None
    if len(found) > MOST_KEY:
        raise ConfigError(f"{path} is longer than {MOST_KEY} bytes")
    return found


