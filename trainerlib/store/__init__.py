"""The event store: the only package that knows SQLAlchemy and SQLite."""
