"""A real browser: Chromium, driven by playwright, with a virtual authenticator for passkeys.

`chromium` is one process for all tests of a file; `Person` is one browser context in it, signed in or not, that notes every
violation of a Content-Security-Policy, every error of a script and every dialog, so that a test can say that there was none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, Playwright, sync_playwright

PROGRAM = Path("/usr/bin/chromium")
WATCH = """
document.addEventListener('securitypolicyviolation', (e) => console.error(`CSP ${e.violatedDirective} ${e.blockedURI}`));
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One Chromium for all tests of a file. Not for more: while playwright waits, this thread counts as running an event loop,
    and no asynchronous test could run."""
    playwright: Playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=PROGRAM, args=["--no-sandbox", "--no-proxy-server", "--disable-background-networking"]
        )
        yield browser
        browser.close()


class Person:
    """Somebody at a browser of their own. `url` is the gateway's."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.context = browser.new_context(base_url=url, **options)
        self.context.set_default_timeout(15_000)
        self.context.add_init_script(WATCH)
        # Neither a gateway nor a test issuer is anywhere but here.
        self.context.route(lambda address: "//localhost" not in address and "//127.0.0.1" not in address, lambda r: r.abort())
        self.page = self.context.new_page()
        self.troubles: list[str] = []
        self.watch(self.page)

    def watch(self, page: Page) -> None:
        """Note what goes wrong in a page of the gateway's."""

        def note(what: str) -> None:
            if page.url.startswith(self.url):
                self.troubles.append(f"{page.url}: {what}")

        def asked(dialog: Dialog) -> None:
            note(f"dialog {dialog.message}")
            dialog.dismiss()

        page.on("console", lambda said: note(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: note(str(error)))
        page.on("dialog", asked)

    def sign_in(self, name: str, path: str = "/") -> None:
        """At the real issuer, from a page that needs it; ends on that page."""
        self.page.goto(path)
        self.page.click("text=Sign in at")
        self.log_in(name)
        self.page.wait_for_url(self.url + path)

    def log_in(self, name: str) -> None:
        """Where the issuer asks: who, and whether this client may."""
        for _ in range(4):
            self.page.wait_for_load_state()
            if self.page.url.startswith(self.url):
                return
            if self.page.locator("input[name=login]").count():
                self.page.fill("input[name=login]", name)
                self.page.fill("input[name=password]", "any")
            self.page.click("button[type=submit]")

    def passkeys(self) -> Any:
        """Give the page a virtual authenticator that verifies its user; the CDP session that has it."""
        session = self.context.new_cdp_session(self.page)
        session.send("WebAuthn.enable")
        session.send("WebAuthn.addVirtualAuthenticator", {"options": {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True,
        }})  # fmt: skip
        return session


@contextlib.contextmanager
def person(browser: Browser, url: str, **options: Any) -> Iterator[Person]:
    """Somebody, until the end of the block."""
    somebody = Person(browser, url, **options)
    try:
        yield somebody
    finally:
        somebody.context.close()
