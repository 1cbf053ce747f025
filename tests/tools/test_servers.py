import pytest
def test_a(server):
    with server.connect() as c: assert c.execute("select 1").fetchone()==(1,)
    server.log_text(); server.restart()
    with server.connect() as c: assert c.execute("select 1").fetchone()==(1,)
@pytest.mark.pg(">= 15")
def test_b(private_server):
    private_server.kill(); private_server.restart(); assert private_server.log_text().count("not properly shut down")==1
