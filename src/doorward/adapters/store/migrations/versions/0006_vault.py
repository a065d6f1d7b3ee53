"""What tokens stand for, sealed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vault",
        sa.Column("target", sa.String, nullable=False),
        sa.Column("token", sa.String, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("epoch", sa.String, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("target", "token", name="pk_vault"),
    )
    op.create_index("ix_vault_epoch_day", "vault", ["epoch", "day"])


def downgrade() -> None:
    """A record is not taken back."""
    raise NotImplementedError("there is no way back")
