"""What client_id_is_a_plain_uuid finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "client_id_is_a_plain_uuid",
        "text",
        near_miss="ALTER TABLE public.uploads ADD COLUMN client_id uuid",
        violation="ALTER TABLE public.uploads ALTER client_id TYPE text; UPDATE public.uploads SET client_id = 'acme'",
        object="public.uploads.client_id",
        problem="is there already, as text instead of uuid",
        mended_by="ALTER TABLE public.uploads RENAME COLUMN client_id TO former_client_id",
    ),
    Case(
        "client_id_is_a_plain_uuid",
        "number",
        violation="ALTER TABLE public.uploads ADD COLUMN client_id bigint NOT NULL DEFAULT 7",
        object="public.uploads.client_id",
        problem="is there already, as bigint instead of uuid",
        mended_by="ALTER TABLE public.uploads RENAME COLUMN client_id TO former_client_id",
    ),
    Case(
        "client_id_is_a_plain_uuid",
        "generated",
        violation="ALTER TABLE public.uploads ADD COLUMN client_id uuid GENERATED ALWAYS AS (user_id) STORED",
        object="public.uploads.client_id",
        problem="is a generated column",
        mended_by="ALTER TABLE public.uploads RENAME COLUMN client_id TO former_client_id",
    ),
    Case(
        "client_id_is_a_plain_uuid",
        "NOT NULL that was never validated",
        # The same on a column of another table, in the same place, and on another column; another kind on this one.
        near_miss="ALTER TABLE public.uploads ADD COLUMN client_id uuid, ADD COLUMN note text DEFAULT '',"
        " ADD CONSTRAINT uploads_note NOT NULL note NOT VALID,"
        " ADD CONSTRAINT uploads_known CHECK (client_id IS NOT NULL) NOT VALID;"
        " CREATE TABLE public.attic AS SELECT * FROM public.uploads;"
        " ALTER TABLE public.attic ADD CONSTRAINT attic_client NOT NULL client_id NOT VALID",
        violation="ALTER TABLE public.uploads ADD CONSTRAINT uploads_client NOT NULL client_id NOT VALID",
        object="public.uploads.client_id",
        problem="is NOT NULL by uploads_client, which was never validated: there may be NULLs",
        mended_by="ALTER TABLE public.uploads ALTER COLUMN client_id DROP NOT NULL",
        pg=">= 18",
    ),
)
