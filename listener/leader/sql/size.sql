-- The change log's rows as PostgreSQL's statistics estimate them, its bytes with its index as triggers compare them with
-- their limit, that limit, and how full the queue of all NOTIFYs of the cluster is (0 to 1).
select pg_stat_get_live_tuples('neverstale.change_log'::regclass) as rows,
       pg_relation_size('neverstale.change_log') + pg_relation_size('neverstale.change_log_xid') as bytes,
       (select log_max_bytes from neverstale.settings()) as max_bytes,
       pg_notification_queue_usage() as queue_usage
