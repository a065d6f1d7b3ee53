"""What every answer tells browsers to forbid, whatever answers.

Contract: `protection` gives a hook that adds to each response what is missing of: a Content-Security-Policy that allows
nothing, no sniffing, no framing, no referrer, isolation from other origins, no powers of the device but passkeys, no caching
of what is private, and TLS for ever where there is TLS. A page has its own policy, `page_policy`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

NOTHING: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
CACHED: Final = "public, max-age=31536000, immutable"

_ALWAYS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"permissions-policy",
        b"publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), microphone=(), geolocation=(), "
        b"display-capture=(), usb=(), serial=(), hid=(), payment=(), clipboard-read=()",
    ),
    (b"content-security-policy", NOTHING.encode()),
    (b"cache-control", b"no-store"),
)


def page_policy(leave: str = "") -> str:
    """The Content-Security-Policy of a page. `leave`: where its sign-out form is sent on to."""
    parts = urlsplit(leave)
    elsewhere = f" {parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        f"form-action 'self'{elsewhere}; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    )


def protection(*, secure: bool) -> Callable[[Any, Any], Awaitable[None]]:
    """A hook of Litestar's that is called before each message is sent. `secure`: people get here over TLS."""
    wanted = _ALWAYS
    if secure:
        wanted += ((b"strict-transport-security", b"max-age=63072000; includeSubDomains"),)

    async def protect(message: Any, scope: Any) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *((name, value) for name, value in wanted if name not in there)]
            if nonce := scope.get("state", {}).get("dpop_nonce"):  # RFC 9449 section 8.2
                message["headers"].append((b"dpop-nonce", nonce.encode()))

    return protect
