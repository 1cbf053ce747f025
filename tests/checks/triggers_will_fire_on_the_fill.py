"""What triggers_will_fire_on_the_fill finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import ORGANIZATIONS, OWN_CLIENT_ID
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "triggers_will_fire_on_the_fill",
        "on update",
        near_miss=ORGANIZATIONS
        + OWN_CLIENT_ID
        + """
            RESET ROLE;
            CREATE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
            CREATE TRIGGER on_insert BEFORE INSERT ON public.email_logs FOR EACH ROW EXECUTE FUNCTION public.stamp();
            CREATE TRIGGER on_name BEFORE UPDATE OF recipient ON public.email_logs
                FOR EACH ROW EXECUTE FUNCTION public.stamp();
            CREATE TRIGGER elsewhere BEFORE UPDATE ON public.products FOR EACH ROW EXECUTE FUNCTION public.stamp();
            -- the triggers of a foreign key are PostgreSQL's own
            CREATE TABLE public.answers (mail uuid REFERENCES public.email_logs (id));
            -- at the place of the recipient
            CREATE TABLE public.clients (id uuid, client_id uuid);
        """,
        violation="CREATE TRIGGER on_update BEFORE UPDATE ON public.email_logs"
        " FOR EACH ROW EXECUTE FUNCTION public.stamp()",
        object="trigger on_update on public.email_logs",
        problem="is applied to the rows whose client_id is filled",
        mended_by="see what it does to a row that is updated",
        by_hand="ALTER TABLE public.email_logs DISABLE TRIGGER on_update",
    ),
    Case(
        "triggers_will_fire_on_the_fill",
        "rule",
        near_miss="ALTER TABLE public.email_logs ADD COLUMN client_id uuid;"
        "CREATE RULE kept AS ON DELETE TO public.email_logs DO INSTEAD NOTHING;"
        "CREATE RULE elsewhere AS ON UPDATE TO public.products DO INSTEAD NOTHING",
        violation="CREATE RULE never AS ON UPDATE TO public.email_logs DO INSTEAD NOTHING",
        object="rule never on public.email_logs",
        problem=r"is applied to the rows whose client_id is filled, .* the migration stops there \(23514\)",
        mended_by="see what it does to a row that is updated",
        by_hand="ALTER TABLE public.email_logs DISABLE RULE never",
    ),
    Case(
        "triggers_will_fire_on_the_fill",
        "nothing to fill",
        near_miss=ORGANIZATIONS
        + OWN_CLIENT_ID
        + """
            RESET ROLE;
            CREATE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
            UPDATE public.email_logs SET client_id = '11111111-1111-4111-8111-111111111111';
            CREATE TRIGGER on_update BEFORE UPDATE ON public.email_logs FOR EACH ROW EXECUTE FUNCTION public.stamp();
        """,
        violation="ALTER TABLE public.email_logs DISABLE TRIGGER USER; UPDATE public.email_logs SET client_id = NULL;"
        "ALTER TABLE public.email_logs ENABLE TRIGGER USER",
        object="trigger on_update on public.email_logs",
        problem="is applied to the rows whose client_id is filled",
        mended_by="see what it does to a row that is updated",
        by_hand="DROP TRIGGER on_update ON public.email_logs",
    ),
)
