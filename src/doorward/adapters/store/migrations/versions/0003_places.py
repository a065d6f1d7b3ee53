"""Where labelled data has got to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "places",
        sa.Column("target", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("oid", sa.BigInteger, nullable=False),
        sa.Column("attnum", sa.Integer, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("target", "name", "oid", "attnum", "source", name="pk_places"),
    )


def downgrade() -> None:
    """A record is not taken back."""
    raise NotImplementedError("there is no way back")
