"""What client_id_foreign_key_restricts finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import ORGANIZATIONS
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "client_id_foreign_key_restricts",
        "another table",
        near_miss="CREATE TABLE public.clients (id uuid PRIMARY KEY);"
        "ALTER TABLE public.uploads ADD COLUMN owner_id uuid REFERENCES public.clients (id)",
        violation="ALTER TABLE public.uploads ADD COLUMN client_id uuid REFERENCES public.clients (id)",
        object="constraint uploads_client_id_fkey on public.uploads",
        problem="ties client_id in another way: FOREIGN KEY",
        mended_by="ALTER TABLE public.uploads DROP CONSTRAINT uploads_client_id_fkey",
    ),
    Case(
        "client_id_foreign_key_restricts",
        "cascades",
        near_miss=ORGANIZATIONS + "ALTER TABLE public.uploads ADD COLUMN client_id uuid"
        " REFERENCES public.organizations (id) ON DELETE RESTRICT",
        violation="ALTER TABLE public.email_logs ADD COLUMN client_id uuid"
        " REFERENCES public.organizations (id) ON DELETE CASCADE",
        object="constraint email_logs_client_id_fkey on public.email_logs",
        problem="ties client_id in another way: FOREIGN KEY .* ON DELETE CASCADE",
        mended_by="ALTER TABLE public.email_logs DROP CONSTRAINT email_logs_client_id_fkey",
    ),
    Case(
        "client_id_foreign_key_restricts",
        "not enforced",
        near_miss=ORGANIZATIONS + "ALTER TABLE public.uploads ADD COLUMN client_id uuid"
        " REFERENCES public.organizations (id) ON DELETE RESTRICT",
        violation="ALTER TABLE public.uploads ALTER CONSTRAINT uploads_client_id_fkey NOT ENFORCED",
        object="constraint uploads_client_id_fkey on public.uploads",
        problem="ties client_id in another way: FOREIGN KEY .* NOT ENFORCED",
        mended_by="ALTER TABLE public.uploads DROP CONSTRAINT uploads_client_id_fkey",
        pg=">= 18",
    ),
    Case(
        "client_id_foreign_key_restricts",
        "name taken",
        near_miss="ALTER TABLE public.products ADD CONSTRAINT uploads_client_id_fkey CHECK (ean <> '')",
        violation="ALTER TABLE public.uploads ADD CONSTRAINT uploads_client_id_fkey CHECK (filename <> '')",
        object="constraint uploads_client_id_fkey on public.uploads",
        problem="has the name of the foreign key to come: CHECK",
        mended_by="ALTER TABLE public.uploads RENAME CONSTRAINT uploads_client_id_fkey"
        " TO former_uploads_client_id_fkey",
    ),
    Case(
        "client_id_foreign_key_restricts",
        "name of the check taken",
        near_miss="ALTER TABLE public.uploads ADD COLUMN client_id uuid,"
        " ADD CONSTRAINT phase_1_client_id_check CHECK (client_id IS NOT NULL) NOT VALID",
        violation="ALTER TABLE public.uploads DROP CONSTRAINT phase_1_client_id_check,"
        " ADD CONSTRAINT phase_1_client_id_check CHECK (filename <> '')",
        object="constraint phase_1_client_id_check on public.uploads",
        problem="has the name of the foreign key to come: CHECK",
        mended_by="ALTER TABLE public.uploads RENAME CONSTRAINT phase_1_client_id_check"
        " TO former_phase_1_client_id_check",
    ),
)
