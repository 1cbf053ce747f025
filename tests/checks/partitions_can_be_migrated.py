"""What partitions_can_be_migrated finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import PARTITIONED, logged
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "partitions_can_be_migrated",
        "partitioned partition",
        near_miss=f"{PARTITIONED}; CREATE TABLE public.mails_default PARTITION OF public.email_logs DEFAULT",
        violation=f"{PARTITIONED}; CREATE TABLE public.mails_default PARTITION OF public.email_logs DEFAULT"
        " PARTITION BY RANGE (created_at)",
        object="public.mails_default",
        problem="is a partition of public.email_logs that is not an ordinary table",
        mended_by="--skip-table email_logs",
    ),
    Case(
        "partitions_can_be_migrated",
        "partition in another schema",
        near_miss=f"{PARTITIONED}; CREATE TABLE public.mails_default PARTITION OF public.email_logs DEFAULT",
        violation=f"{PARTITIONED}; RESET ROLE; CREATE SCHEMA archive"
        " CREATE TABLE mails PARTITION OF public.email_logs DEFAULT",
        object="archive.mails",
        problem="is a partition of public.email_logs in another schema",
        mended_by="--skip-table email_logs",
    ),
    Case(
        "partitions_can_be_migrated",
        "partitioned with a client_id of its own",
        near_miss="ALTER TABLE public.uploads ADD client_id uuid; ALTER TABLE public.products ADD client_id uuid;"
        + logged("add_client_id(uploads)")
        + PARTITIONED,
        violation=f"{PARTITIONED}; ALTER TABLE public.email_logs ADD client_id uuid",
        object="public.email_logs.client_id",
        problem="is the column of a partitioned table, and was there before Phase 1",
        mended_by="--skip-table email_logs",
    ),
)
