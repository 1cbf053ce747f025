"""What index_literals_fit finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

#: The state of an upload as an enum, with these labels, and what is in the way of it.
STATUS = """
DROP FUNCTION public.finish_upload;
ALTER TABLE public.uploads DROP CONSTRAINT uploads_status_check, ALTER status DROP DEFAULT;
CREATE TYPE public.{name} AS ENUM ({labels});
ALTER TABLE public.uploads ALTER status TYPE public.{name} USING 'done'::public.{name};
"""

#: A type as the extension citext has it, which not every server has.
CITEXT = """
DROP FUNCTION public.finish_upload;
ALTER TABLE public.uploads DROP CONSTRAINT uploads_status_check, ALTER status DROP DEFAULT;
CREATE TYPE public.citext;
CREATE FUNCTION public.citextin(cstring) RETURNS public.citext LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION public.citextout(public.citext) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE public.citext (INPUT = public.citextin, OUTPUT = public.citextout, LIKE = text, CATEGORY = 'S');
CREATE CAST (text AS public.citext) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE CAST (public.citext AS text) WITHOUT FUNCTION AS IMPLICIT;
"""

BEFORE: tuple[Case, ...] = (
    Case(
        "index_literals_fit",
        "enum without the labels",
        near_miss=STATUS.format(name="state", labels="'pending', 'processing', 'done'")
        + "CREATE DOMAIN public.labels AS public.state; ALTER TABLE public.uploads ALTER status TYPE public.labels",
        violation="CREATE TYPE public.shorter AS ENUM ('processing', 'done');"
        "ALTER TABLE public.uploads ALTER status TYPE public.shorter USING 'done'::public.shorter",
        object="public.uploads.status",
        problem="is of type public.shorter and never 'pending', the rows that idx_uploads_client_status is of",
        mended_by="--skip-index",
        by_hand="ALTER TYPE public.shorter ADD VALUE 'pending'",
    ),
    Case(
        "index_literals_fit",
        "number",
        near_miss="ALTER TABLE public.uploads ALTER status TYPE varchar(20); CREATE TABLE public.states (status int)",
        violation="DROP FUNCTION public.finish_upload; ALTER TABLE public.uploads DROP CONSTRAINT uploads_status_check,"
        " ALTER status DROP DEFAULT, ALTER status TYPE integer USING 0",
        object="public.uploads.status",
        problem="is of type integer and never 'pending' or 'processing'",
        mended_by="--skip-index idx_uploads_client_status",
    ),
    Case(
        "index_literals_fit",
        "text that is compared in another way",
        near_miss=CITEXT + "CREATE TABLE public.states (status public.citext); CREATE DOMAIN public.short AS char(20);"
        "CREATE DOMAIN public.status AS public.short; ALTER TABLE public.uploads ALTER status TYPE public.status",
        violation="CREATE DOMAIN public.of_upload AS public.citext;"
        "ALTER TABLE public.uploads ALTER status TYPE public.of_upload USING status::text::public.citext",
        object="public.uploads.status",
        problem="is of type public.of_upload, whose = is not that of text: idx_uploads_client_status would serve",
        mended_by="--skip-index idx_uploads_client_status",
    ),
)
