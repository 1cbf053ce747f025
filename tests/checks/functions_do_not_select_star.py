"""What functions_do_not_select_star finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "functions_do_not_select_star",
        "setof record",
        near_miss="""
            CREATE FUNCTION public.all_mail() RETURNS SETOF public.email_logs LANGUAGE sql
                AS 'SELECT * FROM public.email_logs';
            CREATE FUNCTION public.mail_count() RETURNS TABLE (n bigint) LANGUAGE sql
                AS 'SELECT count(*) FROM public.email_logs';
            CREATE FUNCTION public.other() RETURNS TABLE (id int) LANGUAGE sql
                AS 'SELECT * FROM (SELECT 1) AS x WHERE 2 * 3 > (SELECT count(*) FROM public.email_logs)';
            CREATE FUNCTION public.any_recipient() RETURNS text LANGUAGE sql
                AS 'SELECT m.recipient FROM (SELECT * FROM public.email_logs) AS m LIMIT 1';
            CREATE FUNCTION public.mail_recipients() RETURNS SETOF text LANGUAGE sql
                AS 'SELECT recipient FROM public.email_logs';
        """,
        violation="CREATE FUNCTION public.mail_list() RETURNS TABLE (id uuid,"
        " recipient text, subject text, status text,"
        " sent_at timestamptz, created_at timestamptz) LANGUAGE plpgsql"
        " AS 'BEGIN RETURN QUERY SELECT m.* FROM email_logs AS m; END'",
        object=r"public.mail_list\(\)",
        problem="SELECT \\* from public.email_logs, and fails once that has one column more",
        mended_by="name the columns in it before the migration",
        by_hand="CREATE OR REPLACE FUNCTION public.mail_list() RETURNS TABLE (id uuid, recipient text, subject text,"
        " status text, sent_at timestamptz, created_at timestamptz) LANGUAGE sql"
        " AS 'SELECT id, recipient, subject, status, sent_at, created_at FROM public.email_logs'",
    ),
    Case(
        "functions_do_not_select_star",
        "one row of SQL",
        violation="CREATE FUNCTION public.first_mail(OUT id uuid, OUT recipient text,"
        " OUT subject text, OUT status text,"
        " OUT sent_at timestamptz, OUT created_at timestamptz) LANGUAGE sql"
        " AS 'SELECT * FROM public.email_logs ORDER BY created_at LIMIT 1'",
        object=r"public.first_mail\(\)",
        problem="SELECT \\* from public.email_logs, and fails once that has one column more",
        mended_by="name the columns in it before the migration",
        by_hand="DROP FUNCTION public.first_mail()",
    ),
)
