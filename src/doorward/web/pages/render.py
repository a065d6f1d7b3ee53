"""HTML out of templates, and text that others wrote made fit for it.

Contract: everything in a template is escaped unless this file has made it; `seen` and `lines` make what was spelled, and what
looks like something else, stand out, and give the characters' names. Templates and static files are in the package; a static
file's name holds a hash of it, so that a browser may keep it for ever and never keeps an old one.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from doorward.model.visible import lasting, moment, named, pieces, visible

PART: Final = 160  # characters of a statement that must have been on screen together
_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_STATES: Final = {  # readable without colour
    "waiting": "◔", "parked": "‖", "approved": "✓", "spent": "●", "denied": "✕", "expired": "○", "withdrawn": "↩",
    "open": "●", "closed": "○", "recovered": "◌", "allowed": "✓", "refused": "✕", "observed": "◔",
}  # fmt: skip


@cache
def static() -> Mapping[str, tuple[str, bytes]]:
    """Every static file by the name that it is asked for: its type, and its bytes."""
    found = {}
    for entry in files("doorward.web").joinpath("static").iterdir():
        stem, dot, suffix = entry.name.rpartition(".")
        body = entry.read_bytes()
        name = f"{stem}.{hashlib.sha256(body).hexdigest()[:16]}{dot}{suffix}"
        found[name] = (_TYPES.get(f".{suffix}") or mimetypes.guess_type(entry.name)[0] or "application/octet-stream", body)
    return found


@cache
def _named(wanted: str) -> str:
    stem, dot, suffix = wanted.rpartition(".")
    [name] = [n for n in static() if n.startswith(f"{stem}.") and n.endswith(dot + suffix)]
    return f"/static/{name}"


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # a start of the gateway need not wait for it

    environment = Environment(
        loader=PackageLoader("doorward.web", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.globals.update(static=_named)
    environment.filters.update(
        seen=seen, statement=statement, moment=moment, iso=lambda at: moment(at).replace(" ", "T"), lasting=lasting, who=who,
        clock=clock,
        subject=lambda who: str(who).rpartition("|")[2], glyph=lambda state: _STATES.get(str(state), "·"),
        visible=lambda text: visible(str(text)),
    )  # fmt: skip
    return environment


def render(template: str, **shown: Any) -> str:
    """A page."""
    html: str = _environment().get_template(template).render(**shown)
    return html


def clock(at: int) -> str:
    """Unix ms as the time of a day, UTC."""
    return f"{moment(at)[11:19]}.{at % 1000:03}"


def seen(text: Any, *, lines: bool = False) -> Any:
    """Text that others wrote, for one place in a page."""
    from markupsafe import Markup

    return Markup("").join(_marked(str(text), lines=lines))


def _marked(text: str, *, lines: bool) -> Iterator[Any]:
    from markupsafe import Markup, escape

    for kind, run in pieces(text, lines=lines):
        if not kind:
            yield escape(run)
        elif kind == "alike":
            said = "; ".join(dict.fromkeys(named(character) for character in run[:20]))
            yield Markup('<mark class="alike" title="{}">{}</mark>').format(f"looks like something else: {said}", run)
        else:
            yield Markup('<mark class="spelled" title="{}">{}</mark>').format("not seen as itself, so it is spelled out", run)


def statement(text: Any) -> list[list[Any]]:
    """A statement's lines, each cut into parts short enough to be on any screen whole."""
    return [
        [seen(line[at : at + PART]) for at in range(0, len(line), PART)] or [seen("")]
        for line in str(text).split("\n")
    ]  # fmt: skip


def who(identity: Any) -> Any:
    """An identity's id, which is issuer|subject: the subject, and the issuer less loud."""
    from markupsafe import Markup

    issuer, bar, subject = str(identity).partition("|")
    if not bar:
        return Markup('<span class="who">{}</span>').format(seen(issuer))
    return Markup('<span class="who"><b>{}</b> <small>{}</small></span>').format(seen(subject), seen(issuer))
