"""How long the event loop is held by what somebody made to be looked at for long.

    python -m benchmarks.blocking [--seconds 20]

Answers made of what costs detectors most (their examples and counter-examples, and forms of them, repeated), in rows of
several widths and lines of COPY, go through a conversation in the very pieces in which a relay would feed it; so do
parameters and COPY data of a client. What is measured is the CPU that each step takes between two turns of the loop: other
work on the machine does not count. Questions about long values are answered aside, and their time is not the loop's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

from doorward.masking.detect import DETECTORS, Detectors
from doorward.masking.plan import ResultColumn, plan
from doorward.masking.statement import mask_params
from doorward.masking.transforms import Transforms
from doorward.protocols.postgres import redact
from doorward.protocols.postgres.answers import MOST
from doorward.protocols.postgres.copied import CopiedIn
from doorward.protocols.postgres.looking import LONG, NARROW, answer
from doorward.protocols.postgres.redact import RowRedactor
from doorward.protocols.postgres.redact_copy import CopyRedactor
from doorward.protocols.postgres.wide import WHOLE, Memory, WideRow
from doorward.protocols.postgres.wide_copy import WideLine
from doorward.server.relay import HEARD, STRIDE
from doorward.sql.classification import Copy

DETECTORS_ALL = Detectors()
MADE = (
    b"1", b"1 ", b"1-1-", b"1.1.", b"1/1/", b"1.2.3.4.5 ", b"4111-", b"555-555-", b"12345678 ", b"a@", b"a@b.co ", b"+1 ",
    b"a.b.", b"password=", b"eyJ.", b"-----BEGIN ", b"http://a:b@", b"%31", b"&#64;", b"\\u0031", "１ ".encode(), "٣".encode(),
    b"[dot]", b"tel 1 ", b"ssn 1", b"DE89 ", b"\xe2\x80\x8b1", b"AKIA", b"=",
    b"::", b"\\", b'""', b"\xff",
)  # fmt: skip


def units() -> list[bytes]:
    """What answers are made of."""
    said = [
        text.encode("utf-8", "surrogatepass")
        for one in DETECTORS
        for text in [*(example for example, _ in one.examples), *one.counterexamples]
    ]
    return list(dict.fromkeys([*MADE, *said, *(text + b" " for text in said)]))


def filled(unit: bytes, size: int) -> bytes:
    """A value of so many bytes."""
    return (unit * (size // len(unit) + 1))[:size]


def row(values: list[bytes]) -> bytes:
    """A DataRow."""
    body = len(values).to_bytes(2, "big") + b"".join(len(value).to_bytes(4, "big") + value for value in values)
    return b"D" + (4 + len(body)).to_bytes(4, "big") + body


Step = Callable[[], object]


def rows(unit: bytes, size: int, transforms: Transforms) -> Iterator[Step]:
    """The steps of masking as many rows as a relay feeds at once, with two texts each, one under a transform."""
    label = frozenset({"account"}) if transforms.name("account") != "redact" else frozenset()
    columns = [ResultColumn(name, 1, number, 25, 0) for number, name in enumerate("ab", 1)]
    planned = plan([label, frozenset()], columns, lambda oid, number: "account" if label and number == 1 else None, label,
                   frozenset(), transforms, DETECTORS_ALL)  # fmt: skip
    one = row([filled(unit, size)] * 2)
    data = one * max(1, STRIDE // len(one))
    redactor = RowRedactor(planned, 1 << 24)
    position = 0
    while position < len(data):

        def step(position: int = position) -> None:
            redactor.some(data, position, len(data), MOST)

        yield step
        position = redactor.stop


def wide(unit: bytes, size: int) -> Iterator[Step]:
    """The steps of masking a wide row; who looks at what is long is somebody else."""
    planned = plan(None, [ResultColumn("a", 0, 0, 25, 0)], lambda oid, number: None, frozenset(), frozenset(), Transforms(),
                   DETECTORS_ALL)  # fmt: skip
    message = row([filled(unit, size)])
    wider = WideRow(planned, len(message) - 1, Memory(), asks=True)
    position = 5
    while not wider.whole:

        def step(position: int = position) -> int:
            return wider.feed(message[position : position + STRIDE], 0)

        yield step
        position = min(position + STRIDE, len(message))
        while wider.question is not None:
            wider.told(answer(DETECTORS_ALL, wider.question))
            yield lambda: wider.feed(b"", 0)


def line(unit: bytes, size: int, style: str) -> Iterator[Step]:
    """The steps of masking a line of COPY, held or not."""
    planned = plan(None, [ResultColumn("a", 0, 0, 0, 0)], lambda oid, number: None, frozenset(), frozenset(), Transforms(),
                   DETECTORS_ALL)  # fmt: skip
    copy = CopyRedactor(planned, style)
    field = copy.written(filled(unit, size)) or b""
    data = field + b"\n"
    if len(data) <= NARROW - 4:
        yield lambda: copy.feed(data)
        return
    wider = WideLine(copy, len(data) + 4, Memory(), asks=True)
    position = 0
    while not wider.whole:

        def step(position: int = position) -> int:
            return wider.feed(data[position : position + STRIDE], 0)

        yield step
        position = min(position + STRIDE, len(data))
        while wider.question is not None:
            wider.told(answer(DETECTORS_ALL, wider.question))
            yield lambda: wider.feed(b"", 0)


def sent(unit: bytes, size: int) -> Iterator[Step]:
    """The steps of recording what a client sends: parameters, and COPY data."""
    value = filled(unit, size)
    yield lambda: mask_params([value] * 3, (), (), detectors=DETECTORS_ALL)
    copied = CopiedIn(Copy("in"), DETECTORS_ALL)
    data = value + b"\n"
    for position in range(0, len(data), HEARD):

        def step(position: int = position) -> None:
            copied.feed(data[position : position + HEARD])

        yield step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    plain, keyed = Transforms(), Transforms({"account": "format_preserving"}, b"k" * 32)
    ways: dict[str, Callable[[bytes], Iterator[Step]]] = {
        "rows of 40 bytes": lambda unit: rows(unit, 10, plain),
        "rows of 400 bytes": lambda unit: rows(unit, 180, plain),
        "rows of 8 KiB": lambda unit: rows(unit, (NARROW - 32) // 2, plain),
        "rows of 40 bytes, format_preserving": lambda unit: rows(unit if unit.isascii() else b"1", 10, keyed),
        "a value of 4 KiB": lambda unit: wide(unit, LONG),
        "a value of 1 MiB": lambda unit: wide(unit, WHOLE),
        "a value of 2 MiB": lambda unit: wide(unit, 2 * WHOLE),
        "a line of 8 KiB": lambda unit: line(unit, NARROW - 200, "text"),
        "a line of 2 MiB": lambda unit: line(unit, 2 * WHOLE, "text"),
        "a line of 2 MiB, CSV": lambda unit: line(unit, 2 * WHOLE, "csv"),
        "parameters and COPY data of 4 KiB": lambda unit: sent(unit, 4096),
        "parameters and COPY data of 64 KiB": lambda unit: sent(unit, 64 << 10),
    }
    print("compiled" if not redact.__file__.endswith(".py") else "interpreted")
    every = units()
    for name, way in ways.items():
        until = time.monotonic() + arguments.seconds / len(ways)
        took: dict[bytes, float] = {}
        for unit in every:
            if time.monotonic() < until:
                took[unit] = longest(way(unit), until)
        # What somebody else did to the caches once is no figure: the worst few are looked at again.
        worst = sorted(took, key=took.__getitem__, reverse=True)[:5]
        seconds, unit = max((min(took[unit], longest(way(unit), until + 2)), unit) for unit in worst)
        print(f"{name:40} {seconds * 1000:7.1f} ms  {unit[:30]!r} ({len(took)} of {len(every)})", flush=True)


def longest(steps: Iterator[Step], until: float) -> float:
    """Seconds of CPU that the longest of these steps takes."""
    most = 0.0
    for step in steps:
        began = time.thread_time()
        step()
        most = max(most, time.thread_time() - began)
        if time.monotonic() > until:
            break
    return most


if __name__ == "__main__":
    main()
