"""TOML into dataclasses, with every complaint at once.

A section is a frozen dataclass whose fields are made by `setting`: each has a Kind, which turns a TOML value into a
Python one or says what is allowed, and a sentence of documentation. The reader walks both, so that the schema, the
check and the reference (`reference.py`) cannot differ.

Contract: `read` returns a whole section or appends one line to `wrong` for each fault, `file: key.path: what; allowed`.
Values are quoted in complaints only where the setting cannot hold a secret. It does no I/O except `os.path` questions.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from doorward.model import SecretRef, identifiers

SECRET_SCHEMES = ("env", "file", "vault")
# Keys under which people write secrets. None of them is a setting, and what they hold is never quoted.
FORBIDDEN = frozenset({
    "password", "passwd", "passphrase", "pwd", "pass", "token", "api_key", "apikey", "client_secret", "private_key",
    "secret_key", "dsn", "connection_string", "credential", "credentials",
})  # fmt: skip

NO_SECRETS = 'secrets are not written into the configuration; use secret = "vault:.." and `doorward secrets set`'

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

S = TypeVar("S")


class FaultError(Exception):
    """What is wrong with one value, in words that follow its key path."""


@dataclass(frozen=True)
class Kind:
    """How one kind of value is read. `allowed` says for people what it may be; `read` raises FaultError."""

    allowed: str
    read: Callable[[Any, Path], Any]
    section: type[Any] | None = None  # a table, or many of them
    many: bool = False


def setting(kind: Kind, doc: str, default: Any = MISSING) -> Any:
    """A field of a section. Without a default it must be written. Containers default to an empty one."""
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata={"kind": kind, "doc": doc})
    return field(default=default, metadata={"kind": kind, "doc": doc})


def _fault(value: Any, allowed: str) -> FaultError:
    shown = repr(value) if isinstance(value, str | int | float | bool) else f"a {type(value).__name__}"
    return FaultError(f"{shown[:80]} is not allowed; it must be {allowed}")


def text(allowed: str = "text", pattern: str = r"[^\x00-\x1f\x7f]{1,1024}") -> Kind:
    """A string that matches a pattern whole."""

    def read(value: Any, _: Path) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise _fault(value, allowed)
        return value

    return Kind(allowed, read)


def one_of(*choices: str) -> Kind:
    """One word out of a list."""
    allowed = "one of " + ", ".join(f'"{choice}"' for choice in choices)

    def read(value: Any, _: Path) -> str:
        if value not in choices:
            raise _fault(value, allowed)
        return str(value)

    return Kind(allowed, read)


def flag() -> Kind:
    """true or false."""

    def read(value: Any, _: Path) -> bool:
        if not isinstance(value, bool):
            raise _fault(value, "true or false")
        return value

    return Kind("true or false", read)


def whole(least: int, most: int) -> Kind:
    """A whole number within bounds."""
    allowed = f"a whole number from {least} to {most}"

    def read(value: Any, _: Path) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _fault(value, allowed)
        return value

    return Kind(allowed, read)


def duration(least: str, most: str) -> Kind:
    """A time, read as seconds: "30s", "15m", "8h", "7d", or 0."""
    allowed = f'a time from "{least}" to "{most}" (s, m, h, d)'
    low, high = _measure(least, _UNITS), _measure(most, _UNITS)

    def read(value: Any, _: Path) -> int:
        seconds = _measure(value, _UNITS) if isinstance(value, str) else None
        if seconds is None or low is None or high is None or not low <= seconds <= high:
            raise _fault(value, allowed)
        return seconds

    return Kind(allowed, read)


def size(least: str, most: str) -> Kind:
    """A number of bytes: "64KiB", "1MiB", "4096"."""
    allowed = f'a size from "{least}" to "{most}" (KiB, MiB, GiB)'
    low, high = _measure(least, _SIZES), _measure(most, _SIZES)

    def read(value: Any, _: Path) -> int:
        count = _measure(value, _SIZES) if isinstance(value, str) else None
        if count is None or low is None or high is None or not low <= count <= high:
            raise _fault(value, allowed)
        return count

    return Kind(allowed, read)


def _measure(value: str, units: Mapping[str, int]) -> int | None:
    match = re.fullmatch(r"([0-9]{1,10}) ?([A-Za-z]*)", value)
    if match is None or match[2] not in units:
        return None
    return int(match[1]) * units[match[2]]


def file() -> Kind:
    """A file that exists, relative to the configuration file."""

    def read(value: Any, base: Path) -> Path:
        if not isinstance(value, str) or not value or "\x00" in value:
            raise _fault(value, "the path of a file")
        path = base / value
        if not path.is_file():
            raise FaultError(f"there is no file {path}")
        return path

    return Kind("the path of a file, relative to this configuration", read)


def new_file() -> Kind:
    """A file that need not exist yet, in a directory that does."""

    def read(value: Any, base: Path) -> Path:
        if not isinstance(value, str) or not value or "\x00" in value:
            raise _fault(value, "the path of a file")
        path = base / value
        if path.is_dir() or not path.parent.is_dir():
            raise FaultError(f"there can be no file {path}: its directory is not there, or it is one itself")
        return path

    return Kind("the path of a file, which need not exist yet, relative to this configuration", read)


def directory() -> Kind:
    """A directory, relative to the configuration file; it need not exist yet."""

    def read(value: Any, base: Path) -> Path:
        if not isinstance(value, str) or not value or "\x00" in value:
            raise _fault(value, "the path of a directory")
        path = base / value
        if path.exists() and not path.is_dir():
            raise FaultError(f"{path} is not a directory")
        return path

    return Kind("the path of a directory, relative to this configuration", read)


def address() -> Kind:
    """An IP address to listen on."""

    def read(value: Any, _: Path) -> str:
        if value == "localhost":
            return "127.0.0.1"
        try:
            if isinstance(value, str):
                return str(ipaddress.ip_address(value))
        except ValueError:
            pass
        raise _fault(value, allowed)

    allowed = 'an IP address, as in "127.0.0.1" or "::"'
    return Kind(allowed, read)


def secret() -> Kind:
    """Where a secret is. The value is never quoted: people write the secret itself here."""
    allowed = "where the secret is: " + ", ".join(f'"{scheme}:.."' for scheme in SECRET_SCHEMES)

    def read(value: Any, base: Path) -> SecretRef:
        scheme, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
        if scheme not in SECRET_SCHEMES or not name or not name.isprintable() or len(name) > 1024:
            raise FaultError(f'this is not a place; write {allowed}, and store it with `doorward secrets set`')
        return SecretRef(scheme, str(base / name) if scheme == "file" else name)

    return Kind(allowed, read)


def column() -> Kind:
    """A column by its full name, read without quotes: `public."Big".ssn` is the column ssn of the table Big. Left as
    written, it would be the name of no column, and what is in it would be shown."""
    allowed = 'a column: "schema.table.column", as in the catalogue'

    def read(value: Any, _: Path) -> str:
        try:
            names = identifiers(value) if isinstance(value, str) and value.isprintable() else ()
        except ValueError:
            names = ()
        if len(names) != 3 or any(name != name.strip() for name in names):
            raise _fault(value, allowed)
        return ".".join(names)

    return Kind(allowed, read)


def list_of(kind: Kind, least: int = 0, most: int = 1000) -> Kind:
    """Several of one kind, read as a tuple."""

    def read(value: Any, base: Path) -> tuple[Any, ...]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise _fault(value, allowed)
        return tuple(kind.read(item, base) for item in value)

    allowed = f"a list, each {kind.allowed}"
    return Kind(allowed, read)


def one_or_list(kind: Kind) -> Kind:
    """One, or a list of them; read as a tuple."""
    listed = list_of(kind, least=1)

    def read(value: Any, base: Path) -> tuple[Any, ...]:
        return tuple(listed.read(value, base)) if isinstance(value, list) else (kind.read(value, base),)

    return Kind(f"{kind.allowed}, or a list of such", read)


def table_of(kind: Kind, keys: Kind, most: int = 10_000) -> Kind:
    """Any keys of one kind to values of another."""

    def read(value: Any, base: Path) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > most:
            raise _fault(value, allowed)
        found: dict[str, Any] = {}
        for key, item in value.items():
            if isinstance(item, dict):
                raise FaultError(f'{key!r} is a table; a key with dots must be quoted, as in "public.customers.ssn"')
            if key.lower() in FORBIDDEN:
                raise FaultError(f"{key!r}: {NO_SECRETS}")
            name = keys.read(key, base)
            if name in found:
                raise FaultError(f"{key!r} is there twice, written differently")
            try:
                found[name] = kind.read(item, base)
            except FaultError as fault:
                raise FaultError(f"{key!r}: {fault}") from None
        return found

    allowed = f"a table; keys: {keys.allowed}; values: {kind.allowed}"
    return Kind(allowed, read)


def section(cls: type[Any]) -> Kind:
    """A table with settings of its own."""
    return Kind("a table", lambda value, base: value, section=cls)


def sections(cls: type[Any]) -> Kind:
    """Any number of such tables, `[[like.this]]`."""
    return Kind("tables", lambda value, base: value, section=cls, many=True)


def read(cls: type[S], table: Any, base: Path, path: str, wrong: list[str]) -> S | None:
    """One section out of a TOML table. Faults go into `wrong`; None if there was one that leaves nothing to return."""
    if not isinstance(table, dict):
        wrong.append(f"{path}: it must be a table, as in [{path}]")
        return None
    before = len(wrong)
    # A setting that is a word of Python's (`in`) is a field with an underscore after it.
    known: dict[str, Field[Any]] = {f.name.rstrip("_"): f for f in fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            wrong.append(f"{_join(path, key)}: {_unknown(key, known)}")
    values: dict[str, Any] = {}
    for name, spec in known.items():
        kind: Kind = spec.metadata["kind"]
        where = _join(path, name)
        if kind.section is not None:
            value = _read_sections(kind, table.get(name), base, where, wrong, required=spec.default is MISSING)
            if value is not None:
                values[spec.name] = value
        elif name in table:
            try:
                values[spec.name] = kind.read(table[name], base)
            except FaultError as fault:
                wrong.append(f"{where}: {fault}")
        elif spec.default is MISSING and spec.default_factory is MISSING:
            wrong.append(f"{where}: it is missing; write {kind.allowed}")
    return cls(**values) if len(wrong) == before else None


def _read_sections(kind: Kind, found: Any, base: Path, where: str, wrong: list[str], *, required: bool) -> Any:
    cls = kind.section
    if cls is None:
        raise TypeError(where)
    if not kind.many:
        if found is None and not required:
            return None
        return read(cls, found if found is not None else {}, base, where, wrong)
    if found is None:
        if required:
            wrong.append(f"{where}: there is none; write at least one [[{where}]]")
        return None if required else ()
    if not isinstance(found, list):
        wrong.append(f"{where}: write it as [[{where}]], with two brackets")
        return None
    items = []
    for number, item in enumerate(found):
        label = item.get("name") if isinstance(item, dict) else None
        here = f"{where}.{label}" if isinstance(label, str) and label.isprintable() else f"{where}[{number}]"
        items.append(read(cls, item, base, here, wrong))
    return tuple(item for item in items if item is not None)


def _unknown(key: str, known: Mapping[str, Any]) -> str:
    if key.lower() in FORBIDDEN:
        return NO_SECRETS
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"there is no such setting; {f'did you mean {near[0]!r}?' if near else 'known here: ' + ', '.join(known)}"


def _join(path: str, key: str) -> str:
    shown = key if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key) else repr(key[:64])
    return f"{path}.{shown}" if path else shown


def no_more(faults: Sequence[str], most: int = 50) -> list[str]:
    """The first faults, and how many there are besides."""
    return list(faults[:most]) + ([f"and {len(faults) - most} more"] if len(faults) > most else [])
