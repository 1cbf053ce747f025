"""The README says what is true."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from phase_1.certificate import trusted_key
from phase_1.options import parser
from tests.claims import Claim, markdown
from tests.support.certificate import PASSED, ROOT, Key, TestResult, document, write
from tests.support.keys import make_keys
from tests.support.runner import copied

README = (ROOT / "README.md").read_text(encoding="utf-8")
GATE = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
PAGES = pytest.mark.parametrize("page", [README, GATE], ids=["README.md", "docs/gate.md"])


def test_readme_lists_the_claims() -> None:
    """The README's table is the list of claims; ``python -m tests.claims`` prints it.

    Who decides on the README would decide on other promises than those that are certified.
    """
    [table] = re.findall(r"<!-- claims -->\n(.*?)\n<!-- /claims -->", README, re.DOTALL)
    assert table == markdown()


@PAGES
def test_page_names_only_options_that_exist(page: str) -> None:
    """Every option that a page gives to migrate.py is one.

    The first command that a stranger copies would be refused.
    """
    known = set(re.findall(r"--[a-z-]+", parser().format_help()))
    used = {
        option
        for line in re.findall(r"(?:migrate\.py|/phase-1) (?:[^`\n\\]|\\\n)*", page)
        for option in re.findall(r"--[a-z-]+", line.partition("#")[0])
    }
    assert used - known == set()


def test_page_makes_keys_that_sign_and_are_trusted(tmp_path: Path) -> None:
    """The command of docs/gate.md for a pair of keys makes one that signs, and one that the runner trusts.

    Who has no key leaves the gate open.
    """
    [command] = re.findall(r"^\$ (openssl genpkey .*)$", GATE, re.MULTILINE)
    subprocess.run(command, shell=True, cwd=tmp_path, check=True, capture_output=True)  # noqa: S602 - the page's
    key = Key((tmp_path / "sign.key").read_bytes())
    assert trusted_key(str(tmp_path / "trusted.pub")).keyid == key.id


@pytest.mark.parametrize(
    ("change", "said"),
    [("", "Signature Verified Successfully\ncertified\n"), ("echo >> migrate.py", "migrate.py: FAILED")],
    ids=["as certified", "a file changed"],
)
def test_page_compares_the_files_without_our_code(tmp_path: Path, change: str, said: str) -> None:
    """The commands of docs/gate.md that check a certificate from outside say what it and the files are like.

    Who cannot trust the machine has nothing else to go by.
    """
    tree, keys = copied(tmp_path / "tree"), make_keys(tmp_path, "trusted")
    result = TestResult("test_it.py::test_it", ["one"], PASSED)
    server = {"kind": "embedded", "version": "18.0", "version_num": 180000}
    claims = [Claim("one", "It holds.", "2.1")]
    made = document(claims, [result], server=server, seconds=1.0, reasons=[], totals={}, controlled=["one"])
    write(made, tree, key=keys.key)
    (tree / "trusted.pub").write_bytes(Path(keys.public).read_bytes())
    [commands] = re.findall(r"<!-- outside -->\n```sh\n(.*?)```", GATE, re.DOTALL)
    script = f"{change}\n{commands}"
    done = subprocess.run(["bash", "-c", script], cwd=tree, capture_output=True, text=True, check=True)
    assert said in done.stdout, done
    assert ("FAILED" in done.stdout) == bool(change)


@PAGES
def test_page_points_to_files_that_are_there(page: str) -> None:
    """Every file that a page shows or names in the repository is in it.

    A picture that is missing is the first thing a visitor sees.
    """
    for path in re.findall(r"\]\(([^)#:]+)\)", page):
        assert (ROOT / path).exists(), path
