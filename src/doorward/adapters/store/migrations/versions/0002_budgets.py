"""What was spent of budgets of inference."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "spent",
        sa.Column("identity", sa.String, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("slot", sa.BigInteger, nullable=False),
        sa.Column("answers", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("identity", "label", "slot", name="pk_spent"),
    )
    op.create_index("ix_spent_slot", "spent", ["slot"])


def downgrade() -> None:
    """A record is not taken back."""
    raise NotImplementedError("there is no way back")
