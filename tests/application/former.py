"""Tables of Phase 1's names that an application has had before, written out by hand in the promised shape."""

from __future__ import annotations

#: Organizations as Phase 1 would create them, with nothing granted and the policy that denies the web API.
ORGANIZATIONS = """
CREATE TABLE public.organizations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL UNIQUE,
    slug text NOT NULL UNIQUE,
    settings jsonb DEFAULT '{}',
    is_active boolean DEFAULT TRUE,
    created_at timestamp with time zone DEFAULT now(),
    updated_at timestamp with time zone DEFAULT now()
);
ALTER TABLE public.organizations ENABLE ROW LEVEL SECURITY;
CREATE POLICY phase_1_denied ON public.organizations
    AS RESTRICTIVE FOR ALL TO anon, authenticated USING (FALSE) WITH CHECK (FALSE);
"""
#: A log as Phase 1 would create it.
LOG = """
CREATE TABLE public.migration_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    phase text NOT NULL,
    operation text NOT NULL,
    status text NOT NULL CHECK (status IN ('started', 'completed', 'failed', 'skipped')),
    details jsonb NOT NULL DEFAULT '{}',
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE public.migration_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY phase_1_denied ON public.migration_log
    AS RESTRICTIVE FOR ALL TO anon, authenticated USING (FALSE) WITH CHECK (FALSE);
"""
