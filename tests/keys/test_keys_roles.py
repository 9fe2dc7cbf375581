"""The table of roles, cell by cell."""

from __future__ import annotations

import pytest

from keys import ALL_ROLES, Permission, Role, permissions_of
from keys.names import name_problem, namespaces_problem, within

S, V, M, A = Role.SERVICE, Role.OBSERVER, Role.MANAGER, Role.ADMIN

WHO_MAY: dict[Permission, Role] = {
    Permission.MEMBERSHIP: S | V | M | A,
    Permission.STATUS_READ: S | V | M | A,
    Permission.CALL: S | M | A,
    Permission.SERVE: S,
    Permission.PUBLISH: S | M | A,
    Permission.SUBSCRIBE: S | M | A,
    Permission.SUBSCRIBE_METADATA: S | V | M | A,
    Permission.ROUTE: M | A,
    Permission.AGENT_REGISTER: S | M | A,
    Permission.AGENT_DEREGISTER: M | A,
    Permission.TASK_SUBMIT: S | M | A,
    Permission.TASK_WORK: S,
    Permission.TASK_READ: S | V | M | A,
    Permission.TASK_CONTROL: M | A,
    Permission.STORE_READ: S | M | A,
    Permission.STORE_WRITE: S | M | A,
    Permission.DECIDE: S | M | A,
    Permission.CONSENSUS: S,
    Permission.CONFIG_READ: V | M | A,
    Permission.CONFIG_CHANGE: M | A,
    Permission.LOG_READ: V | M | A,
    Permission.METRICS_READ: V | M | A,
    Permission.AUDIT_READ: A,
    Permission.CERT_ISSUE: M | A,
    Permission.CERT_REVOKE: M | A,
    Permission.TOKEN_ISSUE: M | A,
    Permission.KEYS_ROTATE: A,
    Permission.NODE_DRAIN: M | A,
    Permission.RAFT_ADMIN: A,
}


@pytest.mark.parametrize("permission", list(Permission))
def test_a_permission_belongs_to_exactly_the_roles_of_the_table(permission: Permission) -> None:
    for role in Role:
        assert (permission in permissions_of(role)) == (role in WHO_MAY[permission])


def test_roles_together_may_what_each_may() -> None:
    assert permissions_of(S | V) == permissions_of(S) | permissions_of(V)
    assert permissions_of(ALL_ROLES) == Permission(sum(Permission))


def test_a_member_without_a_role_may_be_met_and_nothing_else() -> None:
    assert permissions_of(Role(0)) == Permission.MEMBERSHIP | Permission.STATUS_READ


def test_the_numbers_of_roles_are_those_of_the_byte_format() -> None:
    assert [int(role) for role in (S, V, M, A)] == [1, 2, 4, 8]


@pytest.mark.parametrize("name", ["a", "alpha-1", "Alpha.local", "9_x", "a" * 63])
def test_a_plain_name_is_taken(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize(
    "name",
    ["", "a" * 64, "-a", ".a", "a b", "a\n", "a\0", "\u202ea", "аlpha", "a/b", "é", "a\x1b[31m"],
)
def test_a_name_that_could_deceive_a_reader_is_refused(name: str) -> None:
    assert name_problem(name)


def test_a_namespace_holds_itself_and_what_is_below_it() -> None:
    assert within("shop", ("shop",))
    assert within("shop.eu", ("shop",))
    assert not within("shopping", ("shop",))
    assert not within("shop", ("shop.eu",))
    assert not within("*", ("shop",))
    assert within("*", ("*",))
    assert within("shop", ("*",))
    assert not within("shop", ())


@pytest.mark.parametrize(
    "namespaces",
    [("b", "a"), ("a", "a"), ("A",), ("a.",), (".a",), ("a..b",), ("",), ("*.a",), ("a" * 64,)],
)
def test_namespaces_in_another_form_are_refused(namespaces: tuple[str, ...]) -> None:
    assert namespaces_problem(namespaces)


def test_too_many_namespaces_are_refused() -> None:
    assert namespaces_problem(tuple(f"n{at:02}" for at in range(17)))
    assert namespaces_problem(tuple(f"n{at:02}" for at in range(16))) is None
