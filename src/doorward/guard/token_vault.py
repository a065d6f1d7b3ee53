"""The token vault: what tokens stand for, kept sealed, so that people who may can have it back (`guard.reveals`).

Contract: `keep` is called for each value that becomes a token, in the middle of masking, and waits for nothing; `owed` says up
to which position what was masked since the last call has to be kept, and `wait` when it is. Whoever masks sends nothing of
that chunk before: **a token that somebody saw is in the vault**, whatever becomes of us then. Where it cannot be kept (the
store fails, is full, or is too slow) the future ends in UpstreamError, and the chunk is not sent.

A token is written once a day and target; what is known to be written costs a look into a table. Kept is, for each target and
token, the value under AES-256-GCM with a key that is derived from one of `masking.vault.keys` and the day, bound to target,
label, token and key. The *epoch* names the key and is derived from it. The first key seals; what others sealed is sealed anew
in the background. Values are padded, so that their lengths say little. Entries that no longer are shown expire.

One a gateway, in its event loop. Only one gateway at a time uses a store. It deliberately does not know who may reveal.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from doorward.errors import ConfigError, DoorwardError, IntegrityError, UpstreamError
from doorward.guard.ports import Clock
from doorward.guard.recorder import Recorder
from doorward.guard.stores import KeptCount, KeptToken, VaultStore
from doorward.masking.transforms import Keep

DAY: Final = 86_400_000  # milliseconds
LONGEST: Final = 4096  # bytes of a value that is kept
PENDING: Final = 64 << 20  # bytes that may wait to be written
BATCH: Final = 5000  # tokens of one transaction
KNOWN: Final = 1 << 17  # tokens remembered as written today
SECONDS: Final = 20.0  # that writing one batch may take
TIDY: Final = 3600.0  # seconds after which somebody looks for what has expired
AGAIN: Final = 60.0  # and after which it is tried again, where that failed
RESEALED: Final = 500  # tokens that are sealed anew in one go
_NONCE: Final = 12
_PADDED: Final = 32


class Sealing:
    """The keys of the vault: the first seals, all of them open. ConfigError for one that is too short."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._roots: dict[str, bytes] = {}
        self._ciphers: dict[tuple[str, int], AESGCM] = {}
        for key in keys:
            if len(key) < 32:
                raise ConfigError("masking.vault.keys: a key is shorter than 32 bytes", hint="openssl rand -hex 32")
            self._roots.setdefault(_derived(key, 8, "epoch").hex(), key)
        self.epochs = tuple(self._roots)

    @property
    def epoch(self) -> str:
        """The key that seals."""
        return self.epochs[0]

    def seal(self, target: str, label: str, token: str, day: int, value: bytes) -> KeptToken:
        """A row of the store."""
        nonce = secrets.token_bytes(_NONCE)
        padded = len(value).to_bytes(2, "big") + value
        padded += bytes(-len(padded) % _PADDED)
        said = _bound(target, label, token, self.epoch)
        return KeptToken(
            target, token, label, self.epoch, day, nonce + self._cipher(self.epoch, day).encrypt(nonce, padded, said)
        )

    def open(self, kept: KeptToken) -> bytes:
        """The value. KeyError: it was sealed under a key that is not here. IntegrityError: it is not what was sealed."""
        if kept.epoch not in self._roots:
            raise KeyError(kept.epoch)
        said = _bound(kept.target, kept.label, kept.token, kept.epoch)
        try:
            opened = self._cipher(kept.epoch, kept.day).decrypt(kept.sealed[:_NONCE], kept.sealed[_NONCE:], said)
        except (InvalidTag, ValueError):
            raise IntegrityError("an entry of the token vault does not open", spot=f"vault: {kept.token}") from None
        return opened[2 : 2 + int.from_bytes(opened[:2], "big")]

    def _cipher(self, epoch: str, day: int) -> AESGCM:
        """Random nonces of 96 bits are good for 2^32 seals of one key (NIST SP 800-38D, 8.3): each day has its own."""
        found = self._ciphers.get((epoch, day))
        if found is None:
            if len(self._ciphers) >= 64:
                self._ciphers.clear()
            found = self._ciphers[epoch, day] = AESGCM(_derived(self._roots[epoch], 32, f"seal\0{day}"))
        return found


def _derived(key: bytes, length: int, purpose: str) -> bytes:
    return HKDF(SHA256(), length, None, f"doorward/vault/v1\0{purpose}".encode()).derive(key)


def _bound(target: str, label: str, token: str, epoch: str) -> bytes:
    return "\0".join(("doorward/vault/v1", target, label, token, epoch)).encode()


class _Shown(NamedTuple):
    """A value that became a token and is not written yet."""

    position: int
    target: str
    label: str
    token: str
    day: int
    value: bytes


class TokenVault:
    """See the module. `retention`: days that a token is kept after it was last shown; `most`: tokens that are kept."""

    def __init__(
        self,
        store: VaultStore,
        recorder: Recorder,
        clock: Clock,
        keys: Sequence[bytes],
        *,
        retention: int,
        most: int,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._clock = clock
        self._sealing = Sealing(keys)
        self._retention = retention
        self._most = most
        self._kept = 0  # tokens in the store, at most
        self._day = 0
        self._known: dict[str, None] = {}  # what is written today, oldest first
        self._pending: dict[str, int] = {}  # what is not, and its position
        self._queue: deque[_Shown] = deque()
        self._size = 0  # bytes of values in it
        self._position = 0
        self._durable = 0
        self._owed = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._something = asyncio.Event()
        self._turn = asyncio.Lock()
        self._stopped = False

    # While masking --------------------------------------------------------------------------------------------------

    def keeper(self, target: str) -> Keep:
        """What the transforms of a target tell of each value that becomes a token."""
        return lambda label, token, text: self.keep(target, label, token, text)

    def keep(self, target: str, label: str, token: str, text: str) -> bool:
        """Whether a value can be kept, and then it will be. OverflowError: too many wait."""
        value = text.encode("utf-8", "surrogatepass")
        if len(value) > LONGEST:
            return False
        day = self._clock.now() // DAY
        if day != self._day:
            self._day = day
            self._known.clear()
        key = f"{target}\0{token}"
        if key in self._known:
            return True
        position = self._pending.get(key)
        if position is None:
            self._size += len(value) + 256
            if self._size > PENDING:
                raise OverflowError("too many tokens wait to be kept")
            self._position = position = self._position + 1
            self._pending[key] = position
            self._queue.append(_Shown(position, target, label, token, day, value))
        self._owed = max(self._owed, position)
        return True

    def owed(self) -> int:
        """The position up to which what was masked since the last call has to be kept; 0: nothing of it."""
        owed, self._owed = self._owed, 0
        return owed

    def wait(self, position: int) -> asyncio.Future[None] | None:
        """None: kept already. Else a future that ends when it is, or in UpstreamError."""
        if position <= self._durable:
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((position, future))
        self._something.set()
        if self._stopped:
            self._fail("the gateway is stopping")
        return future

    # Behind it ------------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Count what is kept."""
        self._kept = sum(count.tokens for count in await self._store.kept_counts())

    async def run(self) -> None:
        """Write down what is shown, and look after what is kept. Ends when it is cancelled."""
        due = self._clock.monotonic()
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, due - self._clock.monotonic())):
                        await self._something.wait()
                self._something.clear()
                while self._queue:
                    await self._flush()
                if self._clock.monotonic() >= due:
                    try:
                        more = await self.tidy()
                    except DoorwardError:
                        due = self._clock.monotonic() + AGAIN  # what should have gone is not revealed meanwhile
                    else:
                        due = self._clock.monotonic() + (0.0 if more else TIDY)
        finally:
            self._stopped = True
            self._fail("the gateway is stopping")

    async def _flush(self) -> None:
        async with self._turn:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            try:
                async with asyncio.timeout(SECONDS):
                    await self._make_room(len(batch))
                    await self._store.keep_tokens(await asyncio.to_thread(self._sealed, batch))
            except TimeoutError:
                self._fail(f"the store did not answer within {SECONDS:g} s")
                return
            except Exception as error:  # whatever it is, none of these tokens is kept
                self._fail(error.message if isinstance(error, DoorwardError) else type(error).__name__)
                return
        for shown in batch:
            key = f"{shown.target}\0{shown.token}"
            self._pending.pop(key, None)
            self._size -= len(shown.value) + 256
            if shown.day == self._day:
                self._known[key] = None
        if len(self._known) > KNOWN:  # the older half; one by one would cost a walk over the gaps each time
            self._known = dict.fromkeys(islice(self._known, KNOWN // 2, None))
        self._durable = batch[-1].position
        waiting, self._waiters = self._waiters, []
        for position, future in waiting:
            if position > self._durable:
                self._waiters.append((position, future))
            elif not future.done():
                future.set_result(None)

    def _sealed(self, batch: Sequence[_Shown]) -> list[KeptToken]:
        return [self._sealing.seal(each.target, each.label, each.token, each.day, each.value) for each in batch]

    async def _make_room(self, more: int) -> None:
        """What is shown again is counted again, until there seem to be too many: then by the store."""
        if self._kept + more > self._most:
            await self.load()
            if self._kept + more > self._most:
                raise UpstreamError(f"it is full: {self._kept} tokens are kept, and {self._most} may be")
        self._kept += more

    def _fail(self, why: str) -> None:
        """Nothing of what waits is kept, and nothing of it may be sent."""
        self._queue.clear()
        self._pending.clear()
        self._size = 0
        self._durable = self._position
        waiting, self._waiters = self._waiters, []
        for _, future in waiting:
            if not future.done():
                future.set_exception(UpstreamError(f"the token vault could not keep what it must: {why}"))
                future.exception()  # nobody may be left to ask

    async def tidy(self) -> bool:
        """Erase what has expired, and seal anew some of what another key sealed; whether there is more. DoorwardError."""
        async with self._turn:
            before = self._expired()
            if any(count.first < before for count in await self._store.kept_counts()):
                # Should we die between these two, the next hour says it again.
                await self._recorder.event("token.expired", {"before": before * DAY, "days": self._retention})
                await self._store.expire_tokens(before)
                self._known.clear()
            others = self._sealing.epochs[1:]
            old = await self._store.kept_under(others, RESEALED) if others else []
            fresh = await asyncio.to_thread(self._resealed, old)
            if fresh:
                await self._store.keep_tokens(fresh)
                if len(old) < RESEALED:
                    await self._recorder.event("token.resealed", {"epoch": self._sealing.epoch, "old": list(others)})
        return len(fresh) == RESEALED

    def _expired(self) -> int:
        """The Unix day before which what was last shown is not kept."""
        return self._clock.now() // DAY - self._retention

    def _resealed(self, old: Sequence[KeptToken]) -> list[KeptToken]:
        fresh = []
        for kept in old:
            with suppress(IntegrityError):  # it opens under no key, and stays for whoever wants to know why
                value = self._sealing.open(kept)
                fresh.append(self._sealing.seal(kept.target, kept.label, kept.token, kept.day, value))
        return fresh

    # For people -----------------------------------------------------------------------------------------------------

    async def find(self, target: str, token: str) -> KeptToken | None:
        """The entry of a token that has not expired."""
        kept = await self._store.kept_token(target, token)
        return None if kept is None or kept.day < self._expired() else kept

    def open(self, kept: KeptToken) -> str:
        """What a token stands for. KeyError and IntegrityError as in `Sealing.open`."""
        return self._sealing.open(kept).decode("utf-8", "surrogatepass")

    async def counts(self, target: str) -> list[KeptCount]:
        """What is kept of a target."""
        return await self._store.kept_counts(target)

    @property
    def epochs(self) -> tuple[str, ...]:
        """The keys that are there; the first seals."""
        return self._sealing.epochs

    @property
    def retention(self) -> int:
        """Days."""
        return self._retention

    async def forget(self, target: str, *, tokens: Sequence[str] = (), label: str = "") -> int:
        """Erase tokens, or all of a label; how many there were. What is shown again afterwards is kept again."""
        async with self._turn:
            erased = await self._store.forget_tokens(target, tokens=tokens, label=label)
            self._known.clear()
            return erased
