-- $1: the pg_snapshot, as text, of the cursor saved in Redis.  $2: its identity's incarnation.
-- Everything before its xmin was seen by it.
delete from neverstale.change_log
 where xid < pg_snapshot_xmin($1::text::pg_snapshot)
   and $2 = (select id::text from neverstale.incarnation)
