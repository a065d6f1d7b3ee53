"""What is used of grants, and which requests are alike."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "grant_uses",
        sa.Column("operation", sa.String, nullable=False),
        sa.Column("approval_id", sa.String, nullable=False),
        sa.Column("lane", sa.String, nullable=False),
        sa.Column("boot", sa.String, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("running", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("operation", name="pk_grant_uses"),
        sa.ForeignKeyConstraint(["approval_id"], ["approvals.id"], name="fk_grant_uses_approval_id_approvals"),
    )
    op.create_index("ix_grant_uses_approval_id", "grant_uses", ["approval_id"])
    op.create_index("ix_grant_uses_running_lane", "grant_uses", ["running", "lane"])
    op.add_column("approvals", sa.Column("likeness", sa.String, nullable=False, server_default=""))
    op.create_index("ix_approvals_likeness_id", "approvals", ["likeness", "id"])


def downgrade() -> None:
    """A record is not taken back."""
    raise NotImplementedError("there is no way back")
