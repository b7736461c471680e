-- Takes the next batch number, the server's time in microseconds or one more than the last, and the next
-- generation of each view.
-- KEYS[1] last batch number, KEYS[2] hash of last generations. ARGV views. Returns {number, generation...}.
local time = redis.call('TIME')
local number = tonumber(time[1]) * 1000000 + tonumber(time[2])
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
if number <= last then
  number = last + 1
end
redis.call('SET', KEYS[1], string.format('%.0f', number))
local taken = { number }
for place, view in ipairs(ARGV) do
  taken[place + 1] = redis.call('HINCRBY', KEYS[2], view, 1)
end
return taken
