-- Read a page of a channel log.
-- KEYS: 1 the log
-- ARGV: 1 generation, 2 random text for a new epoch, 3 TTL in seconds, 4 epoch ('' = any) and 5 offset to read after
--       ('' = read no rows), 6 rows per page
-- Returns {epoch, floor, last, more 0|1, member, offset, member, offset, ...}: the rows above the offset, none unless
-- they are all that changed since then. A log that is missing, of another generation or not a log is created, with a
-- floor of now.
local key, generation, since = KEYS[1], ARGV[1], tonumber(ARGV[5])
local function int(n) return string.format('%.0f', n) end
local head = redis.pcall('ZRANGE', key, 0, 0, 'WITHSCORES')
if head.err then head = {} end -- a key of another type: an error would fail the whole batch
if not head[1] or head[1]:match('^!(.-)%.') ~= generation then
  local t = redis.call('TIME')
  head = {'!' .. generation .. '.' .. ARGV[2], int(t[1] * 1000000 + t[2])}
  redis.call('DEL', key)
  redis.call('ZADD', key, head[2], head[1])
end
redis.call('EXPIRE', key, ARGV[3])
local epoch, floor = head[1]:sub(2), tonumber(head[2])
local last = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2]
local out = {epoch, int(floor), int(last), 0}
if since and since >= floor and (ARGV[4] == '' or ARGV[4] == epoch) then
  local page = tonumber(ARGV[6])
  local rows = redis.call('ZRANGEBYSCORE', key, '(' .. ARGV[5], '+inf', 'WITHSCORES', 'LIMIT', 0, page + 1)
  if #rows > 2 * page then
    rows[#rows], rows[#rows - 1], out[4] = nil, nil, 1
  end
  for i = 1, #rows, 2 do
    out[#out + 1], out[#out + 2] = rows[i], int(rows[i + 1])
  end
end
return out
