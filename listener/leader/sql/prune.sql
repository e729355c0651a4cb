-- $1: the pg_snapshot, as text, of the cursor saved in Redis.  $2: its identity's incarnation.  $3: the most rows.
-- Removes every row that the cursor has seen, so that a long transaction holds back only its own; and rows of another
-- cluster (see read.sql).
delete from neverstale.change_log
 where ctid = any (array(
   select ctid from neverstale.change_log
    where (xid < pg_snapshot_xmax($1::text::pg_snapshot)
           and not xid = any (array(select pg_snapshot_xip($1::text::pg_snapshot)))
           or xid >= pg_snapshot_xmax(pg_current_snapshot()))
      and $2 = (select id::text from neverstale.incarnation)
    limit $3))
