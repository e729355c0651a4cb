"""The faults that ``mutants`` plants, each with the tests that must notice."""

from dataclasses import dataclass
from typing import Final

SIMULATION: Final = "tests/simulation"
LUA: Final = "tests/integration/test_lua_model.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """``before`` becomes ``after`` in a file; the tests that must notice, the first first."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...] = (SIMULATION,)


REGISTRY: Final = "gateway/core/registry.py"
LEADER: Final = "listener/leader.py"
PUBLISH: Final = "listener/lua/publish.lua"
REPLAY: Final = "gateway/lua/replay.lua"
REVOCATION: Final = "tests/integration/test_revocation.py"
UNIT_REGISTRY: Final = ("tests/unit/test_registry.py", "tests/unit/test_registry_machine.py")

MUTANTS: Final = (
    # --- the leader
    Mutant(
        "the cursor is saved before the rows are published",
        LEADER,
        """\
        if batch.rows:
            await self._publish(planned, place)
""",
        """\
        if batch.rows:
            await self._save(replace(judged, cursor=batch.cursor), tick_lag_ms=None)
            await self._publish(planned, place)
""",
    ),
    Mutant(
        "the cursor is saved whatever generation is stored",
        "listener/publisher.py",
        "return await self._write(place, place.generation, _saved(place), tick_lag_ms)",
        'return await self._write(place, "", _saved(place), tick_lag_ms)',
        ("tests/integration/test_redis_link.py", SIMULATION),
    ),
    Mutant(
        "an old leader writes its generation back",
        "listener/publisher.py",
        """\
        return await self._write(place, place.generation, _saved(place), tick_lag_ms)""",
        """\
        await self.reset(place)
        return place.generation""",
        ("tests/integration/test_redis_link.py", SIMULATION),
    ),
    Mutant(
        "a refused save is taken for done",
        LEADER,
        "        if stored != place.generation:\n",
        "        if not stored:\n",
    ),
    Mutant(
        "the log is pruned up to what was read, before it is published",
        LEADER,
        "        judged = decide_liveness(place, batch)\n",
        "        await self._log.prune(batch.cursor)\n        judged = decide_liveness(place, batch)\n",
    ),
    Mutant(
        "the snapshot of the new cursor is taken after the reset",
        LEADER,
        "        await self._publisher.reset(place)\n",
        """\
        await self._publisher.reset(place)
        place = replace(place, cursor=(await self._log.read(None)).cursor)
""",
    ),
    Mutant(
        "Redis's identity is not compared on taking over",
        "listener/core/leadership.py",
        "if not generation or cursor is None or stored_in != redis_identity:",
        "if not generation or cursor is None:",
        (SIMULATION, "tests/unit/test_listener_core.py"),
    ),
    Mutant(
        "Redis's identity is not compared with the ticks",
        LEADER,
        "if (await self._publisher.server()).identity != place.redis:",
        "if (await self._publisher.server()).identity is None:",
    ),
    Mutant(
        "a log that is not the cursor's is read on",
        "listener/core/leadership.py",
        "if batch.cursor.identity != cursor.identity or batch.cursor_ahead:",
        "if batch.cursor_ahead:",
    ),
    Mutant(
        "a reset keeps the generation",
        LEADER,
        "secrets.token_hex(8),",
        '"g",',
    ),
    Mutant(
        "what was skipped is forgotten once the log has room",
        "listener/core/leadership.py",
        "    if place.live and not batch.has_skipped:\n        return place\n",
        "    if place.live or not batch.has_skipped:\n        return replace(place, live=True)\n",
    ),
    Mutant(
        "the reset does not wait for those that skipped the log",
        "listener/core/leadership.py",
        'return Reset("log_full") if batch.oldest_xid >= place.barrier else place',
        'return Reset("log_full")',
    ),
    Mutant(
        "too many rows are cut off instead of widened",
        "listener/core/leadership.py",
        '    if len(batch.rows) > MAX_ROWS_PER_READ:\n        return Reset("bulk_change")\n',
        "",
    ),
    Mutant(
        "a row that is told twice keeps its first place",
        "listener/core/publication.py",
        "            draft.told.pop(key, None)\n            draft.told[key] = event\n",
        "            draft.told.setdefault(key, event)\n",
        ("tests/unit/test_publication.py",),
    ),
    Mutant(
        "a widened project is told its rows only",
        "listener/core/publication.py",
        "    if draft.widened is not None:\n",
        "    if draft.widened is not None and not draft.told:\n",
    ),
    Mutant(
        "rechecks come after the projects' channels",
        "listener/publisher.py",
        "            *publication.rechecks,\n            *publication.projects.items(),\n",
        "            *publication.projects.items(),\n            *publication.rechecks,\n",
    ),
    Mutant(
        "no recheck is sent",
        "listener/publisher.py",
        "            *publication.rechecks,\n",
        "",
    ),
    Mutant(
        "a project's own row asks for nobody's access",
        "listener/core/publication.py",
        "            if audience.is_project(named):\n                rechecks[Recheck(project_id, None)] = None\n",
        "",
        ("tests/unit/test_publication.py",),
    ),
    # --- cursors and replay
    Mutant(
        "replay does not look at the floor",
        "shared/core/replay.py",
        "return offset if head.floor <= offset <= head.last else None",
        "return offset if offset <= head.last else None",
        (SIMULATION, "tests/unit/test_protocol.py", *UNIT_REGISTRY),
    ),
    Mutant(
        "replay takes a cursor of another epoch",
        "shared/core/replay.py",
        "case Cursor(_, epoch, offset) if epoch == head.epoch:",
        "case Cursor(_, epoch, offset) if epoch:",
        (SIMULATION, "tests/unit/test_protocol.py"),
    ),
    Mutant(
        "a page's age is believed though the log begins later",
        "shared/core/replay.py",
        "case Loaded(offset) if head.floor <= offset:",
        "case Loaded(offset):",
    ),
    Mutant(
        "H is kept without its epoch",
        "shared/core/replay.py",
        "return self.epoch != place.epoch or self.offset > place.offset",
        "return self.offset > place.offset",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "frames that came in one read keep the oldest of a row",
        "gateway/core/outbox.py",
        "        newest.pop(row, None)\n        newest[row] = payload\n",
        "        newest.setdefault(row, payload)\n",
        (SIMULATION, "tests/unit/test_gateway_core.py"),
    ),
    # --- the gateway
    Mutant(
        "a channel is read before its subscription is acknowledged",
        REGISTRY,
        "            if not all(self._entries[channel].acknowledged for channel in behind):\n"
        "                continue\n",
        "",
    ),
    Mutant(
        "frames that come while a log is read are dropped",
        REGISTRY,
        "            heard = [f for f in round_.heard.get(channel, ()) if f[0].is_above(end)]\n",
        "            heard: list[Frame] = []\n",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "`connected` shows the newest cursor before the replay",
        REGISTRY,
        "            effects.append(Greet(member, list(places.values()), resumed))\n",
        "            newest = [\n"
        "                Cursor(p.channel, p.epoch, answers[p.channel].head.last)\n"
        "                for p in places.values()\n"
        "            ]\n"
        "            effects.append(Greet(member, newest, resumed))\n",
        (*UNIT_REGISTRY, SIMULATION),
    ),
    Mutant(
        "reads under way outlive the link",
        REGISTRY,
        "        self.linked = False\n        self._round = None\n        for channel",
        "        self.linked = False\n        for channel",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "reads under way outlive the generation",
        REGISTRY,
        "        self.generation = generation\n        self._round = None\n",
        "        self.generation = generation\n",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "a lost link leaves live what was live",
        REGISTRY,
        "            entry.acknowledged = False\n"
        "            self._all_fall_behind(channel, entry, entry.place)\n",
        "            entry.acknowledged = False\n",
    ),
    Mutant(
        "a joiner moves the place of the others",
        REGISTRY,
        "            if not entry.live:\n                entry.place =",
        "            if True:\n                entry.place =",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "a frame of another generation passes",
        REGISTRY,
        "        if cursor.generation != self.generation:\n",
        "        if self.generation is None:\n",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "a tick's generation is not compared",
        "gateway/fanout.py",
        "        is_new = self.learn(tick.generation, tick.reason)\n",
        "        is_new = self._registry.generation is None and self.learn(\n"
        "            tick.generation, tick.reason\n        )\n",
    ),
    Mutant(
        "a slow client that has drained is live at once",
        REGISTRY,
        '                self._fall_behind(member, channel, entry, _Seat(entry.place, "lagged"))\n',
        "                pass\n",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "after one page of many a seat is live",
        REGISTRY,
        "        end = answer.frames[-1][0] if answer.more else Cursor(",
        "        end = Cursor(",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    # --- who may hear
    Mutant(
        "no re-check after a gap of Redis",
        "gateway/subscriber.py",
        "            self._guard.doubt(EVERYTHING)  # rechecks were missed\n",
        "",
        (REVOCATION, SIMULATION),
    ),
    Mutant(
        "no re-check after a reset",
        "gateway/fanout.py",
        "        return was_silent or is_new\n",
        "        return was_silent\n",
        (REVOCATION, SIMULATION),
    ),
    Mutant(
        "what is doubtful is not held",
        "gateway/guard.py",
        "            self._fanout.hold(pair)\n            self._overtaken",
        "            self._overtaken",
    ),
    Mutant(
        "what was remembered survives a recheck",
        "gateway/core/membership.py",
        "            self._known.pop(pair)\n        is_named",
        "            pass\n        is_named",
        (SIMULATION, "tests/unit/test_membership.py"),
    ),
    Mutant(
        "an answer counts though it was asked before the recheck",
        "gateway/core/membership.py",
        "        for pair in self._asked.concerned(recheck):\n",
        "        for pair in list[Pair]():\n",
        (SIMULATION, "tests/unit/test_membership.py"),
    ),
    Mutant(
        "who joins does not ask again",
        "gateway/sockets.py",
        'if channel.kind == "project" and not self._access.is_known(pair):',
        'if channel.kind == "nothing" and not self._access.is_known(pair):',
    ),
    Mutant(
        "held seats are caught up with the others",
        REGISTRY,
        "if membership.slow or membership.held or not membership.behind:",
        "if membership.slow or not membership.behind:",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "a release forgets the seat's own place",
        REGISTRY,
        "            membership.behind[channel] = membership.held.pop(channel)\n",
        "            del membership.held[channel]\n            self._entries[channel].live[member] = None\n",
        (SIMULATION, *UNIT_REGISTRY),
    ),
    Mutant(
        "plain clients are not told that access changed",
        "gateway/fanout.py",
        "            connection.tell_access_changed(project_id)\n",
        "            pass\n",
        (REVOCATION,),
    ),
    # --- the scripts
    Mutant(
        "trim does not raise the floor",
        PUBLISH,
        "  redis.call('ZADD', key, low[2], epoch) -- the floor rises to the newest row cut\n",
        "",
        (LUA,),
    ),
    Mutant(
        "a log of another generation is gone on with",
        PUBLISH,
        "if not epoch or epoch:match('^!(.-)%.') ~= generation or last > 9e15 then",
        "if not epoch or last > 9e15 then",
        (LUA,),
    ),
    Mutant(
        "offsets are Redis's time, growing or not",
        PUBLISH,
        "  last = math.max(last + 1, now)\n",
        "  last = now\n",
        (LUA,),
    ),
    Mutant(
        "replay begins a page at its place, not above it",
        REPLAY,
        "'(' .. ARGV[5]",
        "ARGV[5]",
        (LUA,),
    ),
    Mutant(
        "replay forgets that there is more",
        REPLAY,
        "rows[#rows], rows[#rows - 1], out[4] = nil, nil, 1",
        "rows[#rows], rows[#rows - 1], out[4] = nil, nil, 0",
        (LUA,),
    ),
    Mutant(
        "replay goes on with a log of another generation",
        REPLAY,
        "if not head[1] or head[1]:match('^!(.-)%.') ~= generation then",
        "if not head[1] then",
        (LUA,),
    ),
    Mutant(
        "save does not compare the generation",
        "listener/lua/save.lua",
        "if ARGV[1] ~= '' and stored ~= ARGV[1] then return stored end\n",
        "",
        (LUA,),
    ),
)
