"""Who is known, which agents there are, what is revoked, which tokens were exchanged; the assurance of sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "principals",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("groups", sa.String, nullable=False),
        sa.Column("claims", sa.String, nullable=False),
        sa.Column("issued_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_principals"),
    )
    op.create_table(
        "agents",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("issuer", sa.String, nullable=False),
        sa.Column("bound", sa.String, nullable=False),
        sa.Column("groups", sa.String, nullable=False),
        sa.Column("enabled", sa.Integer, nullable=False),
        sa.Column("registered_at", sa.BigInteger, nullable=False),
        sa.Column("registered_by", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_agents"),
    )
    op.create_table(
        "revocations",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("by", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("before", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revocations"),
        sa.CheckConstraint("kind in ('subject', 'agent', 'jti', 'session', 'login')", name="ck_revocations_kind"),
    )
    op.create_table(
        "exchanged",
        sa.Column("issuer", sa.String, nullable=False),
        sa.Column("jti", sa.String, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("made", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("issuer", "jti", name="pk_exchanged"),
    )
    op.create_index("ix_exchanged_until", "exchanged", ["until"])
    op.create_index("ix_exchanged_jti", "exchanged", ["jti"])
    op.create_table(
        "versions",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_versions"),
    )
    op.add_column("sessions", sa.Column("assurance", sa.String, nullable=False, server_default=""))


def downgrade() -> None:
    """A record is not taken back."""
    raise NotImplementedError("there is no way back")
