-- $1: the cursor's pg_snapshot as text, or null.  $2: the most rows to return.
-- One statement, so one snapshot: first a row that describes it, then the rows that the cursor has not seen.
-- A value that is too long is not returned: an id becomes null, any other text becomes empty, which names nothing. A time
-- outside the range that clients can parse becomes null.
-- (`xid >= xmin` instead would scan everything logged since the oldest writer began.)
-- A visible row whose xid is not assigned yet was written in another cluster and restored from a dump: it says nothing
-- about this one, and prune.sql removes it.
select (select system_identifier from pg_control_system())::text || '.'
         || (select oid from pg_database where datname = current_database())::text || '.'
         || 'neverstale.change_log'::regclass::oid::text || '.'
         || extract(epoch from pg_postmaster_start_time())::text || '.'
         || (select id from neverstale.incarnation)::text as identity,
       pg_current_snapshot()::text as snapshot,
       coalesce(pg_snapshot_xmax($1::text::pg_snapshot) > pg_snapshot_xmax(pg_current_snapshot()), false)
         as cursor_ahead,
       (select i.disabled
               or pg_catalog.pg_relation_size('neverstale.change_log')
                + pg_catalog.pg_relation_size('neverstale.change_log_xid') > i.log_max_bytes
               or (s.last_value, s.is_called) <> (n.last_value, n.is_called)
          from neverstale.settings() i, neverstale.skips s, neverstale.skips_noted n) as is_skipping,
       (select is_called from neverstale.skipped) as has_skipped,
       exists (select from neverstale.moved) as has_moved,
       pg_snapshot_xmin(pg_current_snapshot()) as oldest_xid,
       clock_timestamp() as at,
       null as project_id, null as user_id, null as resource, null as id, null as action
union all
(select '', null, null, null, null, null, null,
        case when l.at between '0001-01-01 00:00+00' and '9999-12-31 23:59:59+00' then l.at end,
        case when octet_length(project_id) <= 512 then project_id when project_id is not null then '' end,
        case when octet_length(user_id) <= 512 then user_id when user_id is not null then '' end,
        case when octet_length(resource) <= 256 then resource else '' end,
        case when octet_length(id) <= 512 then id end,
        case when octet_length(action) <= 32 then action else '' end
   from neverstale.change_log l
  where xid >= pg_snapshot_xmax($1::text::pg_snapshot) and xid < pg_snapshot_xmax(pg_current_snapshot())
     or xid = any (array(select pg_snapshot_xip($1::text::pg_snapshot)))
  order by l.at
  limit $2)
