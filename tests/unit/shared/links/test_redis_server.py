import pytest

from shared.links.redis_server import RedisServer, describe_server, has_moved, parse_info

OURS = RedisServer("run1", "replication1", is_primary=True)


def test_a_server_is_described_by_what_info_tells() -> None:
    text = "# Server\r\nrun_id:run1\r\n\r\nrole:{}\r\nmaster_replid:replication1\r\n"
    assert describe_server(parse_info(text.format("master"))) == OURS
    assert not describe_server(parse_info(text.format("slave"))).is_primary
    for mode in ("redis_mode", "server_mode"):
        assert describe_server({mode: "cluster"}).is_cluster_node
        assert not describe_server({mode: "standalone"}).is_cluster_node
    assert describe_server({}) == RedisServer("", "", is_primary=True)


@pytest.mark.parametrize(
    ("seen", "moved"),
    [
        (OURS, False),
        (RedisServer("run2", "replication2", is_primary=True), True),
        (RedisServer("run1", "replication2", is_primary=True), True),
        (RedisServer("run2", "replication1", is_primary=False), False),
        (RedisServer("run1", "replication2", is_primary=False), True),
    ],
    ids=[
        "the same",
        "another primary",
        "another history",
        "a replica of some server",
        "ours was demoted",
    ],
)
def test_a_server_is_left_for_another_primary_or_when_it_is_none(
    seen: RedisServer, *, moved: bool
) -> None:
    assert has_moved(OURS, seen) is moved
