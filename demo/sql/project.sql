select id, name, owner_id, owner_id = $2 as is_owner
from projects
where id = $1
    and (owner_id = $2
        or exists (select from project_members where project_id = $1 and user_id = $2))
