"""The faults that ``mutants`` plants, each with the tests that must notice."""

from dataclasses import dataclass
from typing import Final

from tests.support.planting import Edit, Language

SIMULATION: Final = "tests/simulation"
CLUSTER: Final = "tests/simulation/test_cluster.py"
LUA: Final = "tests/integration/links/test_redis_scripts.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """``before`` becomes ``after``; the tests that must notice, the first first."""

    name: str
    before: str
    after: str
    tests: tuple[str, ...] = (SIMULATION,)
    language: Language = "py"

    @property
    def edit(self) -> Edit:
        return Edit(self.before, self.after, self.language)


REVOCATION: Final = "tests/integration/access/test_revocation.py"
UNIT_LINKS: Final = "tests/unit/gateway/delivery/test_shard_links.py"
PYTHON_CLIENT: Final = "tests/unit/neverstale/client"
UNIT_REGISTRY: Final = (
    "tests/unit/gateway/delivery/test_subscriptions.py",
    "tests/unit/gateway/delivery/test_lost_links.py",
    "tests/unit/gateway/delivery/test_catch_up_batches.py",
    "tests/unit/gateway/delivery/test_subscriptions_model.py",
)

MUTANTS: Final = (
    # --- the leader
    Mutant(
        "the cursor is saved before the rows are published",
        """\
if batch.rows:
    await self._publish(planned, place)
    self._measure(planned, batch)
""",
        """\
if batch.rows:
    await self._save(replace(judged, cursor=batch.cursor), tick_lag_ms=None)
    await self._publish(planned, place)
    self._measure(planned, batch)
""",
    ),
    Mutant(
        "the cursor is saved whatever generation is stored",
        "return await self._write(place, place.generation, self._saved(place), tick_lag_ms, database_at)",
        'return await self._write(place, "", self._saved(place), tick_lag_ms, database_at)',
        ("tests/integration/links/test_redis_link.py", SIMULATION),
    ),
    Mutant(
        "an old leader writes its generation back",
        """\
return await self._write(place, place.generation, self._saved(place), tick_lag_ms, database_at)
""",
        """\
await self.reset(place)
return place.generation
""",
        ("tests/integration/links/test_redis_link.py", SIMULATION),
    ),
    Mutant(
        "a refused save is taken for done",
        """\
if stored != place.generation:
    raise RedisLost(...)
""",
        """\
if not stored:
    raise RedisLost(...)
""",
    ),
    Mutant(
        "the log is pruned up to what was read, before it is published",
        """\
read = await self._read(state.cursor)
batch = apply_capture(
    read, state, self._capture.state, lacks_members=self._capture.lacks_members
)
""",
        """\
read = await self._read(state.cursor)
self._pruner.make_due()
await self._pruner.prune_if_due(
    replace(state, cursor=read.cursor), asyncio.get_running_loop().time()
)
batch = apply_capture(
    read, state, self._capture.state, lacks_members=self._capture.lacks_members
)
""",
    ),
    Mutant(
        "the snapshot of the new cursor is taken after the reset",
        """\
await self._publisher.reset(place)
self.is_linked = True
if cause.reason == "log_full":
    ...
""",
        """\
await self._publisher.reset(place)
place = replace(place, cursor=(await self._log.read(None)).cursor)
self.is_linked = True
if cause.reason == "log_full":
    ...
""",
    ),
    Mutant(
        "Redis's identity is not compared on taking over",
        "not generation or cursor is None or stored_in != redis_identity",
        "not generation or cursor is None",
        (SIMULATION, "tests/unit/listener/leader/test_leader_state.py"),
    ),
    Mutant(
        "Redis's identity is not compared with the ticks",
        "(await self._publisher.server()).identity != place.redis",
        "(await self._publisher.server()).identity is None",
    ),
    Mutant(
        "a log that is not the cursor's is read on",
        "batch.cursor.identity != cursor.identity or batch.cursor_ahead",
        "batch.cursor_ahead",
    ),
    Mutant(
        "a reset keeps the generation",
        """\
state = LeaderState(
    secrets.token_hex(8),
    batch.cursor,
    self._server.identity,
    cause.reason,
    cause.live,
    capture=self._capture.state.fingerprint,
)
""",
        """\
state = LeaderState(
    "g",
    batch.cursor,
    self._server.identity,
    cause.reason,
    cause.live,
    capture=self._capture.state.fingerprint,
)
""",
    ),
    Mutant(
        "what was skipped is forgotten once the log has room",
        """\
if place.live and not batch.has_skipped:
    return place
""",
        """\
if place.live or not batch.has_skipped:
    return replace(place, live=True)
""",
    ),
    Mutant(
        "the reset does not wait for those that skipped the log",
        'return Reset("log_full") if batch.oldest_xid >= place.barrier else place',
        'return Reset("log_full")',
    ),
    Mutant(
        "too many rows are cut off instead of widened",
        """\
if len(batch.rows) > MAX_ROWS_PER_READ:
    return Reset("bulk_change")
""",
        """\
pass
""",
    ),
    Mutant(
        "a row that is told twice keeps its first place",
        """\
key = (event.resource, event.id, event.action, project_id)
draft.events.pop(key, None)
draft.events[key] = event
""",
        """\
key = (event.resource, event.id, event.action, project_id)
draft.events.setdefault(key, event)
""",
        ("tests/unit/listener/leader/test_publication.py",),
    ),
    Mutant(
        "a widened project is told its rows only",
        """\
if draft.reset_reason is not None:
    return [publishable_reconnect(draft.reset_reason, channel)]
""",
        """\
if draft.reset_reason is not None and not draft.events:
    return [publishable_reconnect(draft.reset_reason, channel)]
""",
    ),
    Mutant(
        "rechecks come after the projects' channels",
        """\
steps: list[_Step] = [
    *publication.users.items(),
    *publication.rechecks,
    *publication.projects.items(),
]
""",
        """\
steps: list[_Step] = [
    *publication.users.items(),
    *publication.projects.items(),
    *publication.rechecks,
]
""",
    ),
    Mutant(
        "no recheck is sent",
        """\
steps: list[_Step] = [
    *publication.users.items(),
    *publication.rechecks,
    *publication.projects.items(),
]
""",
        """\
steps: list[_Step] = [*publication.users.items(), *publication.projects.items()]
""",
    ),
    Mutant(
        "an event that may change its user's access is not marked",
        """\
access = recipients.changes_access(named, action)
drafts.add("user", user_id, row, project_id, action, access=access)
""",
        """\
drafts.add("user", user_id, row, project_id, action, access=False)
""",
        ("tests/unit/listener/leader/test_publication.py", SIMULATION),
    ),
    Mutant(
        "a project's own row asks for nobody's access",
        """\
if audience.is_project(named):
    rechecks[Recheck(project_id, None)] = None
""",
        """\
pass
""",
        ("tests/unit/listener/leader/test_publication.py",),
    ),
    # --- cursors and replay
    Mutant(
        "replay does not look at the floor",
        "return offset if head.floor <= offset <= head.last else None",
        "return offset if offset <= head.last else None",
        (SIMULATION, "tests/unit/shared/protocol/test_replay.py", *UNIT_REGISTRY),
    ),
    Mutant(
        "replay takes a cursor of another epoch",
        """\
match since:
    case Loaded(offset) if head.floor <= offset:
        ...
    case Cursor(_, epoch, offset) if epoch == head.epoch:
        ...
""",
        """\
match since:
    case Loaded(offset) if head.floor <= offset:
        ...
    case Cursor(_, epoch, offset) if epoch:
        ...
""",
        (SIMULATION, "tests/unit/shared/protocol/test_replay.py"),
    ),
    Mutant(
        "a page's age is believed though the log begins later",
        """\
match since:
    case Loaded(offset) if head.floor <= offset:
        ...
    case Cursor(_, epoch, offset) if epoch == head.epoch:
        ...
""",
        """\
match since:
    case Loaded(offset):
        ...
    case Cursor(_, epoch, offset) if epoch == head.epoch:
        ...
""",
    ),
    Mutant(
        "H is kept without its epoch",
        "return self.epoch != place.epoch or self.offset > place.offset",
        "return self.offset > place.offset",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "frames that came in one read keep the oldest of a row",
        """\
row = row_of(payload)
newest.pop(row, None)
newest[row] = payload
""",
        """\
row = row_of(payload)
newest.setdefault(row, payload)
""",
        (SIMULATION, "tests/unit/gateway/transport/test_channel_frames.py"),
    ),
    Mutant(
        "an event stream resumes where it was greeted",
        """\
self._cursors[frames.channel] = frames.cursor
""",
        """\
pass
""",
        ("tests/unit/gateway/transport/test_event_stream.py",),
    ),
    # --- the gateway
    Mutant(
        "a channel is read before its subscription is acknowledged",
        """\
bool(self.not_live) and not (self.slow or self.suspended or self.unacknowledged)
""",
        """\
bool(self.not_live) and not (self.slow or self.suspended)
""",
    ),
    Mutant(
        "frames that come while a log is read are dropped",
        """\
arrived = [frame for frame in batch.frames.get(channel, ()) if frame[0].is_above(end)]
""",
        """\
arrived: list[Frame] = []
""",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "`connected` shows the newest cursor before the replay",
        """\
if not state.greeted:
    effects.append(Greet(subscriber, list(cursors.values()), resumed))
    state.greeted = True
elif ...:
    ...
else:
    ...
""",
        """\
if not state.greeted:
    effects.append(
        Greet(
            subscriber,
            [
                Cursor(cursor.channel, cursor.epoch, pages[cursor.channel].head.last)
                for cursor in cursors.values()
            ],
            resumed,
        )
    )
    state.greeted = True
elif ...:
    ...
else:
    ...
""",
        (*UNIT_REGISTRY, SIMULATION),
    ),
    Mutant(
        "reads under way outlive the link",
        """\
self._linked = False
self._batch = None
self._lose(self._channels)
""",
        """\
self._linked = False
self._lose(self._channels)
""",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "reads under way outlive the generation",
        """\
self.generation = generation
self._batch = None
self._update_generations()
for channel, channel_state in self._channels.items():
    ...
""",
        """\
self.generation = generation
self._update_generations()
for channel, channel_state in self._channels.items():
    ...
""",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "a lost link leaves live what was live",
        """\
self._end_live(channel, channel_state, channel_state.cursor)
""",
        """\
pass
""",
    ),
    Mutant(
        "a joining subscriber moves the cursor of the live ones",
        """\
if not channel_state.live_count:
    channel_state.cursor = missed.end
""",
        """\
channel_state.cursor = missed.end
""",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "a frame of another generation passes",
        """\
if cursor.generation != channel_state.generation:
    self._end_live(channel, channel_state, None)
    ...
""",
        """\
if self.generation is None:
    self._end_live(channel, channel_state, None)
    ...
""",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "a tick's generation is not compared",
        """\
is_new = self.learn_generation(tick.generation, tick.reason)
""",
        """\
is_new = self._subscriptions.generation is None and self.learn_generation(
    tick.generation, tick.reason
)
""",
    ),
    Mutant(
        "a slow client that has drained is live at once",
        """\
catch_up = CatchUp(channel_state.cursor, "lagged")
self._set_catching_up(subscriber, channel, channel_state, catch_up)
""",
        """\
pass
""",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "after one page of many a subscription is live",
        """\
end = page.frames[-1][0] if page.more else Cursor(channel, head.epoch, head.last)
""",
        """\
end = Cursor(channel, head.epoch, head.last)
""",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    # --- access
    Mutant(
        "no re-check after a gap of Redis",
        """\
await self._fanout.link_up(self._link_of_channels(link, state))
self._revalidator.recheck(EVERYTHING)
""",
        """\
await self._fanout.link_up(self._link_of_channels(link, state))
""",
        (REVOCATION, SIMULATION),
    ),
    Mutant(
        "no re-check after a reset",
        """\
return was_silent or is_new
""",
        """\
return was_silent
""",
        (REVOCATION, SIMULATION),
    ),
    Mutant(
        "a recheck suspends nothing",
        "{Event.RECHECK: (State.CHECKING, (Effect.SUSPEND, Effect.CHECK))}",
        "{Event.RECHECK: (State.CHECKING, (Effect.CHECK,))}",
    ),
    Mutant(
        "cached answers survive a recheck",
        """\
for pair in self._allowed_until.matching(recheck):
    self._allowed_until.pop(pair)
is_named = recheck.user_id is not None
""",
        """\
is_named = recheck.user_id is not None
""",
        (SIMULATION, "tests/unit/gateway/access/test_access_cache.py"),
    ),
    Mutant(
        "an answer counts though its query was sent before the recheck",
        """\
for pair in self._in_flight.matching(recheck):
    for query in self._in_flight.get(pair) or ():
        ...
""",
        """\
pass
""",
        (SIMULATION, "tests/unit/gateway/access/test_access_cache.py"),
    ),
    Mutant(
        "a new subscription without a cached answer is not checked again",
        """\
if not self._checker.has_cached_access(pair):
    self._revalidator.recheck(Recheck(*pair))
""",
        """\
pass
""",
    ),
    Mutant(
        "a suspended subscription is caught up with the others",
        "bool(self.not_live) and not (self.slow or self.suspended or self.unacknowledged)",
        "bool(self.not_live) and not (self.slow or self.unacknowledged)",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "resuming a subscription forgets its cursor",
        """\
if state is not None:
    self._set_suspended(subscriber, state, channel, suspended=False)
""",
        """\
if state is not None and state.channels.get(channel) is not None:
    state.set_channel(channel, None)
    self._channels[channel].set_live(subscriber, live=True)
    self._update_waiting(subscriber, state)
""",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "plain clients are not told that access changed",
        """\
for project_id in project_ids:
    self.send(reconnect_frame("access_changed", project_id=project_id))
""",
        """\
pass
""",
        (REVOCATION,),
    ),
    # --- the scripts
    Mutant(
        "trim does not raise the floor",
        """\
redis.call('ZADD', key, low[2], epoch) -- the floor rises to the newest row cut
""",
        "",
        (LUA,),
        language="lua",
    ),
    Mutant(
        "a log of another generation is gone on with",
        "if not epoch or epoch:match('^!(.-)%.') ~= generation or last > 9e15 then",
        "if not epoch or last > 9e15 then",
        (LUA,),
        language="lua",
    ),
    Mutant(
        "offsets are Redis's time, growing or not",
        """\
last = math.max(last + 1, now)
""",
        """\
last = now
""",
        (LUA,),
        language="lua",
    ),
    Mutant(
        "replay begins a page at its place, not above it",
        "'(' .. ARGV[5]",
        "ARGV[5]",
        (LUA,),
        language="lua",
    ),
    Mutant(
        "replay forgets that there is more",
        "rows[#rows], rows[#rows - 1], out[4] = nil, nil, 1",
        "rows[#rows], rows[#rows - 1], out[4] = nil, nil, 0",
        (LUA,),
        language="lua",
    ),
    Mutant(
        "replay goes on with a log of another generation",
        "if not head[1] or head[1]:match('^!(.-)%.') ~= generation then",
        "if not head[1] then",
        (LUA,),
        language="lua",
    ),
    Mutant(
        "save does not compare the generation",
        """\
if ARGV[1] ~= '' and stored ~= ARGV[1] then return stored end
""",
        "",
        (LUA,),
        language="lua",
    ),
    # --- a cluster
    Mutant(
        "a slot that another server serves keeps its number",
        "found[slot] = Serving(Node(host, port, identity), number)",
        """\
found[slot] = Serving(Node(host, port, identity), former.number if former else number)
""",
        (CLUSTER, "tests/unit/shared/protocol/test_slots.py"),
    ),
    Mutant(
        "a node that takes no events keeps serving its slots",
        "self._table = self._table.without(slots, nodes)",
        "self._table = self._table",
        (CLUSTER, SIMULATION),
    ),
    Mutant(
        "a table that a failover has set back is used again",
        """\
if table.version >= self._table.version:
    self._table = table
""",
        """\
self._table = table
""",
        (SIMULATION,),
    ),
    Mutant(
        "a failover of the state's node is not noticed while it answers",
        """\
if self._server is not None and (
    serving is None or serving.node.identity != self._server.identity
):
    ...
""",
        """\
pass
""",
        (SIMULATION,),
    ),
    Mutant(
        "rechecks are sent with the events of projects",
        """\
if publication.rechecks:
    await super().publish(Publication({}, publication.rechecks, {}), state)
return refused | await self._publish_all(publication.projects, state)
""",
        """\
refused |= await self._publish_all(publication.projects, state)
if publication.rechecks:
    await super().publish(Publication({}, publication.rechecks, {}), state)
return refused
""",
        (CLUSTER, SIMULATION),
    ),
    Mutant(
        "a gateway keeps its first slot table",
        """\
if (tick.generation, tick.slots) != (self._generation, self._channels.table.version):
    self._table_changed.set()
""",
        """\
pass
""",
        (CLUSTER, SIMULATION),
    ),
    Mutant(
        "channels of a lost node stay live",
        """\
self._is_incomplete = True
self._on_lost([name.encode() for name in names])
""",
        """\
self._is_incomplete = True
""",
        (UNIT_LINKS, CLUSTER, SIMULATION),
    ),
    Mutant(
        "moved channels stay live",
        """\
if moved:
    self._on_lost([name.encode() for name in moved])
""",
        """\
pass
""",
        (UNIT_LINKS, CLUSTER, SIMULATION),
    ),
    Mutant(
        "what is read of a lost channel counts",
        """\
if self._batch is not None:
    for channel in known:
        self._batch.wanted.pop(channel, None)
""",
        """\
pass
""",
        (UNIT_REGISTRY[0], CLUSTER, SIMULATION),
    ),
    Mutant(
        "a log is read without the number of its slot",
        'return f"{generation}-{serving.number}" if serving else ""',
        'return f"{generation}-1" if serving else ""',
        ("tests/unit/gateway/delivery/test_cluster_channels.py", CLUSTER),
    ),
    # --- the Python client
    Mutant(
        "the Python client resumes although everything was reset",
        "self._change({**dict.fromkeys(self.cursors), **cursors})",
        "self._change(cursors)",
        (f"{PYTHON_CLIENT}/test_subscriptions.py",),
    ),
    Mutant(
        "the Python client resumes a project whose access has changed",
        """\
if frame.is_access_change and project_id is not None:
    changes[project_channel(project_id)] = None
""",
        "pass",
        (f"{PYTHON_CLIENT}/test_subscriptions.py",),
    ),
    Mutant(
        "the Python client's reset for too many messages keeps the older cursors",
        'self._waiting.append((Reset(project_id=None, reason="lagged"), all_changes))',
        'self._waiting.append((Reset(project_id=None, reason="lagged"), {}))',
        (f"{PYTHON_CLIENT}/test_inbox.py",),
    ),
)
