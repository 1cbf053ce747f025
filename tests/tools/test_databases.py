import time
import pytest
@pytest.mark.parametrize("i", range(10), ids=str)
def test_e(database,i): database.connect()
def test_h(database): 
    database.dump()
    with database.connect(application_name="x") as c, pytest.raises(Exception): c.execute("select pg_sleep(1), 1/0")
def test_m(migrated): print(migrated.checksum(), migrated.query("select count(*) from migration_log"))
