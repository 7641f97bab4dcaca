"""Moments that stand for something else."""

from datetime import UTC, datetime

BEGINNING = datetime.min.replace(tzinfo=UTC)  # before every flip: for a contact that was never flipped, and the first of the line
