"""What roles_exist finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "roles_exist",
        "unknown",
        near_miss_options=("--grant-execute-to", "authenticator"),
        violation="",
        options=("--grant-execute-to", "nobody_here"),
        object="role nobody_here",
        problem="does not exist on this server",
        mended_by="correct --grant-execute-to",
        options_by_hand=("--grant-execute-to", "authenticator"),
    ),
)
