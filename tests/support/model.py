"""The promises as plain Python: who belongs where, who owns which row, and which steps are left to do.

Written from SPEC, sections 4, 7 and 8, and from nothing in ``sql/``: where the two disagree, one of them is
wrong. Ids are text; uuids in lower case sort as PostgreSQL sorts them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone

DEFAULT = "00000000-0000-4000-8000-000000000001"
DEFAULT_SLUG = "default-org"

TABLES = ("users", "uploads", "sellout_entries2", "products", "processing_logs", "transform_logs", "email_logs")
#: Whose rows belong to the client of their upload.
CHILDREN = ("sellout_entries2", "processing_logs", "transform_logs")
#: Whose rows go with their upload. The deployed application has no foreign key on transform_logs.
CASCADES = {"founding": CHILDREN, "deployed": ("sellout_entries2", "processing_logs")}

#: What each step back takes back, for the same table or index.
UNDOES = {
    "drop_validate_client_data_integrity": ("create_validate_client_data_integrity",),
    "drop_validate_client_access": ("create_validate_client_access",),
    "drop_get_user_organization_id": ("create_get_user_organization_id",),
    "unpin_client": ("pin_client",),
    "drop_user_organizations": ("create_user_organizations", "add_memberships(users)"),
    "drop_client_id_foreign_key": ("add_client_id_foreign_key", "validate_client_id_foreign_key"),
    "drop_client_id": ("add_client_id", "analyze_table"),
    "delete_default_organization": ("create_default_organization",),
    "drop_organizations": ("create_organizations",),
}

_LATEST = datetime.max.replace(tzinfo=timezone.utc)


@dataclass
class Organization:
    """A client; ``active`` may be None, as the column allows NULL, which is not active."""

    slug: str
    active: bool | None = True


@dataclass
class Membership:
    """A user in an organization; ``id`` and ``created_at`` are None until the database has chosen them."""

    active: bool | None = True
    created_at: datetime | None = None
    id: str | None = None


@dataclass
class Row:
    """A row of a tenant table: its upload, its client (None: no such column), and a digest of the rest."""

    parent: str | None
    client: str | None
    digest: str


@dataclass(frozen=True)
class Counts:
    """What ``validate_client_data_integrity`` has to count in each table, and its verdict."""

    disagreeing: dict[str, int]

    @property
    def passed(self) -> bool:
        return not any(self.disagreeing.values())


class Model:
    """A database with the application in it, before, after, or on the way to Phase 1.

    ``forward`` are the steps of a first migration, ``back`` those of a rollback of all of it.
    """

    def __init__(
        self, variant: str, rows: dict[str, dict[str, Row]], forward: Iterable[str], back: Iterable[str]
    ) -> None:
        self.variant = variant
        self.rows = rows
        self.organizations: dict[str, Organization] = {}
        #: By user and organization, of which there is one each.
        self.memberships: dict[tuple[str, str], Membership] = {}
        self.done: set[str] = set()
        #: Whether each index that is there is valid.
        self.indexes: dict[str, bool] = {}
        self._forward = tuple(forward)
        self._back = tuple(back)

    # Section 4: the functions

    def organization_of(self, user: str | None) -> str | None:
        """What ``get_user_organization_id`` has to answer; of memberships without a time the id decides, last."""
        if user not in self.rows["users"]:
            return None
        client = self.rows["users"][user].client
        memberships = self.memberships_of(user)
        if not memberships:
            return client if self._is_active(client) else None
        usable = {
            organization: (membership.created_at or _LATEST, membership.id or "")
            for organization, membership in memberships.items()
            if membership.active and self._is_active(organization)
        }
        if client in usable:
            return client
        return min(usable, key=lambda organization: usable[organization], default=None)

    def may_access(self, user: str | None, client: str | None) -> bool:
        """What ``validate_client_access`` has to answer."""
        if user not in self.rows["users"] or client is None or not self._is_active(client):
            return False
        memberships = self.memberships_of(user)
        if not memberships:
            return self.rows["users"][user].client == client
        return client in memberships and memberships[client].active is True

    def integrity(self) -> Counts:
        """What ``validate_client_data_integrity`` has to count; the rest is guaranteed by the columns."""
        disagreeing = dict.fromkeys(TABLES, 0)
        for user, row in self.rows["users"].items():
            memberships = self.memberships_of(user)
            disagreeing["users"] += bool(memberships) and row.client not in memberships
        for table in CHILDREN:
            for row in self.rows[table].values():
                # An upload that is gone has no client to agree with.
                parent = self.rows["uploads"].get(row.parent or "")
                disagreeing[table] += parent is not None and parent.client != row.client
        return Counts(disagreeing)

    def memberships_of(self, user: str) -> dict[str, Membership]:
        """The user's memberships, active or not, by organization."""
        return {organization: each for (who, organization), each in self.memberships.items() if who == user}

    def _is_active(self, organization: str | None) -> bool:
        found = self.organizations.get(organization or "")
        return found is not None and found.active is True

    # What people and the application do

    def owns_something(self, organization: str) -> bool:
        """Whether a row or a membership refers to the organization, which then cannot be deleted."""
        rows = (row for table in self.rows.values() for row in table.values())
        return any(row.client == organization for row in rows) or any(
            each == organization for _, each in self.memberships
        )

    def delete_user(self, user: str) -> None:
        """The user goes, and the memberships; the uploads stay, with their client."""
        del self.rows["users"][user]
        self.memberships = {pair: each for pair, each in self.memberships.items() if pair[0] != user}

    def delete_upload(self, upload: str) -> None:
        """The upload goes, and what the application's foreign keys take along."""
        del self.rows["uploads"][upload]
        for table in CASCADES[self.variant]:
            self.rows[table] = {key: row for key, row in self.rows[table].items() if row.parent != upload}

    def follow(self, seen: dict[str, dict[str, Row]]) -> None:
        """Takes over what the old application did to its rows, but not to whom they belong.

        A row that is new belongs to the default organization, one that was there to whom it did before.
        """
        for table, rows in seen.items():
            former = self.rows[table]
            new = DEFAULT if self.has_client(table) else None
            for user in former.keys() - rows.keys() if table == "users" else ():
                self.delete_user(user)
            # New ones last: the order of ids that the server draws would be another one each time.
            there = [*(key for key in former if key in rows), *(key for key in rows if key not in former)]
            self.rows[table] = {
                key: Row(rows[key].parent, former[key].client if key in former else new, rows[key].digest)
                for key in there
            }

    # Sections 7 and 8: there and back

    @property
    def migrated(self) -> bool:
        return not self.to_do()

    @property
    def pristine(self) -> bool:
        """Whether nothing of Phase 1 is there, but for the log."""
        return not self.to_undo()

    @property
    def logged(self) -> bool:
        """Whether there is a log, which the rollback leaves where it is."""
        return "create_migration_log" in self.done

    def has_client(self, table: str) -> bool:
        """Whether the table has its client_id."""
        return f"add_client_id({table})" in self.done

    def to_do(self) -> list[str]:
        """The steps that a migration has to run, in their order."""
        steps = []
        broken = [f"drop_invalid_index({name})" for name, valid in self._in_order(self.indexes) if not valid]
        for step in self._forward:
            name, target = _split(step)
            if name == "create_index":
                steps += broken
                broken = []
                if not self.indexes.get(target):
                    steps.append(step)
            elif step not in self.done:
                steps.append(step)
        return steps

    def to_undo(self) -> list[str]:
        """The steps that a rollback has to run, in their order."""
        return [step for step in self._back if self._undone(step)]

    def refused(self) -> bool:
        """Whether a migration has to be refused, since rows would belong to another client than their upload.

        Asked where a client_id is there and not tied to organizations: half-way back. A row whose client is
        lost already would be the default organization's.
        """
        loose = {
            table
            for table in TABLES
            if self.has_client(table) and f"add_client_id_foreign_key({table})" not in self.done
        }
        return any(
            (row.client or DEFAULT) != (self.rows["uploads"][row.parent].client or DEFAULT)
            for table in CHILDREN
            if loose & {table, "uploads"}
            for row in self.rows[table].values()
            if row.parent in self.rows["uploads"]
        )

    def lost(self) -> Counter[tuple[str, str]]:
        """How many rows and memberships of which organization, itself included, a rollback has to announce as lost."""
        if "create_organizations" not in self.done:
            return Counter()
        lost = Counter(
            (self.organizations[row.client].slug, table)
            for table in TABLES
            for row in self.rows[table].values()
            if row.client is not None
        )
        lost.update((self.organizations[each].slug, "user_organizations") for _, each in self.memberships)
        lost.update((each.slug, "organizations") for each in self.organizations.values())
        return lost

    def apply(self, step: str) -> None:
        """A step of the migration or of the rollback has been committed."""
        name, target = _split(step)
        if name in ("drop_index", "drop_invalid_index"):
            del self.indexes[target]
        elif name in UNDOES:
            self.done -= set(_targets(UNDOES[name], target))
        elif name == "create_index":
            self.indexes[target] = True
        else:
            self.done.add(step)
        effects = {
            "create_default_organization": self._create_default_organization,
            "add_client_id": lambda: self._give_all(target, DEFAULT),
            "add_memberships": self._add_memberships,
            "drop_user_organizations": self.memberships.clear,
            "drop_client_id": lambda: self._give_all(target, None),
            "delete_default_organization": lambda: self.organizations.pop(DEFAULT),
            "drop_organizations": self.organizations.clear,
        }
        if name in effects:
            effects[name]()

    def invalidate(self, step: str) -> None:
        """The build or the drop of an index was killed half-way, outside of any transaction."""
        self.indexes[_split(step)[1]] = False

    def _create_default_organization(self) -> None:
        self.organizations[DEFAULT] = Organization(DEFAULT_SLUG)

    def _add_memberships(self) -> None:
        for user, row in self.rows["users"].items():
            assert row.client is not None, "client_id comes before the memberships"
            self.memberships.setdefault((user, row.client), Membership())

    def _give_all(self, table: str, client: str | None) -> None:
        for row in self.rows[table].values():
            row.client = client

    def _undone(self, step: str) -> bool:
        """Whether there is something for a step back to take back."""
        name, target = _split(step)
        if name == "drop_index":
            return target in self.indexes
        return _targets(UNDOES[name], target)[0] in self.done

    def _in_order(self, indexes: dict[str, bool]) -> list[tuple[str, bool]]:
        order = [_split(step)[1] for step in self._forward]
        return sorted(indexes.items(), key=lambda index: order.index(index[0]))


def _split(step: str) -> tuple[str, str]:
    """``create_index(idx_x)`` as its name and what it is for; the latter is empty for the whole database."""
    name, _, target = step.removesuffix(")").partition("(")
    return name, target


def _targets(names: Iterable[str], target: str) -> list[str]:
    return [f"{name}({target})" if target else name for name in names]
