"""Read the id that an HTTP API gets in its JSON body."""

from collections.abc import Sequence

from aiohttp import web

from shared.protocol.channels import IdType, InvalidId
from shared.protocol.close_codes import Refusal, bad_request
from shared.protocol.json_values import parse_id_value, parse_object


async def read_id(request: web.Request, names: Sequence[str], id_type: IdType) -> str | Refusal:
    """The canonical id in the first field of these names that the body has.

    The server has read the body already, within its limits.
    """
    body = parse_object(await request.read())
    if body is None:
        return bad_request("the body must be a JSON object")
    name = names[0]
    given = next((body[key] for key in names if key in body), None)
    try:
        id_ = parse_id_value(given, id_type)
    except InvalidId as exc:
        return bad_request(f"{name} {exc}")
    return bad_request(f'the body must be {{"{name}": <id>}}') if id_ is None else id_
