"""A person can be erased: what an event says may change while a row stands in `erasing`, its place never."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table("erasing", sa.Column("person", sa.Text, primary_key=True))
    op.execute("DROP TRIGGER events_no_update")
    op.execute(
        """CREATE TRIGGER events_no_update BEFORE UPDATE ON events
       WHEN NOT EXISTS (SELECT 1 FROM erasing) OR NEW.position <> OLD.position OR NEW.stream_id <> OLD.stream_id
         OR NEW.version <> OLD.version OR NEW.type <> OLD.type OR NEW.recorded_at <> OLD.recorded_at
         OR NEW.key IS NOT OLD.key
       BEGIN SELECT RAISE(ABORT, 'events are never changed'); END"""
    )
