"""Legal holds, and the data keys that they keep from being destroyed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "holds",
        sa.Column("id", sa.String, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("case", "sessions", "identity", "target")),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("reason", "applied_by")),
        sa.Column("applied_at", sa.BigInteger, nullable=False),
        sa.Column("requested_by", sa.String, nullable=False),
        sa.Column("requested_at", sa.BigInteger, nullable=False),
        sa.Column("released_by", sa.String, nullable=False),
        sa.Column("released_at", sa.BigInteger, nullable=False),
        sa.Column("told", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_holds"),
    )
    op.create_table(
        "held",
        sa.Column("hold", sa.String, nullable=False),
        sa.Column("session_id", sa.String, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("hold", "session_id", name="pk_held"),
    )
    op.create_index("ix_held_session_id", "held", ["session_id"])


def downgrade() -> None:
    """A record is not taken back."""
    raise NotImplementedError("there is no way back")
