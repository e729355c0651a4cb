-- KEYS[1] log   ARGV: generation, fresh random, ttl s
-- -> {epoch, last}; makes the log only if it is missing or of another generation
local key, generation = KEYS[1], ARGV[1]
local epoch = redis.call('ZRANGE', key, 0, 0)[1]
if not epoch or epoch:match('^!(.-)%.') ~= generation then
  local t = redis.call('TIME')
  epoch = '!' .. generation .. '.' .. ARGV[2]
  redis.call('DEL', key)
  redis.call('ZADD', key, string.format('%.0f', t[1] * 1000000 + t[2]), epoch)
end
redis.call('EXPIRE', key, ARGV[3])
return {epoch:sub(2), string.format('%.0f', redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2])}
