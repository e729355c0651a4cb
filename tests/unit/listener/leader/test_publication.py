from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.leader.log_row import LogRow
from listener.leader.publication import (
    USER_MAX_ROWS,
    Publication,
    PublicationRules,
    Reset,
    plan_publication,
)
from listener.leader.recipients import Members, changed_projects, group_members
from shared.config.access_rules import AccessRules
from shared.protocol.channels import Channel, IdType
from shared.protocol.control_messages import Recheck, recheck_message
from shared.protocol.events import ACTIONS, Publishable, access_change_of

AT = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
EARLIEST = datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))
MAX_FRAME_BYTES = 12_000  # docs/reference/wire.md
UUID = "A9011000-0000-4000-8000-000000000001"
ByChannel = dict[str, list[str]]


def row(
    project: str | None = "a",
    id_: str | None = "1",
    action: str = "UPDATE",
    *,
    user: str | None = None,
    resource: str = "task",
) -> LogRow:
    return LogRow(project, user, resource, id_, action, AT)


def member(user: str, action: str = "UPDATE", project: str = "p") -> LogRow:
    return row(project, f"{project}:{user}", action, user=user, resource="project_members")


def project(action: str = "UPDATE", owner: str | None = None) -> LogRow:
    return row("p", "p", action, user=owner, resource="project")


def plan(
    rows: Sequence[LogRow],
    members: Members | None = None,
    *,
    max_rows: int = 10,
    ids: IdType = "text",
    own: Collection[str] = ("project",),
) -> Publication:
    rules = PublicationRules(AccessRules(ids, ids, "", ""), frozenset(own), max_rows)
    planned = plan_publication(rows, members or {}, rules)
    assert isinstance(planned, Publication)
    return planned


def published(channels: Mapping[Channel, Sequence[Publishable]]) -> ByChannel:
    return {
        channel.id: [event.member.decode() for event in events]
        for channel, events in channels.items()
    }


def of_projects(
    rows: Sequence[LogRow], *, max_rows: int = 10, ids: IdType = "text"
) -> ByChannel:
    return published(plan(rows, max_rows=max_rows, ids=ids).projects)


def test_rows_become_events_of_their_projects_in_order() -> None:
    planned = plan([row(), row("b"), row(id_="2")])
    assert published(planned.projects) == {
        "a": ['["task","1","UPDATE","a"]', '["task","2","UPDATE","a"]'],
        "b": ['["task","1","UPDATE","b"]'],
    }
    assert (planned.users, planned.rechecks, planned.counts.events) == ({}, [], {"task": 3})


def test_events_resets_and_conflated_rows_are_counted() -> None:
    rows = [row(id_="1"), row(id_="1"), *(row("b", id_=str(n)) for n in range(4))]
    counts = plan(rows, max_rows=3).counts
    assert (counts.events, counts.resets) == ({"task": 1}, {"bulk_change": 1})
    assert counts.conflated == 1


def test_a_row_is_published_once_per_action_in_the_newest_place() -> None:
    rows = [row(id_="1"), row(id_="2"), row(id_="1"), row(id_="1", action="DELETE")]
    assert of_projects(rows)["a"] == [
        '["task","2","UPDATE","a"]',
        '["task","1","UPDATE","a"]',
        '["task","1","DELETE","a"]',
    ]


@pytest.mark.parametrize(
    "changed",
    [
        row(id_=None),
        row(id_="x" * 513),
        row(action="MERGE"),
        LogRow("a", None, "task", "1", "UPDATE", None),
        row(resource=""),
        row(id_="\ud800"),
        row(id_="\ud800" * 171),
        row(resource="\ud800"),
        LogRow("a", None, "task", "1", "UPDATE", EARLIEST),
        row(action="RECONNECT", resource="bulk_change"),
        row(action="RECONNECT", resource="unknown"),
    ],
    ids=[
        "no id", "long id", "unknown action", "no time", "no resource", "an id that is no text",
        "a long id that is no text", "a resource that is no text", "a time before all others",
        "bulk", "unknown reason",
    ],
)  # fmt: skip
def test_a_row_that_no_event_can_express_resets_its_project(changed: LogRow) -> None:
    assert of_projects([row(), changed, row("b")]) == {
        "a": ["*"],
        "b": ['["task","1","UPDATE","b"]'],
    }


def test_more_rows_than_its_log_holds_reset_a_project() -> None:
    rows = [row(id_=str(number)) for number in range(11)]
    assert of_projects(rows, max_rows=10) == {"a": ["*"]}
    assert len(of_projects(rows, max_rows=11)["a"]) == 11


def test_a_row_that_resets_everything_resets_everything() -> None:
    everything = row(None, action="RECONNECT", resource="truncate", user="u")
    rules = PublicationRules(AccessRules("text", "text", "", ""), frozenset(), 10)
    assert plan_publication([row(), everything], {}, rules) == Reset("truncate", cause="1")


def test_an_id_in_another_spelling_is_the_same_channel() -> None:
    rows = [row(UUID, user=UUID), row(UUID.lower(), "2"), row("no uuid")]
    planned = plan(rows, ids="uuid")
    assert [len(events) for events in published(planned.projects).values()] == [2]
    assert list(published(planned.users)) == list(published(planned.projects)) == [UUID.lower()]
    assert planned.rechecks == [Recheck(UUID.lower(), UUID.lower())]


@pytest.mark.parametrize("user", ["no uuid", "", "x" * 513, "\x01"])
def test_an_invalid_user_id_rechecks_all_users_of_the_project(user: str) -> None:
    planned = plan([row(UUID, user=user)], ids="uuid")
    assert planned.rechecks == [Recheck(UUID.lower(), None)]
    assert planned.users == {}


@pytest.mark.parametrize("project", [None, "no uuid"])
@pytest.mark.parametrize("action", ["DELETE", "RECONNECT_USER"])
def test_an_invalid_user_id_without_a_valid_project_resets_everything(
    project: str | None, action: str
) -> None:
    rules = PublicationRules(AccessRules("uuid", "uuid", "", ""), frozenset(), 10)
    rows = [row(UUID), row(project, action=action, user="no uuid")]
    assert plan_publication(rows, {}, rules) == Reset("bulk_change")


def test_no_frame_is_larger_than_a_proxy_takes() -> None:
    """The longest values, of characters that need the longest escapes."""
    longest = row('"' * 512, "\x01" * 512, resource="\x01" * 256, user='"' * 512)
    planned = plan([longest])
    for events in (*planned.projects.values(), *planned.users.values()):
        [event] = events
        assert len(event.head) + len(event.tail) + 100 < MAX_FRAME_BYTES
        assert len(event.member) < MAX_FRAME_BYTES


def test_a_row_without_project_and_user_publishes_nothing() -> None:
    assert plan([row(None)]) == Publication({}, [], {})


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("123"), st.booleans())))
def test_each_changed_row_is_published_or_its_project_is_reset(
    changes: list[tuple[str, str, bool]],
) -> None:
    published_rows = of_projects(
        [row(p, id_ if known else None) for p, id_, known in changes], max_rows=2
    )
    for project_id, id_, _ in changes:
        events = published_rows[project_id]
        assert events == ["*"] or f'["task","{id_}","UPDATE","{project_id}"]' in events
        assert len(events) <= 2


PAIR_PU = [("p", "u")]
WHOLE = ("p", None)
JOINED = '["project_members","p:u","INSERT","p",true]'


OF_NONE = '["task","1","UPDATE",null]'


def handed(owner: str | None) -> LogRow:
    """The row of a project that this owner lost."""
    return project("LOST", owner)


def own(action: str) -> str:
    """The log's member for a project's own row, on a user's channel."""
    mark = "" if action == "UPDATE" else ",true"
    return f'["project","p","{action}","p"{mark}]'


@pytest.mark.parametrize(
    ("rows", "members", "users", "rechecks"),
    [
        ([row("p")], {"p": "m"}, {}, []),
        ([member("u", "INSERT")], {"p": "um"}, {"u": [JOINED]}, PAIR_PU),
        ([project()], {"p": "om"}, {"m": [own("UPDATE")], "o": [own("UPDATE")]}, [WHOLE]),
        (
            [project(owner="o")],
            {"p": "om"},
            {"o": [own("UPDATE")], "m": [own("UPDATE")]},
            [WHOLE, ("p", "o")],
        ),
        (
            [handed("o"), project("UPDATE", "n")],
            {"p": "onm"},
            {"o": [own("DELETE")], "m": [own("UPDATE")], "n": [own("INSERT")]},
            [WHOLE, ("p", "o"), ("p", "n")],
        ),
        (
            [project("UPDATE", "n"), handed("o")],
            {"p": "n"},
            {"n": [own("INSERT")], "o": [own("DELETE")]},
            [WHOLE, ("p", "n"), ("p", "o")],
        ),
        (
            [handed("o"), project("UPDATE", "n"), handed("n"), project("UPDATE", "o")],
            {"p": "o"},
            {"o": [own("DELETE"), own("INSERT")], "n": [own("UPDATE"), own("DELETE")]},
            [WHOLE, ("p", "o"), ("p", "n")],
        ),
        (
            [handed(None), project("UPDATE", "n")],
            {},
            {"n": [own("INSERT")]},
            [WHOLE, ("p", "n")],
        ),
        (
            [member("u", "DELETE"), project("DELETE", "o")],
            {},
            {
                "u": ['["project_members","p:u","DELETE","p",true]', own("DELETE")],
                "o": [own("DELETE")],
            },
            [("p", "u"), WHOLE, ("p", "o")],
        ),
        (
            [member("u", "DELETE"), project(owner="o")],
            {"p": "o"},
            {"u": ['["project_members","p:u","DELETE","p",true]'], "o": [own("UPDATE")]},
            [("p", "u"), WHOLE, ("p", "o")],
        ),
        ([row(None, user="u")], {}, {"u": [OF_NONE]}, [(None, "u")]),
        ([row(None, action="LOST", user="u")], {}, {"u": [OF_NONE]}, [(None, "u")]),
        ([row(None, None, "RECONNECT_USER", user="u")], {}, {"u": ["*"]}, [(None, "u")]),
        ([row("p", None, user="u")], {}, {"u": ["*"]}, PAIR_PU),
    ],
    ids=[
        "a task", "a member added", "a project renamed", "with its owner named",
        "the owner changed, both members", "the new owner's row first", "there and back",
        "it had no owner", "a project deleted with its members", "a former member",
        "a user's own row", "handed over, of no project", "a user in bulk", "no id",
    ],
)  # fmt: skip
def test_recipients_get_events_on_their_own_channels(
    rows: list[LogRow],
    members: Members,
    users: ByChannel,
    rechecks: list[tuple[str | None, str | None]],
) -> None:
    planned = plan(rows, members)
    assert published(planned.users) == users
    assert planned.rechecks == [Recheck(*pair) for pair in rechecks]


@pytest.mark.parametrize(
    ("changed", "recipients"),
    [
        (row("w", "m1", "INSERT", user="u", resource="team_members"), {"u": True}),
        (row("w", "m1", "UPDATE", user="u", resource="team_members"), {"u": True}),
        (row("w", "m1", "DELETE", user="u", resource="team_members"), {"u": True}),
        (row("w", "w", "INSERT", user="u", resource="workspace"), {"u": True, "m": True}),
        (row("w", "w", "LOST", user="u", resource="workspace"), {"u": True, "m": False}),
        (row("w", "w", "DELETE", user="u", resource="workspace"), {"u": True, "m": True}),
        (row("w", "w", "UPDATE", user="u", resource="workspace"), {"u": False, "m": False}),
        (row(None, "n1", "INSERT", user="u", resource="note"), {"u": False}),
    ],
    ids=[
        "a member added", "a role changed", "a member removed", "a workspace made",
        "an owner lost it", "a workspace deleted", "a workspace renamed", "of no workspace",
    ],
)  # fmt: skip
def test_an_event_that_may_change_its_users_access_is_marked_whatever_tables_are_called(
    changed: LogRow, recipients: dict[str, bool]
) -> None:
    planned = plan([changed], {"w": "m"}, own=("workspace",))
    marks = {
        channel.id: b'"access":true' in events[0].head
        for channel, events in planned.users.items()
    }
    assert marks == recipients
    assert not any(
        b"access" in event.head for events in planned.projects.values() for event in events
    )


def test_an_event_of_a_watch_that_gives_no_access_is_not_marked() -> None:
    rules = PublicationRules(
        AccessRules("text", "text", "", ""),
        frozenset({"workspace"}),
        10,
        resources_without_access=frozenset({"task"}),
    )
    changed = [row("w", "t", "UPDATE", user="u", resource="task")]
    planned = plan_publication(changed, {}, rules)
    assert isinstance(planned, Publication)
    [event] = planned.users[Channel("user", "u")]
    assert b"access" not in event.head
    assert planned.rechecks == [Recheck("w", "u")]


@given(
    st.lists(
        st.one_of(
            st.builds(member, st.sampled_from("om"), st.sampled_from(ACTIONS)),
            st.builds(
                project, st.sampled_from([*ACTIONS, "LOST"]), st.sampled_from(["o", "n", None])
            ),
        )
    )
)
def test_the_marks_agree_with_the_names_that_older_versions_act_on(
    rows: list[LogRow],
) -> None:
    planned = plan(rows, {"p": "om"})
    for event in (event for events in planned.users.values() for event in events):
        frame = event.head + event.tail
        assert access_change_of(frame) == access_change_of(
            frame.replace(b',"access":true', b"")
        )


def test_on_the_projects_channel_an_owner_change_is_an_update() -> None:
    rows = [handed("o"), project("UPDATE", "n")]
    assert of_projects(rows) == {"p": [own("UPDATE")]}


def test_a_reset_of_a_project_drops_no_user() -> None:
    """500 members are removed: each one gets an event and a recheck."""
    planned = plan([member(f"u{number}", "DELETE") for number in range(500)])
    assert published(planned.projects) == {"p": ["*"]}
    assert [len(events) for events in planned.users.values()] == [1] * 500
    assert planned.rechecks == [Recheck("p", f"u{number}") for number in range(500)]


def test_a_user_with_more_rows_than_their_log_holds_is_reset() -> None:
    rows = [member("u", project=f"p{number}") for number in range(USER_MAX_ROWS + 1)]
    planned = plan(rows)
    assert published(planned.users) == {"u": ["*"]}
    assert len(planned.rechecks) == len(rows)
    assert published(plan(rows[1:]).users)["u"] != ["*"]


def test_each_changed_project_is_listed_once() -> None:
    rules = AccessRules("uuid", "uuid", "", "")
    own_rows = [row(text, resource="project") for text in (UUID, UUID.lower(), "no uuid", None)]
    assert changed_projects([*own_rows, row(UUID[:-1] + "2")], rules, {"project"}) == [
        UUID.lower()
    ]


def test_members_ids_are_spelled_canonically() -> None:
    rules = AccessRules("uuid", "bigint", "", "")
    pairs = [(UUID, "007"), (UUID, "8"), ("no uuid", "9"), (UUID, "nobody")]
    assert group_members(pairs, rules) == {UUID.lower(): {"7", "8"}}


def test_a_recheck_message_names_the_pair() -> None:
    assert orjson.loads(recheck_message(Recheck("p", None))) == {
        "type": "recheck",
        "project_id": "p",
        "user_id": None,
    }
