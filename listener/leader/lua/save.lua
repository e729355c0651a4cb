-- KEYS[1] state   ARGV: the generation that must be stored ('' at a reset), tick channel, tick up to its time
-- ('' = no tick), tick after it, field, value, ...
-- Returns the generation that was stored, or nil. Nothing was saved unless it is the wanted one, or none is wanted.
local stored = redis.call('HGET', KEYS[1], 'generation')
if ARGV[1] ~= '' and stored ~= ARGV[1] then return stored end
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
if ARGV[3] ~= '' then
  local t = redis.call('TIME')
  redis.call('PUBLISH', ARGV[2], ARGV[3] .. string.format('%.0f', t[1] * 1000000 + t[2]) .. ARGV[4])
end
return stored
