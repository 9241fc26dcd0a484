"""Run by Alembic: migrate over the connection that `relocation.ledger.migrate` hands over."""

from alembic import context

from relocation.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
)
# The transaction is the caller's: version and tables change together or not at all.
context.run_migrations()
