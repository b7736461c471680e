-- Adds dead letters to the stream KEYS[1], each once: the checkpoint KEYS[2] keeps the position of the last, as
-- 19 digits, which compare as texts do, and the sorted set KEYS[3] those of as many as letters are kept. ARGV: incarnation, how many letters are kept, then for each letter its
-- position, how many strings follow, and those: names and values in turn. Returns how many were added.
local incarnation, kept = ARGV[1], ARGV[2]
local last = ''
if redis.call('HGET', KEYS[2], 'letters_of') == incarnation then
  last = redis.call('HGET', KEYS[2], 'last_letter') or ''
else
  redis.call('DEL', KEYS[3])
end
local place, added = 3, 0
while place <= #ARGV do
  local position, count = ARGV[place], tonumber(ARGV[place + 1])
  if position > last then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', kept, '*', unpack(ARGV, place + 2, place + 1 + count))
    redis.call('ZADD', KEYS[3], 0, position)
    last, added = position, added + 1
  end
  place = place + 2 + count
end
if added > 0 then
  redis.call('HSET', KEYS[2], 'letters_of', incarnation, 'last_letter', last)
  redis.call('HINCRBY', KEYS[2], 'invalid', added)
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - kept)
end
return added
