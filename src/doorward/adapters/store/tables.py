"""The schema. A change here needs a migration beside it; a test compares the two.

It states columns and constraints only. What a row means is said by the dataclass of the same name in `guard.stores`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

head = Table(
    "head",
    metadata,
    Column("origin", String, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("checkpoint", LargeBinary, nullable=False),
)

boots = Table(
    "boots",
    metadata,
    Column("id", String, primary_key=True),
    Column("ordinal", BigInteger, nullable=False, unique=True),
    Column("position", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("last", LargeBinary, nullable=False),
    Column("ended", Integer, nullable=False),
    Column("gateway", String, nullable=False, server_default=""),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("boot", String, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("type", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("session_id", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("key_id", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    UniqueConstraint("boot", "seq"),
    Index(None, "session_id", "index"),
    Index(None, "type", "index"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String, primary_key=True),
    Column("boot", String, nullable=False),
    Column("handle", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("retention", String, nullable=False),
    Column("opened", BigInteger, nullable=False),
    Column("closed", BigInteger, nullable=False),
    Column("state", String, nullable=False),
    Column("identity", String, nullable=False),
    Column("issuer", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("target", String, nullable=False),
    Column("client", String, nullable=False),
    Column("purpose", String, nullable=False),
    Column("assurance", String, nullable=False, server_default=""),
    Column("statements", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("segments", BigInteger, nullable=False),
    Column("last", LargeBinary, nullable=False),
    Column("through", BigInteger, nullable=False),
    UniqueConstraint("boot", "handle"),
    CheckConstraint("state in ('open', 'closed', 'recovered')", name="state"),
    Index(None, "state"),
    Index(None, "identity", "id"),
    Index(None, "target", "id"),
)

operations = Table(
    "operations",
    metadata,
    Column("id", String, primary_key=True),
    Column("session_id", String, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", String, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("requested_by", String, nullable=False),
    Column("on_behalf_of", String, nullable=False),  # JSON list
    Column("target", String, nullable=False),
    Column("approvers", String, nullable=False),  # JSON list
    Column("quorum", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("terms", LargeBinary, nullable=False, server_default=text("x''")),  # canonical JSON
    Column("likeness", String, nullable=False, server_default=""),
    CheckConstraint("uses in (0, 1)", name="uses"),
    Index(None, "likeness", "id"),
    Index(None, "state"),
    Index(None, "requested_by", "digest"),
)

grant_uses = Table(
    "grant_uses",
    metadata,
    Column("operation", String, primary_key=True),
    Column("approval_id", String, ForeignKey("approvals.id"), nullable=False),
    Column("lane", String, nullable=False),
    Column("boot", String, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("running", Integer, nullable=False),
    Index(None, "approval_id"),
    Index(None, "running", "lane"),
)

principals = Table(
    "principals",
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("groups", String, nullable=False),  # JSON list
    Column("claims", String, nullable=False),  # JSON object
    Column("issued_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)

agents = Table(
    "agents",
    metadata,
    Column("name", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("issuer", String, nullable=False),
    Column("bound", String, nullable=False),  # JSON object
    Column("groups", String, nullable=False),  # JSON list
    Column("enabled", Integer, nullable=False),
    Column("registered_at", BigInteger, nullable=False),
    Column("registered_by", String, nullable=False),
)

revocations = Table(
    "revocations",
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("value", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("by", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("before", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    CheckConstraint("kind in ('subject', 'agent', 'jti', 'session', 'login')", name="kind"),
)

exchanged = Table(
    "exchanged",
    metadata,
    Column("issuer", String, primary_key=True),
    Column("jti", String, primary_key=True),
    Column("until", BigInteger, nullable=False),
    Column("made", String, nullable=False),
    Index(None, "until"),
    Index(None, "jti"),
)

versions = Table(
    "versions",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

spent = Table(
    "spent",
    metadata,
    Column("identity", String, primary_key=True),
    Column("label", String, primary_key=True),
    Column("slot", BigInteger, primary_key=True),
    Column("lane", BigInteger, primary_key=True, server_default="0"),
    Column("answers", BigInteger, nullable=False),
    Index(None, "slot"),
)

places = Table(
    "places",
    metadata,
    Column("target", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("oid", BigInteger, primary_key=True),
    Column("attnum", Integer, primary_key=True),
    Column("source", String, primary_key=True),
)

vault = Table(
    "vault",
    metadata,
    Column("target", String, primary_key=True),
    Column("token", String, primary_key=True),
    Column("label", String, nullable=False),
    Column("epoch", String, nullable=False),
    Column("day", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Index(None, "epoch", "day"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", String, primary_key=True),
    Column("channel", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("about", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("error", String, nullable=False),
    Index(None, "channel", "next_at"),
    Index(None, "expires_at"),
)

holds = Table(
    "holds",
    metadata,
    Column("id", String, primary_key=True),
    Column("case", String, nullable=False),
    Column("sessions", String, nullable=False),  # JSON list
    Column("identity", String, nullable=False),
    Column("target", String, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("reason", String, nullable=False),
    Column("applied_by", String, nullable=False),
    Column("applied_at", BigInteger, nullable=False),
    Column("requested_by", String, nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    Column("released_by", String, nullable=False),
    Column("released_at", BigInteger, nullable=False),
    Column("told", Integer, nullable=False),
)

held = Table(
    "held",
    metadata,
    Column("hold", String, primary_key=True),
    Column("session_id", String, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Index(None, "session_id"),
)

votes = Table(
    "votes",
    metadata,
    Column("approval_id", String, ForeignKey("approvals.id"), primary_key=True),
    Column("voter", String, primary_key=True),
    Column("approve", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("comment", String, nullable=False),
    Column("key", String, nullable=False, server_default=text("''")),
    Column("evidence", LargeBinary, nullable=False, server_default=text("x''")),  # canonical JSON
)
