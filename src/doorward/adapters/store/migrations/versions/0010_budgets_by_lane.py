"""Budgets of inference are counted by each process of a gateway."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.rename_table("spent", "spent_before")
    op.drop_index("ix_spent_slot", "spent_before")
    op.create_table(
        "spent",
        sa.Column("identity", sa.String, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("slot", sa.BigInteger, nullable=False),
        sa.Column("lane", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("answers", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("identity", "label", "slot", "lane", name="pk_spent"),
    )
    op.create_index("ix_spent_slot", "spent", ["slot"])
    op.execute(
        "insert into spent (identity, label, slot, lane, answers) select identity, label, slot, 0, answers from spent_before"
    )
    op.drop_table("spent_before")


def downgrade() -> None:
    """A record is not taken back."""
    raise NotImplementedError("there is no way back")
