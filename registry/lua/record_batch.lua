-- Stores a batch's record, and drops the oldest beyond a limit.
-- KEYS[1] hash of records, KEYS[2] sorted set of their ids by number. ARGV id, number, record, limit.
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
local surplus = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[4])
if surplus > 0 then
  local oldest = redis.call('ZRANGE', KEYS[2], 0, surplus - 1)
  redis.call('HDEL', KEYS[1], unpack(oldest))
  redis.call('ZREM', KEYS[2], unpack(oldest))
end
return redis.call('ZCARD', KEYS[2])
