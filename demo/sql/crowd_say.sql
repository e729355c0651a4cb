insert into messages (project_id, user_id, body)
select $1, member.id, $2
from (
    select owner_id as id from projects where id = $1
    union select user_id from project_members where project_id = $1
) as member
order by random()
limit 1
