"""The README says what is true."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from phase_1.certificate import trusted_key
from phase_1.options import parser
from tests.claims import markdown
from tests.support.certificate import ROOT, Key

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_lists_the_claims() -> None:
    """The README's table is the list of claims; ``python -m tests.claims`` prints it.

    Who decides on the README would decide on other promises than those that are certified.
    """
    [table] = re.findall(r"<!-- claims -->\n(.*?)\n<!-- /claims -->", README, re.DOTALL)
    assert table == markdown()


def test_readme_names_only_options_that_exist() -> None:
    """Every option that the README gives to migrate.py is one.

    The first command that a stranger copies would be refused.
    """
    known = set(re.findall(r"--[a-z-]+", parser().format_help()))
    used = {
        option
        for line in re.findall(r"(?:python )?migrate\.py [^`\n]*", README)
        for option in re.findall(r"--[a-z-]+", line.partition("#")[0])
    }
    assert used - known == set()


def test_readme_makes_keys_that_sign_and_are_trusted(tmp_path: Path) -> None:
    """The README's command for a pair of keys makes one that signs, and one that the runner trusts.

    Who has no key leaves the gate open.
    """
    [command] = re.findall(r"^\$ (openssl genpkey .*)$", README, re.MULTILINE)
    subprocess.run(command, shell=True, cwd=tmp_path, check=True, capture_output=True)  # noqa: S602 - the README's
    key = Key((tmp_path / "sign.key").read_bytes())
    assert trusted_key(str(tmp_path / "trusted.pub")).keyid == key.id


def test_readme_points_to_files_that_are_there() -> None:
    """Every file that the README shows or names in the repository is in it.

    A picture that is missing is the first thing a visitor sees.
    """
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path
