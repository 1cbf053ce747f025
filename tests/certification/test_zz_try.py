import time
from tests.certification.test_rerun import *
def test_second(templates):
    database = templates.clone("founding")
    holder = database.connect(autocommit=False)
    holder.execute("LOCK TABLE public.email_logs IN ACCESS SHARE MODE")
    t=time.perf_counter()
    first = start("--dsn", database.owner_dsn, "--force", "--lock-timeout", "10s")
    (pid,) = wait_for(
            database,
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'phase_1' AND wait_event_type = 'Lock'"
            " AND datname = current_database()",
        )
    print(time.perf_counter()-t)
    r = run("--dsn", database.owner_dsn, "--force"); print(r.status, time.perf_counter()-t)
    r = run("--dsn", database.owner_dsn, "--dry-run"); print(r.status, r.err[:3000], time.perf_counter()-t)
    r = run("--dsn", database.owner_dsn, "--status"); print(r.status, r.err, time.perf_counter()-t)
    holder.rollback()
    out, err = first.communicate(timeout=PATIENCE)
    print(out, err, time.perf_counter()-t)
    database.drop()
def test_leak(templates, sessions):
    database = templates.clone("founding")
    given = "-c statement_timeout=61s -c lock_timeout=62s -c search_path=auth -c idle_in_transaction_session_timeout=63s"
    dsn = psycopg.conninfo.make_conninfo(database.owner_dsn, options=given)
    for arguments in ( [],["--rollback"], ["--online"]):
        run("--dsn", dsn, "--force", *arguments)
        for b, a in sessions:
            print(arguments, {k: (b['settings'][k], v) for k,v in a['settings'].items() if b['settings'].get(k)!=v}, set(b['settings'])-set(a['settings']))
        sessions.clear()
    database.drop()
