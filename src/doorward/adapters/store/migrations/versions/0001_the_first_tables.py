"""The first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Written out, and never changed again: later revisions start from exactly this."""
    big, text, blob = sa.BigInteger, sa.String, sa.LargeBinary

    def required(name: str, kind: Any) -> sa.Column[object]:
        return sa.Column(name, kind, nullable=False)

    def key(name: str) -> sa.Column[object]:
        return sa.Column(name, text, nullable=False)

    op.create_table(
        "head",
        key("origin"), required("size", big), required("root", blob), required("checkpoint", blob),
        sa.PrimaryKeyConstraint("origin", name="pk_head"),
    )
    op.create_table(
        "boots",
        key("id"), required("ordinal", big), required("position", big), required("seq", big), required("last", blob),
        required("ended", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_boots"),
        sa.UniqueConstraint("ordinal", name="uq_boots_ordinal"),
    )
    op.create_table(
        "keys", key("id"), required("wrapped", blob), sa.PrimaryKeyConstraint("id", name="pk_keys")
    )
    op.create_table(
        "events",
        sa.Column("index", sa.Integer, nullable=False, autoincrement=False),
        required("boot", text), required("seq", big), required("type", text), required("at", big),
        required("session_id", text), required("actor", text), required("key_id", text), required("sealed", blob),
        sa.PrimaryKeyConstraint("index", name="pk_events"),
        sa.UniqueConstraint("boot", "seq", name="uq_events_boot_seq"),
    )
    op.create_index("ix_events_session_id_index", "events", ["session_id", "index"])
    op.create_index("ix_events_type_index", "events", ["type", "index"])
    op.create_table(
        "sessions",
        key("id"), required("boot", text), required("handle", big), required("created", big),
        required("retention", text), required("opened", big),
        required("closed", big), required("state", text), required("identity", text), required("issuer", text),
        required("kind", text), required("target", text), required("client", text), required("purpose", text),
        required("statements", big), required("refused", big), required("held", big), required("rows", big),
        required("segments", big), required("last", blob), required("through", big),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.UniqueConstraint("boot", "handle", name="uq_sessions_boot_handle"),
        sa.CheckConstraint("state in ('open', 'closed', 'recovered')", name="ck_sessions_state"),
    )
    op.create_index("ix_sessions_state", "sessions", ["state"])
    op.create_index("ix_sessions_identity_id", "sessions", ["identity", "id"])
    op.create_index("ix_sessions_target_id", "sessions", ["target", "id"])
    op.create_table(
        "operations", key("id"), required("session_id", text), sa.PrimaryKeyConstraint("id", name="pk_operations")
    )
    op.create_table(
        "approvals",
        key("id"), required("digest", blob), required("requested_by", text), required("on_behalf_of", text),
        required("target", text), required("approvers", text), required("quorum", sa.Integer),
        required("state", text), required("requested_at", big), required("expires_at", big),
        required("uses", sa.Integer), required("body", blob),
        sa.PrimaryKeyConstraint("id", name="pk_approvals"),
        sa.CheckConstraint("uses in (0, 1)", name="ck_approvals_uses"),
    )
    op.create_index("ix_approvals_state", "approvals", ["state"])
    op.create_index("ix_approvals_requested_by_digest", "approvals", ["requested_by", "digest"])
    op.create_table(
        "votes",
        key("approval_id"), key("voter"), required("approve", sa.Integer), required("at", big),
        required("comment", text),
        sa.PrimaryKeyConstraint("approval_id", "voter", name="pk_votes"),
        sa.ForeignKeyConstraint(["approval_id"], ["approvals.id"], name="fk_votes_approval_id_approvals"),
    )


def downgrade() -> None:
    """A record is not taken back: there is nothing before the first tables."""
    raise NotImplementedError("there is nothing before the first tables")
