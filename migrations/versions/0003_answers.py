"""Similar questions are found with what they should be answered with."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "answers",
        sa.Column("message", sa.Integer, primary_key=True),
        sa.Column("stream_id", sa.Integer, nullable=False),
        sa.Column("asked", sa.Integer, nullable=False),
        sa.Column("correction", sa.Integer, nullable=False),
        sa.Column("terms", sa.Text, nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
    )
    op.create_index("answers_asked", "answers", ["asked", "correction"])
    op.create_index("answers_stream", "answers", ["stream_id"])
    op.create_table(
        "answer_entries",
        sa.Column("corrected", sa.Integer, primary_key=True),
        sa.Column("term", sa.Text, primary_key=True),
        sa.Column("length", sa.Integer, primary_key=True),
        sa.Column("asked", sa.Integer, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "answer_terms",
        sa.Column("term", sa.Text, primary_key=True),
        sa.Column("corrected", sa.Integer, primary_key=True),
        sa.Column("questions", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
