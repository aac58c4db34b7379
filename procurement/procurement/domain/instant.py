"""Instants as the public API writes them: ISO 8601 at Kyiv's offset."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

KYIV = ZoneInfo("Europe/Kyiv")


def written(instant: datetime) -> str:
    """An aware instant as text."""
    return instant.astimezone(KYIV).isoformat()


def read(text: str) -> datetime:
    """Text of this API as an aware instant in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)
