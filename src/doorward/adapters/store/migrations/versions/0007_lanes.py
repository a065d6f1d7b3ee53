"""Which of the processes that keep one record a boot was of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("boots", sa.Column("gateway", sa.String, nullable=False, server_default=""))


def downgrade() -> None:
    """A record is not taken back."""
    raise NotImplementedError("there is no way back")
