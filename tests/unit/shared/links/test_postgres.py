"""How a database's URL is checked."""

import ssl

import pytest

from shared.links.postgres import check_database_url
from shared.links.urls import InvalidUrl


@pytest.mark.parametrize("query", ["", "?sslmode=require", "?sslrootcert=system"])
def test_authorities_are_not_read_to_check_a_url_without_files(
    query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start of a program would spend 50 ms of CPU on it, twice."""

    def read(**_: object) -> None:
        raise AssertionError("the system's authorities were read")

    monkeypatch.setattr(ssl, "create_default_context", read)
    assert check_database_url(f"postgresql://h/db{query}") == ()


def test_a_file_is_read_to_check_a_url_that_names_it() -> None:
    with pytest.raises(InvalidUrl, match="sslrootcert"):
        check_database_url("postgresql://h/db?sslmode=verify-full&sslrootcert=/missing")
