"""Labels name columns; a column that was renamed must not lose its label by that."""

from __future__ import annotations

import psycopg
import pytest

from tests.rig.gateway import Gateway
from tests.rig.rawclient import RawClient


def hidden(client: RawClient, text: str) -> bool:
    """Whether the one value that comes back is a label in brackets."""
    (value,) = client.query(text).values
    return value is not None and value.startswith("[") and value.endswith("ssn]")


def test_dw_03_a_renamed_column_takes_its_whole_table_with_it(door: Gateway, direct: psycopg.Connection) -> None:
    """DW-03: after `rename ssn to tax_id`, done past the gateway, nobody knows which column the label is about: all of
    the table is masked for who is connected, and nobody else gets in, until the configuration says."""
    try:
        with RawClient.to(door, groups=["readers"]) as client:
            assert hidden(client, "select ssn from customers where id = 1")
            direct.execute("alter table customers rename ssn to tax_id")
            # A name that is not known makes the gateway look at the catalogue again, whoever changed it.
            assert hidden(client, "select tax_id from customers where id = 1")
            client.query("select * from nobody_knows_this")
            assert hidden(client, "select tax_id from customers where id = 1")
            assert hidden(client, "select name from customers where id = 1")
            with pytest.raises(RuntimeError, match=r"closed.*there is no column public\.customers\.ssn"):
                RawClient.to(door, groups=["readers"])
    finally:
        direct.execute("alter table customers rename tax_id to ssn")
    with RawClient.to(door, groups=["readers"]) as client:
        assert hidden(client, "select ssn from customers where id = 1")
