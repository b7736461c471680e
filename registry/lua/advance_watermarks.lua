-- Advances watermarks, none of which ever goes back, and tells that their worker lives.
-- KEYS[1] hash of watermarks. ARGV: 1 the time now, us; then triples: the view's field (view id, generation),
-- its number of partitions, and "partition:event time, us" of one of them.
local key, heartbeat_us = KEYS[1], ARGV[1]
for at = 2, #ARGV, 3 do
  local view, partitions = ARGV[at], ARGV[at + 1]
  local partition, offered_us = ARGV[at + 2]:match('^(%d+):(-?%d+)$')
  local field = view .. ':' .. partition
  local stored = redis.call('HGET', key, field)
  local stored_us = stored and stored:match('^(-?%d+) ')
  if stored_us and tonumber(stored_us) > tonumber(offered_us) then
    offered_us = stored_us
  end
  redis.call('HSET', key, field, offered_us .. ' ' .. heartbeat_us, view, partitions)
end
return redis.status_reply('OK')
