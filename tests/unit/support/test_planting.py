"""Planted faults: where they are put, and what is refused."""

from pathlib import Path

import pytest

from tests.support.planting import DoesNotFit, Edit, find

CODE = """\
class Leader:
    async def step(self, place, rows):
        if not rows:
            return place
        # a comment, and another layout
        await self.publish(
            rows, place,
        )
        return await self.save(place)
"""


def _tree(tmp_path: Path, text: str, name: str = "listener/leader.py") -> Path:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    return tmp_path


BEFORE = "await self.publish(rows, place)\nreturn await self.save(place)"


def test_statements_are_replaced_where_they_are(tmp_path: Path) -> None:
    path, text = find(Edit(BEFORE, "return await self.save(place)"), _tree(tmp_path, CODE))
    assert path == tmp_path / "listener/leader.py"
    assert text == CODE[: CODE.index("await self.publish")] + "return await self.save(place)\n"


def test_names_and_places_do_not_count(tmp_path: Path) -> None:
    moved = CODE.replace("self.publish", "self._out.send").replace("place", "cursor")
    tree = _tree(tmp_path, moved, "listener/capture/loop.py")
    edit = Edit(
        BEFORE.replace("self.publish", "self.publisher.publish"),
        "return await self.save(place)",
    )
    _, text = find(edit, tree)
    assert text.endswith("        return await self.save(cursor)\n")


def test_an_identifier_stands_for_the_same_one_everywhere(tmp_path: Path) -> None:
    other = CODE.replace("self.save(place)", "self.save(rows)")
    with pytest.raises(DoesNotFit, match="0 places"):
        find(Edit(BEFORE, "pass"), _tree(tmp_path, other))


def test_dots_stand_for_what_is_kept(tmp_path: Path) -> None:
    edit = Edit("if not rows:\n    return ...\n", "if rows is None:\n    return (..., 1)\n")
    _, text = find(edit, _tree(tmp_path, CODE))
    assert "        if rows is None:\n            return (place, 1)\n" in text
    whole = Edit(
        "async def step(self, place, rows):\n    ...\n    return ...\n",
        "async def step(self, place, rows):\n    ...\n",
    )
    _, text = find(whole, tmp_path)
    assert text.endswith("        await self.publish(rows, place)\n")


def test_more_than_one_place_is_refused(tmp_path: Path) -> None:
    _tree(tmp_path, CODE, "gateway/twin.py")
    with pytest.raises(DoesNotFit, match=r"2 places fit .*twin.py:6, listener/leader.py:6"):
        find(Edit(BEFORE, "pass"), _tree(tmp_path, CODE))


def test_a_fault_with_a_name_that_its_file_lacks_is_refused(tmp_path: Path) -> None:
    edit = Edit(BEFORE, "return await self.save(place, now)")
    with pytest.raises(DoesNotFit, match="names now"):
        find(edit, _tree(tmp_path, CODE))


@pytest.mark.parametrize("text", ["select 1\n  from a", "select   1 from a"])
def test_white_space_of_sql_does_not_count(text: str, tmp_path: Path) -> None:
    tree = _tree(tmp_path, f"-- first\n{text} where b\n", "shared/sql/one.sql")
    path, changed = find(Edit("select 1 from a", "select 2 from a", "sql"), tree)
    assert (path.name, changed) == ("one.sql", "-- first\nselect 2 from a where b\n")
    with pytest.raises(DoesNotFit, match="0 places"):
        find(Edit("select 3", "", "sql"), tree)
