"""Policies: what is refused when they are read, which rule decides, and that denying wins."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keys_lab import lab

from keys import (
    NEEDS,
    Action,
    Effect,
    Guard,
    Permission,
    Policy,
    PolicyInvalid,
    Principal,
    Role,
    built_in_text,
    permissions_of,
)
from keys.guard import MAX_REMEMBERED, TOLD_AGAIN_MS, TOLD_IN_A_WINDOW, WINDOW_MS
from keys.policies import parse_policy
from keys.policy import Names, Rule, Who

EVERYTHING = '[[rule]]\nname = "all"\neffect = "allow"\nwho = "*"\nactions = "*"\nwhat = "*"\n'
BASE = lab().principal


def member(
    name: str = "ada", roles: Role = Role.SERVICE, namespaces: tuple[str, ...] = ("*",)
) -> Principal:
    digest = f"{name} {int(roles)} {namespaces}".encode()
    return replace(
        BASE,
        name=name,
        peer_id=f"{name:a<52}",  # type: ignore[arg-type]
        roles=roles,
        permissions=permissions_of(roles),
        namespaces=namespaces,
        certificate_digest=digest,
    )


def rule(name: str = "r", effect: str = "allow", **fields: str) -> str:
    said = {"who": '["*"]', "actions": '["*"]', "what": '["*"]', **fields}
    rest = "".join(f"{key} = {value}\n" for key, value in said.items())
    return f'[[rule]]\nname = "{name}"\neffect = "{effect}"\n{rest}'


def policy(*rules: str) -> Policy:
    return parse_policy("version = 1\n" + "".join(rules))


# -- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "version = 1"),
        ("version = 2", "version = 1"),
        ("version = true", "version = 1"),
        ("version = 1\nrules = 3", "no key 'rules'"),
        ("version = 1\nrule = 3", r"\[\[rule\]\]"),
        ("version = ", "not TOML"),
        ("version = 1\n" + rule() + "until = 3", "no such key"),
        ("version = 1\n[[rule]]\nname = 'r'", "rule 'r', effect: it is missing"),
        ("version = 1\n" + rule(effect="permit"), "neither allow nor deny"),
        ("version = 1\n" + rule(name="a b"), "use letters"),
        ("version = 1\n" + rule() + rule(), "another rule has this name"),
        ("version = 1\n" + rule(who='["role:king"]'), "no such role"),
        ("version = 1\n" + rule(who='["role:SERVICE"]'), "no such role"),
        ("version = 1\n" + rule(who='["ada"]'), "say "),
        ("version = 1\n" + rule(who='["group:ada"]'), "say "),
        ("version = 1\n" + rule(who='["peer:abc"]'), "whole id"),
        ("version = 1\n" + rule(who='["namespace:*"]'), "write "),
        ("version = 1\n" + rule(who='["namespace:Shop"]'), "is not words"),
        ("version = 1\n" + rule(who="[]"), "not empty"),
        ("version = 1\n" + rule(who="[3]"), "is no text"),
        ("version = 1\n" + rule(who="3"), "a list of words"),
        ("version = 1\n" + rule(actions='["fly"]'), "no action 'fly'"),
        ("version = 1\n" + rule(what='["mat*"]'), "separator"),
        ("version = 1\n" + rule(what='["ma*.add"]'), "at the end"),
        ("version = 1\n" + rule(what='["**"]'), "at the end"),
        ("version = 1\n" + rule(what='["a\\u202eb"]'), "printed"),
        ("version = 1\n" + rule(what='["' + "a" * 256 + '"]'), "255"),
        ("version = 1\n" + rule(what="[" + '"a",' * 65 + "]"), "65 words"),
        ("version = 1\n" + "".join(rule(f"r{n}") for n in range(257)), "257 rules"),
        ("version = 1\n#" + "x" * 65_536, "longer than"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_reason(text: str, problem: str) -> None:
    with pytest.raises(PolicyInvalid, match=problem):
        parse_policy(text)


def test_an_error_names_the_file_the_line_the_rule_and_the_field() -> None:
    text = "version = 1\n" + rule("one") + rule("two", what='["ne*"]')
    with pytest.raises(PolicyInvalid, match=r"^p.toml, line 13: rule 'two', what: 'ne\*'") as got:
        parse_policy(text, "p.toml")
    assert (got.value.rule, got.value.field, got.value.line) == ("two", "what", 13)
    assert text.splitlines()[12].startswith("what")


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    for candidate in (text, "version = 1\n" + text, "version = 1\n" + rule() + text):
        with contextlib.suppress(PolicyInvalid):
            parse_policy(candidate)


def test_a_word_may_stand_alone_and_a_list_is_a_list() -> None:
    assert policy(EVERYTHING).allows(member(), Action.CALL, "math.add")
    assert policy(rule()).allows(member(), Action.CALL, "math.add")


# -- deciding --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "what", "matches"),
    [
        ("*", "anything", True),
        ("math.add", "math.add", True),
        ("math.add", "math.adds", False),
        ("math.*", "math.add", True),
        ("math.*", "math", False),
        ("math.*", "mathematics.add", False),
        ("shop:*", "shop:cart.add", True),
        ("news/*", "news/", True),
        ("news/*", "news/today/late", True),
        ("news/", "news/today", False),
    ],
)
def test_a_name_matches_exactly_or_below_a_separator(
    pattern: str, what: str, matches: bool
) -> None:
    assert Names([pattern]).match(what) is matches


@pytest.mark.parametrize(
    ("word", "one", "matches"),
    [
        ("*", member(roles=Role(0), namespaces=()), True),
        ("role:service", member(), True),
        ("role:admin", member(), False),
        ("role:admin", member(roles=Role.SERVICE | Role.ADMIN), True),
        ("name:ada", member(), True),
        ("name:ad", member(), False),
        ("peer:" + "ada".ljust(52, "a"), member(), True),
        ("peer:" + "bob".ljust(52, "a"), member(), False),
        ("namespace:shop", member(namespaces=("shop",)), True),
        ("namespace:shop", member(namespaces=("bank", "shop.eu")), True),
        ("namespace:shop.eu", member(namespaces=("shop",)), False),
        ("namespace:shop", member(namespaces=("shopping",)), False),
        ("namespace:shop", member(namespaces=("*",)), False),
    ],
)
def test_whom_a_rule_is_about(word: str, one: Principal, matches: bool) -> None:
    assert Who([word]).match(one) is matches


def test_nothing_matches_is_denied() -> None:
    only = policy(rule(actions='["call"]', what='["math.*"]'))
    assert only.allows(member(), Action.CALL, "math.add")
    assert not only.allows(member(), Action.CALL, "text.add")
    assert not only.allows(member(), Action.SEND, "math.add")
    assert not policy().allows(member(), Action.CALL, "math.add")


WORDS = st.sampled_from(["*", "role:service", "role:admin", "name:ada", "namespace:shop"])
PATTERNS = st.sampled_from(["*", "math.add", "math.*", "shop:*", "news/*", "shop:news/*"])
WHATS = st.sampled_from(["math.add", "math.sub", "shop:a.b", "news/x", "shop:news/x", "text.up"])
MEMBERS = st.sampled_from(
    [
        member(),
        member("bob", Role.ADMIN),
        member("cyd", Role.SERVICE | Role.ADMIN, ("shop",)),
        member("dan", Role.OBSERVER, ()),
        member("eve", Role.MANAGER, ("shop", "bank")),
    ]
)
ACTIONS = st.sampled_from(list(Action))
RULES = st.builds(
    Rule,
    st.just("r"),
    st.sampled_from(Effect),
    st.lists(WORDS, min_size=1, max_size=2).map(Who),
    st.frozensets(ACTIONS, min_size=1),
    st.lists(PATTERNS, min_size=1, max_size=2).map(Names),
)
POLICIES = st.lists(RULES, max_size=5)


@given(POLICIES, RULES, MEMBERS, ACTIONS, WHATS)
def test_a_matching_deny_wins_over_whatever_allows(
    rules: list[Rule], one: Rule, who: Principal, action: Action, what: str
) -> None:
    deny = replace(one, effect=Effect.DENY)
    for order in ((*rules, deny), (deny, *rules)):
        if deny.match(who, action, what):
            assert not Policy(order).allows(who, action, what)


@given(POLICIES, RULES, MEMBERS, ACTIONS, WHATS)
def test_one_more_rule_moves_rights_in_its_own_direction_only(
    rules: list[Rule], one: Rule, who: Principal, action: Action, what: str
) -> None:
    before = Policy(tuple(rules)).allows(who, action, what)
    after = Policy((*rules, one)).allows(who, action, what)
    assert (after >= before) if one.effect is Effect.ALLOW else (after <= before)


@given(st.permutations(list(range(4))), st.lists(RULES, min_size=4, max_size=4), MEMBERS, WHATS)
def test_the_order_of_rules_means_nothing(
    order: list[int], rules: list[Rule], who: Principal, what: str
) -> None:
    shuffled = Policy(tuple(rules[n] for n in order))
    for action in Action:
        assert Policy(tuple(rules)).allows(who, action, what) == shuffled.allows(who, action, what)


# -- the guard -------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("action", list(Action))
def test_without_policies_the_roles_decide_and_the_built_in_policy_says_the_same(
    role: Role, action: Action
) -> None:
    one = member(roles=role)
    allowed = bool(permissions_of(role) & NEEDS[action])
    assert Guard().may(one, action, "math.add") is allowed
    assert parse_policy(built_in_text()).allows(one, action, "math.add") is allowed


@given(POLICIES, POLICIES, MEMBERS, ACTIONS, WHATS)
def test_roles_namespaces_and_both_policies_must_agree(
    file: list[Rule], network: list[Rule], who: Principal, action: Action, what: str
) -> None:
    guard = Guard()
    bare = guard.may(who, action, what)
    guard.set_file(Policy(tuple(file)))
    guard.set_replicated(Policy(tuple(network)))
    both = bare and all(Policy(tuple(p)).allows(who, action, what) for p in (file, network))
    assert guard.may(who, action, what) is both
    assert guard.may(who, action, what) is both  # remembered or not
    assert (guard.refusal(who, action, what) is None) is both
    assert guard.judge(who, action, what).is_allowed is both


@pytest.mark.parametrize(
    ("namespaces", "action", "what", "allowed"),
    [
        (("shop",), Action.CALL, "shop:cart.add", True),
        (("shop",), Action.CALL, "shop.eu:cart.add", True),
        (("shop",), Action.CALL, "math.add", True),
        (("shop",), Action.CALL, "billing:pay", False),
        (("shop",), Action.CALL, "shopping:pay", False),
        (("shop.eu",), Action.CALL, "shop:cart.add", False),
        (("shop",), Action.PUBLISH, "shop:news/today", True),
        (("shop",), Action.SUBSCRIBE, "billing:news/", False),
        (("shop",), Action.SUBSCRIBE, "news/billing:x", True),
        (("shop",), Action.WRITE, "billing:key", False),
        (("shop",), Action.CONTROL, "shop:cart.add", True),
        (("shop",), Action.CONTROL, "math.add", False),
        (("*",), Action.CONTROL, "math.add", True),
        (("shop",), Action.CONFIGURE, "policy", False),
        (("shop",), Action.GOVERN, "voters", False),
        (("*",), Action.GOVERN, "voters", True),
        ((), Action.CALL, "math.add", True),
        ((), Action.CALL, "shop:cart.add", False),
    ],
)
def test_a_certificate_reaches_as_far_as_its_namespaces(
    namespaces: tuple[str, ...], action: Action, what: str, allowed: bool
) -> None:
    one = member(roles=Role.ADMIN | Role.MANAGER, namespaces=namespaces)
    verdict = Guard().judge(one, action, what)
    assert verdict.is_allowed is allowed
    assert allowed or (one.name in verdict.why and verdict.cause == "namespace")


@pytest.mark.parametrize(
    ("role", "action", "what", "allowed"),
    [
        (Role.OBSERVER, Action.SUBSCRIBE, "conclave/health", True),
        (Role.OBSERVER, Action.SUBSCRIBE, "news/today", False),
        (Role.SERVICE, Action.READ, "conclave/policy", True),
        (Role(0), Action.READ, "conclave/policy", True),
        (Role.SERVICE, Action.READ, "conclave/autopilot", False),
        (Role.OBSERVER, Action.READ, "conclave/autopilot", True),
        (Role.OBSERVER, Action.READ, "config/model", False),
        (Role.SERVICE, Action.WRITE, "conclave/autopilot", False),
        (Role.SERVICE, Action.LOCK, "conclave/x", False),
    ],
)
def test_what_belongs_to_the_network_itself_needs_other_permissions(
    role: Role, action: Action, what: str, allowed: bool
) -> None:
    assert Guard().may(member(roles=role), action, what) is allowed


def test_a_refusal_says_who_lacks_what_and_who_has_it() -> None:
    why = Guard().refusal(member(), Action.GOVERN, "voters")
    assert why is not None
    assert "ada lacks the permission RAFT_ADMIN, which the role admin gives" in why


def test_a_change_counts_at_once_for_what_was_remembered() -> None:
    guard, heard = Guard(), []
    guard.listeners.append(lambda: heard.append(guard.may(member(), Action.CALL, "math.add")))
    assert guard.may(member(), Action.CALL, "math.add")
    guard.set_replicated(policy())
    guard.set_replicated(None)
    assert heard == [False, True]


def test_no_policy_keeps_a_member_from_reading_the_policy() -> None:
    guard = Guard()
    guard.set_replicated(policy())
    assert guard.may(member(), Action.READ, "conclave/policy")
    assert not guard.may(member(roles=Role.ADMIN), Action.READ, "conclave/policies")


def test_what_is_remembered_is_bounded() -> None:
    guard = Guard()
    for number in range(MAX_REMEMBERED + 10):
        assert guard.may(member(), Action.CALL, f"math.n{number}")
    assert len(guard._allowed) <= MAX_REMEMBERED


def test_a_renewed_certificate_is_judged_anew() -> None:
    guard = Guard()
    one = member()
    assert guard.may(one, Action.CALL, "math.add")
    less = replace(one, permissions=Permission.MEMBERSHIP, certificate_digest=b"newer")
    assert not guard.may(less, Action.CALL, "math.add")


def test_denials_are_told_once_and_then_seldom() -> None:
    clock = [0]
    guard = Guard(lambda: clock[0])
    told: list[tuple[str, str, str, str]] = []
    guard.on_denied.append(
        lambda who, action, what, rule: told.append((who.name, action, what, rule))
    )
    guard.set_replicated(policy(rule("none", "deny"), EVERYTHING))
    for _ in range(5):
        assert guard.refusal(member(), Action.CALL, "math.add")
    assert told == [("ada", "call", "math.add", "replicated:none")]
    assert guard.counts["denied_replicated"] == 5
    clock[0] += TOLD_AGAIN_MS
    guard.refusal(member(), Action.CALL, "math.add")
    assert len(told) == 2
    clock[0] += WINDOW_MS
    for number in range(100):
        guard.refusal(member(), Action.CALL, f"math.n{number}")
    assert len(told) == 2 + TOLD_IN_A_WINDOW
    guard.refusal(member("bob"), Action.CALL, "math.add")
    assert told[-1][0] == "bob"


# -- the document ----------------------------------------------------------------------------------

DOCUMENT = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")


def test_the_policies_of_the_document_are_policies_and_do_what_it_says() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert blocks
    for block in blocks:
        said = parse_policy(block)
        assert said.allows(member(), Action.CALL, "math.add")
        assert not said.allows(member(), Action.READ, "payroll/may")
        assert said.allows(member(roles=Role.ADMIN), Action.READ, "payroll/may")
        assert not said.allows(member(namespaces=("shop.eu",)), Action.PUBLISH, "prices/tea")
        assert said.allows(member(namespaces=("*",)), Action.PUBLISH, "prices/tea")


def test_the_matrix_of_the_document_is_that_of_the_roles() -> None:
    row = re.compile(
        r"^\| .*? \| ([A-Z_, ]+) \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|$", re.MULTILINE
    )
    seen = set()
    for names, *cells in row.findall(DOCUMENT):
        for name in names.split(", "):
            seen.add(Permission[name])
            for role, cell in zip(Role, cells, strict=True):
                assert (Permission[name] in permissions_of(role)) == (cell == "yes"), (name, role)
    elsewhere = Permission.AGENT_REGISTER | Permission.AGENT_DEREGISTER | Permission.ROUTE
    assert seen == {one for one in Permission if one not in elsewhere}


def test_the_example_takes_away_what_it_says() -> None:
    said = parse_policy((Path(__file__).parents[2] / "examples" / "policy.toml").read_text())
    assert said.allows(member(), Action.PUBLISH, "other")
    assert not said.allows(member(), Action.PUBLISH, "news/today")
    assert said.allows(member(roles=Role.MANAGER), Action.PUBLISH, "news/today")
    assert not said.allows(member(roles=Role.MANAGER), Action.READ, "secret/x")
    assert said.allows(member(roles=Role.ADMIN), Action.READ, "secret/x")


def test_the_document_names_every_action() -> None:
    for action in Action:
        assert f"`{action}`" in DOCUMENT
