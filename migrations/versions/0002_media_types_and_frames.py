"""Media types of attachments, declared and real; the frame that was judged"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attachment", sa.Column("declared_type", sa.Text(), nullable=True))
    op.add_column("attachment", sa.Column("media_type", sa.Text(), nullable=True))
    op.add_column("verdict", sa.Column("n_frames", sa.Integer(), server_default="1", nullable=False))
    op.add_column("verdict", sa.Column("frame", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("verdict", "frame")
    op.drop_column("verdict", "n_frames")
    op.drop_column("attachment", "media_type")
    op.drop_column("attachment", "declared_type")
