"""What approvers sign, and their signatures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("approvals", sa.Column("terms", sa.LargeBinary, nullable=False, server_default=sa.text("x''")))
    op.add_column("votes", sa.Column("key", sa.String, nullable=False, server_default=sa.text("''")))
    op.add_column("votes", sa.Column("evidence", sa.LargeBinary, nullable=False, server_default=sa.text("x''")))


def downgrade() -> None:
    """A record is not taken back."""
    raise NotImplementedError("there is no way back")
