-- Gives each name a number that no other name of its kind has or has had.
-- KEYS[1] hash of ids. ARGV names, "kind:app:name". Returns the numbers, in order.
local ids = {}
for place, name in ipairs(ARGV) do
  local id = redis.call('HGET', KEYS[1], name)
  if not id then
    local kind = string.match(name, '^[^:]+')
    id = redis.call('HINCRBY', KEYS[1], 'last:' .. kind, 1)
    redis.call('HSET', KEYS[1], name, id)
  end
  ids[place] = tonumber(id)
end
return ids
