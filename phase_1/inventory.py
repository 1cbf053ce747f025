"""The tables that get a client, their time columns and their indexes.

This is the only place that states them: the migration, the rollback, the checks and the tests read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

#: Names under which a time column is known, in the order in which they are looked for.
TIME_COLUMNS = ("created_at", "uploaded_at", "logged_at", "sent_at")

#: The word that a column list uses for the time column, whatever the table calls it.
TIME = "created_at"

DEFAULT_ORGANIZATION = "00000000-0000-4000-8000-000000000001"
DEFAULT_SLUG = "default-org"

#: The roles that a web API on this kind of database runs as; they never get at the new tables.
API_ROLES = ("anon", "authenticated")
#: The role that stands for the application's own back end.
SERVICE_ROLE = "service_role"

#: The tables and functions that Phase 1 creates.
NEW_TABLES = ("organizations", "user_organizations", "migration_log")
FUNCTIONS = (
    ("get_user_organization_id", "uuid"),
    ("validate_client_access", "uuid, uuid"),
    ("validate_client_data_integrity", ""),
)


@dataclass(frozen=True)
class Index:
    """An index of the end state, led by ``client_id``; ``columns`` are those behind it that it is searched by.

    ``also`` are behind these, and not in the name: with them a sum over the rows found is answered from the
    index alone. In the key and not in INCLUDE: equal entries are then kept once, and the index is a third
    smaller. A column may carry its order (``created_at DESC``). ``TIME`` stands for the table's time column.
    """

    table: str
    columns: Tuple[str, ...]
    also: Tuple[str, ...] = ()
    where: Optional[str] = None

    @property
    def key(self) -> Tuple[str, ...]:
        """Every column behind ``client_id``."""
        return (*self.columns, *self.also)

    @property
    def name(self) -> str:
        """``idx_<table>_client_<columns>``, with the word ``created_at`` for any time column."""
        return "_".join(["idx", self.table, "client", *(column.split()[0] for column in self.columns)])


@dataclass(frozen=True)
class Table:
    """A tenant table of schema ``public``."""

    name: str
    indexes: Tuple[Index, ...]

    @property
    def has_time(self) -> bool:
        """Whether an index of the table needs its time column."""
        return any(column.split()[0] == TIME for index in self.indexes for column in index.key)


def _table(name: str, *columns: Tuple[str, ...]) -> Table:
    """A table with one plain index for each tuple of columns."""
    return Table(name, tuple(Index(name, each) for each in columns))


#: In the order in which they are locked and migrated: a table after those that it refers to.
TABLES = (
    _table("users", ("created_at DESC",)),
    Table(
        "uploads",
        (
            Index("uploads", ("created_at DESC",)),
            Index("uploads", ("user_id",)),
            Index("uploads", ("status",), where="status IN ('pending', 'processing')"),
        ),
    ),
    _table("products", ("ean",)),
    Table(
        "sellout_entries2",
        (
            Index("sellout_entries2", ("year", "month"), also=("product_ean",)),
            Index("sellout_entries2", ("created_at DESC",)),
            Index("sellout_entries2", ("upload_id",)),
            Index("sellout_entries2", ("reseller",), also=("year", "month")),
            Index("sellout_entries2", ("product_ean",), also=("year", "month")),
        ),
    ),
    _table("processing_logs", ("upload_id",), ("created_at DESC",)),
    _table("transform_logs", ("upload_id",), ("created_at DESC",)),
    _table("email_logs", ("created_at DESC",)),
)

#: Rows that must belong to the client of their parent: (child, its column, parent).
CHILDREN = (
    ("sellout_entries2", "upload_id", "uploads"),
    ("processing_logs", "upload_id", "uploads"),
    ("transform_logs", "upload_id", "uploads"),
)
