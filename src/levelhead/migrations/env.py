"""Alembic runs this file for every migration; the connection comes from `levelhead.store`, already in a transaction.

It is the one module that works when it is loaded: Alembic asks for that. opening a `Store` is the way in, also for
developers; a new revision is a file in versions/, written by hand, and a test compares it with the tables.
"""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
