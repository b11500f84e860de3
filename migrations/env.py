"""Runs the migrations on the connection trainerlib hands over, or on the database `alembic.ini` names."""

from alembic import context
from sqlalchemy import create_engine

from trainerlib.store.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    connection = create_engine(context.config.get_main_option("sqlalchemy.url")).connect()
    context.configure(connection=connection, target_metadata=metadata)
    with connection.begin():
        context.run_migrations()
else:
    # The caller holds the write lock and commits: creation is all or nothing, also between two processes.
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=False)
    context.run_migrations()
