"""What lock_timeout_is_below_that_of_deadlocks finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "lock_timeout_is_below_that_of_deadlocks",
        "as long",
        near_miss="ALTER DATABASE {database} SET deadlock_timeout = '800ms'",
        near_miss_options=("--lock-timeout", "799ms"),
        violation="",
        options=("--lock-timeout", "800ms"),
        object="--lock-timeout",
        problem="800ms is not below deadlock_timeout, 800 ms: .* the application's statement may be the one",
        mended_by="leave it out, or give less",
        options_by_hand=("--lock-timeout", "100ms"),
    ),
)
