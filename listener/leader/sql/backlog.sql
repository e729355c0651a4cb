-- Conflates a backlog that has too many rows for read.sql.
-- $1: the cursor's pg_snapshot as text.  $2, $3: the most rows that the log of a project, and of a user, can hold.
-- $4: the resources of the projects' own table.  $5: the most rows to return.
-- $6: the action RECONNECT_USER.
-- First the snapshot, which becomes the cursor; then, oldest first, the newest row of each project, user, resource, id and
-- action. Values that are too long are handled as in read.sql. A project with more rows than its log holds is reduced to
-- its RECONNECT and the rows that name a user or are the project itself, since no revocation may be lost. The rows of a
-- user with more than that user's log holds become one RECONNECT_USER, unless the project's channel needs them too. A
-- row that resets everything is returned alone.
with newest as materialized (
    select project_id, user_id, resource, id, action, max(at) as at
      from (select xid, at,
                   case when octet_length(project_id) <= 512 then project_id when project_id is not null then '' end as project_id,
                   case when octet_length(user_id) <= 512 then user_id when user_id is not null then '' end as user_id,
                   case when octet_length(resource) <= 256 then resource else '' end as resource,
                   case when octet_length(id) <= 512 then id end as id,
                   case when octet_length(action) <= 32 then action else '' end as action
              from neverstale.change_log l) as short
     where xid >= pg_snapshot_xmax($1::text::pg_snapshot) and xid < pg_snapshot_xmax(pg_current_snapshot())
        or xid = any (array(select pg_snapshot_xip($1::text::pg_snapshot)))
     group by project_id, user_id, resource, id, action
), everything as materialized (
    select * from newest where action = 'RECONNECT' and project_id is null limit 1
), heavy_projects as (
    select project_id, max(at) as at
      from newest
     where project_id is not null
     group by project_id
    having count(*) > $2
), heavy_users as (
    select user_id from newest where user_id is not null group by user_id having count(*) > $3
), judged as materialized (
    select newest.*,
           newest.resource <> all ($4::text[])
             and (heavy_projects.project_id is not null or newest.project_id is null)
             and ((newest.user_id is null and newest.project_id is not null)
                  or heavy_users.user_id is not null) as is_covered
      from newest
      left join heavy_projects using (project_id)
      left join heavy_users using (user_id)
), kept as (
    select project_id, user_id, resource, id, action, at from judged where not is_covered
    union all
    select project_id, null, 'bulk_change', null, 'RECONNECT', at from heavy_projects
    union all
    select null, user_id, 'bulk_change', null, $6::text, max(at)
      from judged where is_covered and user_id is not null group by user_id
)
select pg_current_snapshot()::text as snapshot, null as project_id, null as user_id, null as resource, null as id,
       null as action, null::timestamptz as at
union all
(select null, project_id, user_id, resource, id, action,
        case when conflated.at between '0001-01-01 00:00+00' and '9999-12-31 23:59:59+00' then conflated.at end
   from (select * from kept where not exists (select from everything)
         union all
         select project_id, user_id, resource, id, action, at from everything) as conflated
  order by conflated.at
  limit $5)
