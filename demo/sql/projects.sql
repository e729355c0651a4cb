select id, name, owner_id, owner_id = $1 as is_owner
from projects
where owner_id = $1
    or exists (select from project_members where project_id = projects.id and user_id = $1)
order by name, id
