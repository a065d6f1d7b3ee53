"""What `doorward doctor` finds on this machine: policy, data directory, keys, vault, secrets.

Each function tries one part and returns what it found; none raises for a fault that it is there to find.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from doorward import config as configuration
from doorward.adapters.secrets.sources import SecretSources
from doorward.adapters.secrets.vault import Vault
from doorward.config import Config, load_policies
from doorward.errors import ConfigError, DoorwardError
from doorward.model import Mode

LITTLE, TOO_LITTLE = 2 << 30, 200 << 20  # bytes free
SLOW_SYNC = 0.05  # seconds; each statement that waits for its record waits about this long
_PROBE = ".doctor"


class Verdict(StrEnum):
    """How something is: `fail` means that the gateway, or a part of it, cannot work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was tried, how it is, and what to do about it."""

    part: str
    verdict: Verdict
    text: str
    hint: str = ""

    def as_json(self) -> dict[str, str]:
        """For programs."""
        return {"part": self.part, "verdict": self.verdict.value, "text": self.text, "hint": self.hint}


def failed(part: str, error: DoorwardError) -> Finding:
    """An error as a finding."""
    return Finding(part, Verdict.FAIL, " ".join(error.message.split()), error.hint)


def policy(config: Config) -> list[Finding]:
    """Whether the policies load."""
    try:
        loaded = load_policies(config)
    except ConfigError as error:
        return [Finding("policy", Verdict.FAIL, line, error.hint) for line in error.message.splitlines()]
    files = len(configuration.read_policies(config))
    if not loaded.ids:
        hint = "write a permit, or begin with the one of `doorward init`"
        return [Finding("policy", Verdict.WARN, "no policy at all: everything is denied", hint)]
    return [Finding("policy", Verdict.OK, f"{len(loaded.ids)} policies in {files} file(s), hash {loaded.hash[:12]}")]


def data_directory(data: Path) -> list[Finding]:
    """Whether records can be written there, durably, and nobody else can read them."""
    part = "data"
    if not data.exists():
        return [Finding(part, Verdict.OK, f"{data} is not there yet; the gateway makes it at its first start")]
    findings = _permissions(data)
    probe = data / _PROBE
    try:
        began = time.monotonic()
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, b"\0" * 4096)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            probe.unlink()
        took = time.monotonic() - began
    except OSError as error:
        text = f"{data} cannot be written ({error.strerror}): nothing could be recorded, so nothing would run"
        return [*findings, Finding(part, Verdict.FAIL, text, "give it to the gateway's user, on a disk with room")]
    slow = took > SLOW_SYNC
    findings.append(Finding(
        part, Verdict.WARN if slow else Verdict.OK, f"{data}: written and synced in {took * 1000:.1f} ms",
        "a local SSD makes every statement faster; or `durability = \"batched\"` for plain reads" if slow else "",
    ))  # fmt: skip
    free = shutil.disk_usage(data).free
    verdict = Verdict.FAIL if free < TOO_LITTLE else Verdict.WARN if free < LITTLE else Verdict.OK
    hint = "" if verdict is Verdict.OK else "when the disk is full nothing can be recorded, so nothing runs: make room"
    findings.append(Finding("disk", verdict, f"{free / 2**30:.1f} GiB free", hint))
    return findings


def _permissions(data: Path) -> list[Finding]:
    findings = []
    for path in (
        data,
        *sorted((data / "keys").glob("*")),
        *(data / name for name in ("keys", "vault", "store.sqlite")),
    ):
        if not path.exists():
            continue
        status = path.stat()
        wanted = "700" if path.is_dir() else "600"
        if stat.S_IMODE(status.st_mode) & 0o077:
            text = f"{path} is open to others than its owner (mode {stat.S_IMODE(status.st_mode):04o})"
            findings.append(Finding("data", Verdict.FAIL, text, f"chmod {wanted} {path}"))
        elif status.st_uid != os.geteuid():
            text = f"{path} belongs to user {status.st_uid}, and this is user {os.geteuid()}"
            findings.append(Finding("data", Verdict.WARN, text, "run this, and the gateway, as the same user"))
    keys = [path.name for path in sorted((data / "keys").glob("*")) if path.is_file()]
    started = (data / "log" / "checkpoint").exists()
    if started and not keys:
        text = f"there is a record in {data} and no key in {data / 'keys'}: it cannot be continued, nor be read"
        findings.append(Finding("keys", Verdict.FAIL, text, "restore keys/ from where you keep it"))
    elif keys:
        findings.append(Finding("keys", Verdict.OK, f"{len(keys)} in {data / 'keys'}: keep a copy of them elsewhere"))
    return findings


def secrets(config: Config) -> list[Finding]:
    """Whether every secret that the configuration names is there, and the vault opens."""
    findings = []
    data = config.gateway.data
    if (data / "vault").exists():
        try:
            findings.append(Finding("vault", Verdict.OK, f"opens; {len(Vault(data).names())} secret(s)"))
        except DoorwardError as error:
            findings.append(failed("vault", error))
    sources = SecretSources(data)
    named = {f"target {target.name}": target.credential for target in config.targets.values()}
    named["masking.token_key"] = config.masking.token_key
    named |= {f"masking.vault.keys[{number}]": key for number, key in enumerate(config.masking.vault.keys)}
    named |= {f"notify {said.name}": reference for said in config.senders for reference in said.secrets}
    for part, reference in named.items():
        if reference is None:
            continue
        try:
            sources.get(reference)
        except DoorwardError as error:
            findings.append(failed(part, error))
        else:
            findings.append(Finding(part, Verdict.OK, f"secret {reference} is there"))
    for target in config.targets.values():
        if target.mode is Mode.OBSERVE:
            text = "OBSERVE MODE: nothing is refused, held or masked; it is only recorded"
            hint = 'mode = "enforce" once the records show what you expect'
            findings.append(Finding(f"target {target.name}", Verdict.WARN, text, hint))
        if not target.labels:
            text = "no column is labelled: only what detectors recognise is masked"
            findings.append(Finding(f"target {target.name}", Verdict.WARN, text, "label columns: [targets.labels]"))
    return findings
