"""What a session is called at the target: `doorward`, the session's id, and what its client calls itself.

Contract. The target's application_name begins with the mark whatever the client does: it is sent with the start-up message,
and each look at the session puts it back where SET, set_config, a role's setting or a function has taken it away
(`conversation.PROBE`), before anything else of the client's is judged. Within a transaction it is put back for that
transaction only, so that its end still does to the setting what the client asked for; after it, there is another look. The
client is told the name that it gave itself, in full, where the server would report it: the target keeps 63 bytes. What a
client reads of the setting by SQL (SHOW, pg_settings) is what the target holds, mark and all: what was judged is what runs.

Who may see pg_stat_activity or the server's log thereby finds the session, and by the session who acts, on whose behalf.
"""

from __future__ import annotations

from typing import Final

KEPT: Final = 63  # bytes: NAMEDATALEN - 1, which is what the server keeps of an application_name
_MOST: Final = 64  # names that are remembered in full
SETTING: Final = "application_name"


class SessionName:
    """The name of one session. `session`: its id; "" leaves the name to the client."""

    def __init__(self, session: str = "", client: str = "") -> None:
        self.mark = f"doorward {session}" if session else ""
        self.told: str | None = client  # the client's name, as it was last told; None: the client has been told nothing
        self.lacking = False  # the target has said that the mark is not there
        self._own = ("", client)
        self._full: dict[str, str] = {}

    @property
    def client(self) -> str:
        """What the client called itself when it came."""
        return self._own[1]

    @property
    def at_start(self) -> str:
        """What the start-up message says."""
        whole = f"{self.mark} {self.client}" if self.mark else self.client
        return whole.encode("utf-8", "replace")[:KEPT].decode("utf-8", "ignore").rstrip()

    def began(self, value: str) -> None:
        """The target's own words for `at_start`: it may spell what is not ASCII in another way."""
        self._own = (self._rest(value), self.client)

    def says(self, value: str) -> str | None:
        """The target reports its application_name: what to tell the client, None for nothing."""
        if not self.mark:
            return value
        if value == self.mark or value.startswith(self.mark + " "):
            self.lacking = False
            rest = self._rest(value)
            name = self.client if rest == self._own[0] else self._full.get(rest, rest)
        else:
            self.lacking = True
            name = value
            if len(self._full) >= _MOST:
                self._full.clear()
            self._full[self._rest(f"{self.mark} {value}"[:KEPT])] = value
        if name == self.told:
            return None
        self.told = name
        return name

    def _rest(self, value: str) -> str:
        return value[len(self.mark) :].strip()
