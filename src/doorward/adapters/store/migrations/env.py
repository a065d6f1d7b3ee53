"""What alembic runs: the migrations, over the connection that the store hands it."""

from __future__ import annotations

from alembic import context

from doorward.adapters.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter a column in place
)
with context.begin_transaction():
    context.run_migrations()
