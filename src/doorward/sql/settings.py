"""What a client may do to the settings of its session.

Contract: `judge(name, value)` returns READ (anyone may: it changes nothing that a verdict rests on), CONTROL (policy must
say so), or the reason, a str, why it may not be done at all, whatever policy says. Names are compared as the server does:
without regard to case. A `value` of None is a return to the default (SET .. TO DEFAULT, RESET).

The law, and why:
* role, session_authorization: who the statements run as is the gateway's business, and verdicts are bound to it.
* session_replication_role switches triggers, and with them foreign keys, off.
* standard_conforming_strings = off makes the server read '\\' otherwise than the parser did: what was judged is not what
  would run. client_encoding other than UTF8, and a lax backslash_quote, are the same trap.
A return to the default is allowed even of these, because the default is what the gateway logged in with: RESET ALL and
DISCARD ALL do the same, and must work for connection pools. (They never reach a value that the client chose: the
gateway passes none of these on from the start-up message.)
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from doorward.model import Effect


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Change how this session's results look, or how the planner finds them; not what is read, nor by whom.
HARMLESS: Final = _words(
    """
    application_name array_nulls bytea_output check_function_bodies constraint_exclusion cursor_tuple_fraction datestyle
    default_statistics_target default_text_search_config default_toast_compression
    default_transaction_deferrable default_transaction_isolation default_transaction_read_only effective_cache_size
    escape_string_warning extra_float_digits force_parallel_mode from_collapse_limit geqo geqo_effort
    geqo_threshold gin_fuzzy_search_limit idle_in_transaction_session_timeout idle_session_timeout intervalstyle jit
    join_collapse_limit lc_monetary lc_numeric lc_time lock_timeout password_encryption plan_cache_mode
    quote_all_identifiers random_page_cost restrict_nonsystem_relation_kind row_security search_path
    seq_page_cost cpu_tuple_cost cpu_index_tuple_cost cpu_operator_cost parallel_setup_cost parallel_tuple_cost
    standard_conforming_strings statement_timeout synchronize_seqscans timezone timezone_abbreviations
    track_io_timing transaction_deferrable transaction_isolation transaction_read_only transaction_timeout
    transform_null_equals xmlbinary xmloption max_parallel_workers_per_gather min_parallel_table_scan_size
    min_parallel_index_scan_size parallel_leader_participation
    """
) | frozenset(
    f"enable_{how}"
    for how in _words(
        "async_append bitmapscan gathermerge group_by_reordering hashagg hashjoin incremental_sort indexonlyscan "
        "indexscan material memoize mergejoin nestloop parallel_append parallel_hash partition_pruning "
        "partitionwise_aggregate partitionwise_join presorted_aggregate seqscan sort tidscan distinct_reordering "
        "self_join_elimination"
    )
)

# Can be set to a few values without harm, and to others never.
_IDENTITY: Final = "who statements run as is the gateway's to say, so {} cannot be changed in a session"
_NEVER: Final = {
    "role": _IDENTITY.format("role"),
    "session_authorization": _IDENTITY.format("session_authorization"),
    "session_replication_role": "session_replication_role switches triggers and foreign keys off, and cannot be changed",
    "is_superuser": "is_superuser cannot be changed",
}
_SAME: Final = {
    "standard_conforming_strings": (
        frozenset({"on", "true", "yes", "1", "t", "tr", "tru", "y", "ye"}),
        "with standard_conforming_strings off the server would read string literals otherwise than they were judged",
    ),
    "client_encoding": (
        frozenset({"utf8", "unicode", "utf"}),
        "statements are judged as UTF8, so client_encoding can be nothing else",
    ),
    "backslash_quote": (
        frozenset({"safe_encoding", "off", "false", "no", "0"}),
        "backslash_quote changes how string literals are read, so it can only be safe_encoding or off",
    ),
}
_QUIET: Final = frozenset({"notice", "warning", "error", "fatal", "panic", "log", "info"})


WAIT: Final = "doorward.wait"  # a setting of ours: how long a statement of this session waits for people at most
_WAIT: Final = re.compile(r"([0-9]{1,6}) ?(ms|s|min|h|)")
_LONG: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "": 0.001}  # as PostgreSQL reads times: ms, if nothing is said


def waiting(value: str) -> float | None:
    """Seconds, of a value of `doorward.wait`: "30s", "500ms", "5min". None if it is none."""
    match = _WAIT.fullmatch(value.strip())
    return None if match is None else int(match[1]) * _LONG[match[2]]


def judge(name: str, value: str | None, pinned: Collection[str] = ()) -> Effect | str:
    """READ, CONTROL, or in words why never. `pinned` are settings that this target's gateway keeps for itself (its
    timeouts, say). Total: an unheard-of name is CONTROL."""
    name = canonical(name)
    if name in pinned and value is not None:
        return f"{name} is set by the gateway, and cannot be changed in a session"
    if value is None:
        return Effect.READ if name in HARMLESS or name in _NEVER or name in _SAME or name == WAIT else Effect.CONTROL
    if name in _NEVER:
        return _NEVER[name]
    if name == WAIT:
        return Effect.READ if waiting(value) is not None else f'{WAIT} is a time, as in "30s" or "5min", and not that'
    if name in _SAME:
        allowed, reason = _SAME[name]
        spelling = value.strip().lower()
        if name == "client_encoding":  # pg_char_to_encoding looks at letters and digits only
            spelling = "".join(character for character in spelling if character.isalnum())
        return Effect.READ if spelling in allowed else reason
    if name == "client_min_messages":  # below NOTICE lie debugging messages, which can show values
        return Effect.READ if value.strip().lower() in _QUIET else Effect.CONTROL
    if name in HARMLESS:
        return Effect.READ
    return Effect.CONTROL


# Settings of few values, and those that no statement can change: what code that ran could say by them, it could as well say
# by failing.
_NARROW: Final = _words(
    """
    archive_mode array_nulls autovacuum backslash_quote block_size bytea_output check_function_bodies client_encoding
    client_min_messages compute_query_id constraint_exclusion data_checksums datestyle default_toast_compression
    default_transaction_deferrable default_transaction_isolation default_transaction_read_only escape_string_warning
    exit_on_error fsync full_page_writes geqo hot_standby in_hot_standby integer_datetimes intervalstyle is_superuser jit
    lc_collate lc_ctype listen_addresses log_statement max_connections max_identifier_length max_index_keys
    max_locks_per_transaction max_prepared_transactions max_wal_senders max_wal_size max_worker_processes
    password_encryption plan_cache_mode port quote_all_identifiers role row_security segment_size server_encoding
    server_version server_version_num session_authorization session_replication_role shared_buffers ssl
    standard_conforming_strings superuser_reserved_connections synchronize_seqscans synchronous_commit track_activities
    track_counts track_functions track_io_timing transaction_deferrable transaction_isolation transaction_read_only
    transform_null_equals unix_socket_directories wal_block_size wal_level wal_segment_size xmlbinary xmloption
    """
) | {name for name in HARMLESS if name.startswith("enable_")}


def narrow(name: str) -> bool:
    """Whether what the setting holds can be shown even where code has run that nobody could follow."""
    return canonical(name) in _NARROW


def any_value(name: str) -> bool:
    """Whether the verdict on a setting is the same for every value, so that it may come in a parameter."""
    name = canonical(name)
    return name not in _NEVER and name not in _SAME and name not in ("client_min_messages", WAIT)


def canonical(name: str) -> str:
    """The name as pg_settings spells it, in lower case; SQL's own words for a setting become that setting's name."""
    lowered = name.lower()
    return {"time zone": "timezone", "session authorization": "session_authorization", "names": "client_encoding",
            "schema": "search_path", "xml option": "xmloption"}.get(lowered, lowered)
