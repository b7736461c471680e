-- Forgets workers that hold no entry: one that ends, or those that were not heard of for long. A group never
-- forgets a worker by itself, and to delete one that holds entries would lose them.
-- KEYS[1] the queue. ARGV[1] group, ARGV[2] milliseconds unheard of, ARGV[3] only this worker ('' for any).
-- Returns how many.
local count = 0
for _, facts in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local worker = {}
  for place = 1, #facts, 2 do
    worker[facts[place]] = facts[place + 1]
  end
  local meant = ARGV[3] == '' or ARGV[3] == worker['name']
  if meant and worker['pending'] == 0 and worker['idle'] >= tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], worker['name'])
    count = count + 1
  end
end
return count
