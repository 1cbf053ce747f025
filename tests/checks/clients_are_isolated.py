"""What clients_are_isolated finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import SECOND
from tests.support.cases import Case

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "clients_are_isolated",
        "second client",
        near_miss="UPDATE public.organizations SET name = 'Ours', settings = '{\"a\": 1}'",
        violation=SECOND,
        object="public.organizations",
        problem="there is more than one organization, and Phase 1 does not keep them apart: who may read a table reads "
        "the rows of every client$",
        mended_by=r"do not give a second client access before Phase 2 \(row-level security by client\)",
        by_hand="CREATE POLICY of_client ON public.uploads USING (client_id = id)",
    ),
)
