"""What users_have_a_uuid_key finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "users_have_a_uuid_key",
        "a NULL",
        near_miss="ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey;"
        "ALTER TABLE public.users DROP CONSTRAINT users_pkey, ADD UNIQUE (id), ALTER id SET NOT NULL",
        violation="ALTER TABLE public.users ALTER id DROP NOT NULL;"
        "INSERT INTO public.users (id, email) VALUES (NULL, 'nobody@example.com')",
        object="public.users",
        problem="has no unique column id of type uuid that is NOT NULL",
        mended_by="users.id uuid PRIMARY KEY",
        by_hand="DELETE FROM public.users WHERE id IS NULL; ALTER TABLE public.users ADD PRIMARY KEY (id)",
    ),
    Case(
        "users_have_a_uuid_key",
        "NOT NULL that was never validated",
        near_miss="ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey;"
        "ALTER TABLE public.users DROP CONSTRAINT users_pkey, ADD UNIQUE (id), ALTER id SET NOT NULL,"
        " ADD COLUMN note text, ADD CONSTRAINT users_note NOT NULL note NOT VALID,"
        " ADD CONSTRAINT users_known CHECK (id IS NOT NULL) NOT VALID; CREATE TABLE public.attic (id uuid);"
        "ALTER TABLE public.attic ADD CONSTRAINT attic_id NOT NULL id NOT VALID",
        violation="ALTER TABLE public.users ALTER id DROP NOT NULL, ADD CONSTRAINT users_id NOT NULL id NOT VALID",
        object="public.users",
        problem="has no unique column id of type uuid that is NOT NULL",
        mended_by="users.id uuid PRIMARY KEY",
        by_hand="ALTER TABLE public.users VALIDATE CONSTRAINT users_id",
        pg=">= 18",
    ),
    Case(
        "users_have_a_uuid_key",
        "no key",
        near_miss="ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey;"
        "ALTER TABLE public.users DROP CONSTRAINT users_pkey, ADD PRIMARY KEY (id) INCLUDE (email)",
        violation="ALTER TABLE public.users DROP CONSTRAINT users_pkey, ADD key uuid UNIQUE;"
        "UPDATE public.users SET key = id; ALTER TABLE public.users ALTER key SET NOT NULL;"
        "CREATE UNIQUE INDEX ON public.users (id, email); CREATE INDEX ON public.users (id);"
        "CREATE UNIQUE INDEX half_built ON public.users (id);"
        "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'public.half_built'::regclass",
        object="public.users",
        problem="has no unique column id of type uuid",
        mended_by="users.id uuid PRIMARY KEY",
        by_hand="DROP INDEX public.half_built; ALTER TABLE public.users ALTER key DROP NOT NULL, ADD PRIMARY KEY (id)",
    ),
    Case(
        "users_have_a_uuid_key",
        "deferrable",
        near_miss="ALTER TABLE public.users RENAME TO people",
        violation="ALTER TABLE public.people RENAME TO users;"
        "ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey;"
        "ALTER TABLE public.users DROP CONSTRAINT users_pkey, ADD UNIQUE (id) DEFERRABLE",
        object="public.users",
        problem="has no unique column id of type uuid",
        mended_by="users.id uuid PRIMARY KEY",
        by_hand="ALTER TABLE public.users ADD PRIMARY KEY (id)",
    ),
    Case(
        "users_have_a_uuid_key",
        "text",
        violation="ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey;"
        "ALTER TABLE public.users ALTER id DROP DEFAULT, ALTER id TYPE text",
        object="public.users",
        problem="has no unique column id of type uuid",
        mended_by="users.id uuid PRIMARY KEY",
        by_hand="ALTER TABLE public.users ALTER id TYPE uuid USING id::uuid",
    ),
    Case(
        "users_have_a_uuid_key",
        "of some rows",
        violation="ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey;"
        "ALTER TABLE public.users DROP CONSTRAINT users_pkey;"
        "CREATE UNIQUE INDEX ON public.users (id) WHERE email IS NOT NULL",
        object="public.users",
        problem="has no unique column id of type uuid",
        mended_by="users.id uuid PRIMARY KEY",
        by_hand="ALTER TABLE public.users ADD PRIMARY KEY (id)",
    ),
)
