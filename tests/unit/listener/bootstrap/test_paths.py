"""Which tables have a project by their foreign keys, and which only may have one."""

import pytest

from listener.bootstrap.catalog import DescribedTable
from tests.unit.listener.bootstrap.described_tables import (
    OF_PROJECT,
    OF_SPRINT,
    OF_USER,
    PROJECTS,
    SPRINTS,
    TASKS,
    USERS,
    rendered,
    table,
)

OF_ORGANIZATION = ("organization_id", "organizations", "id")
OWNED = table("projects", "id organization_id", OF_ORGANIZATION)
BOARDS = table("boards", "id project_id?", OF_PROJECT)
OPTIONAL = [
    pytest.param(
        [USERS, PROJECTS, SPRINTS, table("x", "id sprint_id?", OF_SPRINT)],
        "Not watched: x.sprint_id may be NULL: then no project is found",
        id="a look-up that may find nothing",
    ),
    pytest.param(
        [USERS, PROJECTS, SPRINTS, table("x", "id user_id sprint_id?", OF_SPRINT, OF_USER)],
        'To send changes to one user alone, write user = "user_id" instead.',
        id="a look-up that may find nothing, of a row that is a user's own",
    ),
    pytest.param(
        [
            SPRINTS,
            OWNED,
            table("organizations", "id"),
            table("x", "id sprint_id?", OF_SPRINT, sets_null=True),
        ],
        "x.sprint_id may be NULL",
        id="a parent that a row outlives",
    ),
    pytest.param(
        [
            PROJECTS,
            SPRINTS,
            TASKS,
            table(
                "x",
                "id sprint_id? task_id?",
                OF_SPRINT,
                ("task_id", "tasks", "id"),
                cascades=True,
            ),
        ],
        "x.sprint_id may be NULL",
        id="one of two parents",
    ),
    pytest.param(
        [
            USERS,
            PROJECTS,
            SPRINTS,
            table("x", "id user_id sprint_id?", OF_USER, OF_SPRINT, cascades=True),
        ],
        "x.sprint_id may be NULL",
        id="a row that something else is bound to have",
    ),
    pytest.param(
        [PROJECTS, BOARDS, SPRINTS, table("x", "id board_id", ("board_id", "boards", "id"))],
        "boards.project_id may be NULL",
        id="a parent that may have no project",
    ),
    pytest.param(
        [
            PROJECTS,
            table("x", "id default_project_id?", ("default_project_id", "projects", "id")),
        ],
        "seems to select a project",
        id="a project that is only pointed to",
    ),
    pytest.param(
        [
            table("projects", "id x_id", ("x_id", "x", "id")),
            table("x", "id project_id", OF_PROJECT),
        ],
        "Not watched: projects refer to x, so a row may belong to many projects.",
        id="a parent that a project must have",
    ),
    pytest.param(
        [
            table("projects", "id x_id?", ("x_id", "x", "id")),
            SPRINTS,
            table("x", "id sprint_id?", OF_SPRINT, cascades=True),
        ],
        "finds one at most, and if it finds none, every client",
        id="a parent that a project may have",
    ),
    pytest.param(
        [
            table("projects", "id x_id?", ("x_id", "x", "id")),
            table("x", "id main?", ("main", "projects", "id")),
        ],
        "so a row may belong to many projects. This watch finds one at most:",
        id="a parent with a project that is not its own",
    ),
    pytest.param(
        [
            table("projects", "id x_id", ("x_id", "x", "id")),
            table("x", "id"),
        ],
        "Not watched: projects refer to these, so a row may belong to many projects",
        id="a parent without a way",
    ),
    pytest.param(
        [PROJECTS, table("x", "id subject_type:text subject_id")],
        "Not watched: x: subject_type and subject_id name the row",
        id="a reference to any table",
    ),
    pytest.param(
        [PROJECTS, table("x", "id content_type_id object_id")],
        "Not watched: x: content_type_id and object_id name the row",
        id="a generic relation",
    ),
]


@pytest.mark.parametrize(("tables", "told"), OPTIONAL)
def test_what_ordinary_rows_may_have_no_project_for_is_not_watched(
    tables: list[DescribedTable], told: str
) -> None:
    text, document = rendered(*tables)
    assert "x" not in [entry["table"] for entry in document["watch"]]
    assert told in text.replace("\n# ", " ")


LENIENT = table("sprints", "id project_id?", OF_PROJECT)
EXPECTED = [
    pytest.param(
        [LENIENT, table("x", "id sprint_id?", OF_SPRINT)],
        id="no reference of the database is NOT NULL",
    ),
    pytest.param(
        [
            SPRINTS,
            table("projects", "id x_id?", ("x_id", "x", "id")),
            table("x", "id sprint_id", OF_SPRINT),
        ],
        id="a row of the project that it refers to",
    ),
    pytest.param(
        [
            table("projects", "id x_id?", ("x_id", "x", "id")),
            table("x", "id project_id?", OF_PROJECT),
        ],
        id="a file of the project that it refers to, or of none",
    ),
    pytest.param(
        [table("x", "id y_type:text y_id project_id", OF_PROJECT)],
        id="a reference to any table beside the project",
    ),
]


@pytest.mark.parametrize("tables", EXPECTED)
def test_what_ordinary_rows_have_a_project_for_is_watched(tables: list[DescribedTable]) -> None:
    projects = (
        [] if any(one.name == "projects" for one in tables) else [table("projects", "id")]
    )
    _, document = rendered(*projects, *tables)
    assert "x" in [entry["table"] for entry in document["watch"]]


def test_a_role_is_not_taken_for_a_parent() -> None:
    photo = table("x", "id photo_sprint_id?", ("photo_sprint_id", "sprints", "id"))
    text, document = rendered(table("projects", "id"), LENIENT, photo)
    assert "x" not in [entry["table"] for entry in document["watch"]]
    assert "x.photo_sprint_id and sprints.project_id may be NULL" in text
