-- The change log reduced to ASCII, which is valid in every encoding. An id with other characters becomes null, like one
-- that is too long. A row with other characters in its project, user, resource or action becomes a reset of everything.
select l.xid, l.at,
       case when is_known then l.project_id end as project_id,
       case when is_known then l.user_id end as user_id,
       case when is_known then l.resource else 'bulk_change' end as resource,
       case when is_known and encode(convert_to(left(l.id, 513), getdatabaseencoding()), 'hex') ~ '^([0-7].)*$'
            then l.id end as id,
       case when is_known then l.action else 'RECONNECT' end as action
  from neverstale.change_log l
 cross join lateral (select encode(convert_to(concat(left(l.project_id, 513), left(l.user_id, 513), left(l.resource, 257),
                                                     left(l.action, 33)), getdatabaseencoding()), 'hex')
                            ~ '^([0-7].)*$' as is_known) as judged
