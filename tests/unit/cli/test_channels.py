"""The channels of a proof are read as they are written, and what cannot be meant is refused."""

from __future__ import annotations

from collections import Counter

import pytest

from doorward.cli.masking.channels import CHANNELS, EFFECTS, PROTOCOLS, ROWS, Channel, read


def test_the_list_covers_every_protocol_and_effect() -> None:
    """Each protocol and effect has channels; names are unique, and nothing is left to be filled in."""
    assert max(Counter(channel.name for channel in CHANNELS).values()) == 1
    assert {channel.how for channel in CHANNELS} == {"simple", *PROTOCOLS}
    assert {channel.effect for channel in CHANNELS} == {"read", *EFFECTS}
    assert len(CHANNELS) > 90
    assert not [channel.name for channel in CHANNELS for text in channel.statements if "@" in text]


def test_a_channel_is_read() -> None:
    """The head's words in any order, then a statement a line."""
    text = "-- about\n\n-- a/b-c alone binary write\nBEGIN\n\nCOPY (@rows) TO STDOUT\n-- d/e\nSELECT 1\n"
    assert read(text) == (
        Channel("a/b-c", "binary", "write", True, ("BEGIN", f"COPY ({ROWS}) TO STDOUT")),
        Channel("d/e", "simple", "read", False, ("SELECT 1",)),
    )


@pytest.mark.parametrize(
    "text", ["-- a/b\n", "-- a/b text binary\nx", "-- a/b write execute\nx", "-- a/b other\nx", "-- a/b TEXT\nx"]
)
def test_what_is_no_channel_is_refused(text: str) -> None:
    """A head without statements, with contradictions or with unknown words."""
    with pytest.raises(ValueError, match="channel"):
        read(text)
