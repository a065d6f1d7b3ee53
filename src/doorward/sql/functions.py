"""Which of PostgreSQL's built-in functions may run because a statement merely mentions them.

Contract: `builtin(name)` says what calling pg_catalog.<name> does: READ, WRITE (sequences), EXECUTE, or None when this
version of Doorward has never heard of it (which the caller treats as unknown). `columns(name)` says what it looks like
in FROM. `REVEALING` functions can show what is in any table.

The starting point is functions.txt, which scripts/sql_functions.py writes from pg_proc of PostgreSQL 15 and 18:
volatility says "immutable" or "stable" of what changes nothing. But volatility was never meant as a permission. What
acts all the same is in REMOVED, each with its reason; what is volatile only because its answer changes is in ADDED.
A function with a safe and an unsafe overload counts as unsafe. Functions outside pg_catalog are always EXECUTE.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from doorward.model import Effect


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Stable, and yet not something to call unasked.
REMOVED: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("database_to_xml", "database_to_xml_and_xmlschema", "database_to_xmlschema", "schema_to_xml",
         "schema_to_xml_and_xmlschema", "schema_to_xmlschema", "table_to_xml", "table_to_xml_and_xmlschema",
         "table_to_xmlschema"),
        "reads any table whose name is in a value, past every check on relations",
    ),
    "pg_stat_get_activity": "shows the statements of other sessions, with their literals",
    "pg_stat_get_backend_activity": "shows the statements of other sessions, with their literals",
    "pg_current_xact_id": "takes a transaction number, which is a write",
    "txid_current": "takes a transaction number, which is a write",
    "pg_tablespace_databases": "lists a directory of the server",
    "pg_config": "describes the server's file system",
    "pg_mcv_list_items": "shows the most common values of a column",
    "pg_stat_get_wal_receiver": "shows a connection string",
}

# Volatile, and yet it only answers, or gives back what this session holds.
ADDED: Final = _words(
    "pg_advisory_unlock pg_advisory_unlock_all pg_advisory_unlock_shared array_sample array_shuffle "
    "clock_timestamp current_query currval gen_random_uuid lastval "
    "pg_blocking_pids pg_collation_actual_version pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn "
    "pg_database_collation_actual_version pg_database_size pg_get_sequence_data pg_get_wait_events pg_indexes_size "
    "pg_is_in_recovery pg_is_wal_replay_paused pg_isolation_test_session_is_blocked pg_jit_available "
    "pg_last_committed_xact pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lock_status "
    "pg_notification_queue_usage pg_partition_ancestors pg_partition_tree pg_prepared_xact pg_relation_size "
    "pg_safe_snapshot_blocking_pids pg_sequence_last_value pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit "
    "pg_stat_get_xact_function_calls pg_stat_get_xact_numscans pg_stat_get_xact_tuples_deleted "
    "pg_stat_get_xact_tuples_fetched pg_stat_get_xact_tuples_inserted pg_stat_get_xact_tuples_returned "
    "pg_stat_get_xact_tuples_updated pg_table_size pg_tablespace_size pg_total_relation_size pg_xact_commit_timestamp "
    "pg_xact_status random random_normal timeofday txid_status uuidv4 uuidv7"
)

# Of information_schema, what its views are made of: initdb makes them, they see nothing but their arguments and the catalogues,
# and drivers call them by name (pgjdbc's keys and indexes).
INFORMATION: Final = _words(
    "_pg_char_max_length _pg_char_octet_length _pg_datetime_precision _pg_expandarray _pg_index_position _pg_interval_type "
    "_pg_numeric_precision _pg_numeric_precision_radix _pg_numeric_scale _pg_truetypid _pg_truetypmod"
)

# What nextval and setval change is a sequence: the everyday write of an ORM that fetches its keys first.
SEQUENCES: Final = frozenset({"nextval", "setval"})

# Can show the contents of any relation, or of what others ran on it.
REVEALING: Final = _words(
    "cursor_to_xml query_to_xml query_to_xml_and_xmlschema ts_stat ts_rewrite lo_get loread lo_export "
    "pg_read_file pg_read_binary_file pg_read_file_old pg_logical_slot_get_changes pg_logical_slot_peek_changes "
    "pg_logical_slot_get_binary_changes pg_logical_slot_peek_binary_changes pg_stat_get_activity "
    "pg_stat_get_backend_activity pg_mcv_list_items pg_cursor"
) | {name for name in REMOVED if name.endswith(("_to_xml", "_to_xml_and_xmlschema"))}

# Show what the session holds outside tables: settings, and names that code may have made of values.
STATEFUL: Final = _words("current_setting pg_show_all_settings pg_listening_channels pg_prepared_statement")


def _load() -> tuple[dict[str, Effect], dict[str, tuple[str, ...] | None]]:
    effects: dict[str, Effect] = {}
    shapes: dict[str, tuple[str, ...] | None] = {}
    for line in files("doorward.sql").joinpath("functions.txt").read_text("utf-8").splitlines():
        name, volatility, out = line.split("\t")
        if name in SEQUENCES:
            effects[name] = Effect.WRITE
        elif name in ADDED or (volatility != "v" and name not in REMOVED):
            effects[name] = Effect.READ
        else:
            effects[name] = Effect.EXECUTE
        if out == "?":
            shapes[name] = None
        elif out != "-":
            shapes[name] = tuple(out.split(","))
    return effects, shapes


_EFFECTS, _SHAPES = _load()


def builtin(name: str) -> Effect | None:
    """What calling pg_catalog's function of that name does; None for a name that is not known to be there."""
    return _EFFECTS.get(name)


def columns(name: str, alias: str) -> tuple[str, ...] | None:
    """The columns that pg_catalog's function has in FROM under `alias`; None when the name alone does not say."""
    shape = _SHAPES.get(name, ())
    if shape is None or "?" in shape:
        return None
    if len(shape) > 1:
        return shape
    return (alias,)  # one OUT argument: the alias names the column, or the argument does; callers treat both alike
