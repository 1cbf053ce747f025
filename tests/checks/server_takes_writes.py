"""What server_takes_writes finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "server_takes_writes",
        "read-only by default",
        near_miss="ALTER ROLE app_owner IN DATABASE {database} SET default_transaction_isolation = 'serializable'",
        violation="ALTER ROLE app_owner IN DATABASE {database} SET default_transaction_read_only = on",
        object="server",
        problem="transactions are read only by default here",
        mended_by="without default_transaction_read_only",
        by_hand="ALTER ROLE app_owner IN DATABASE {database} RESET default_transaction_read_only",
    ),
)
