-- KEYS[1] log   ARGV: channel, generation, fresh random, max rows, ttl s, PUBLISH or SPUBLISH,
-- then per event: member ('*' = reconnect), frame up to the cursor's epoch, frame after the cursor.
-- Returns {epoch, last}.
local key, channel, generation = KEYS[1], ARGV[1], ARGV[2]
local max = tonumber(ARGV[4])
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local function int(n) return string.format('%.0f', n) end
local head = redis.call('ZRANGE', key, 0, 0)
local top = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
local epoch, last = head[1], tonumber(top[2])
-- a larger offset is not exact in a double, and might not grow
if not epoch or epoch:match('^!(.-)%.') ~= generation or last > 9e15 then
  epoch, last = '!' .. generation .. '.' .. ARGV[3], now
  redis.call('DEL', key)
  redis.call('ZADD', key, int(now), epoch)
end
for i = 7, #ARGV, 3 do
  local member = ARGV[i]
  last = math.max(last + 1, now)
  if member == '*' then redis.call('ZREMRANGEBYRANK', key, 1, -1) end
  redis.call('ZADD', key, int(last), member)
  redis.call(ARGV[6], channel, ARGV[i + 1] .. epoch:sub(2) .. '.' .. int(last) .. ARGV[i + 2])
end
local over = redis.call('ZCARD', key) - 1 - max
if over > 0 then
  local low = redis.call('ZRANGE', key, over, over, 'WITHSCORES')
  redis.call('ZREMRANGEBYRANK', key, 1, over)
  redis.call('ZADD', key, low[2], epoch) -- the floor rises to the newest row cut
end
redis.call('EXPIRE', key, ARGV[5])
return {epoch:sub(2), int(last)}
