-- Puts a dead letter back into the queue, its prediction pending again.
-- KEYS[1] the dead letters, KEYS[2] the queue, KEYS[3] its record, KEYS[4] what its idempotency key stands for
-- (KEYS[3] where it has none). ARGV[1] the letter, ARGV[2] milliseconds that the record is kept while pending,
-- ARGV[3] most entries in the queue, ARGV[4] the prediction's id, ARGV[5..] the entry.
-- Returns 1; 0 where the letter is gone; -1 where the queue is full.
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[3]) then
  return -1
end
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[3], 'state', 'PENDING')
redis.call('HDEL', KEYS[3], 'body')
redis.call('PEXPIRE', KEYS[3], ARGV[2])
-- The key may stand for another prediction by now, which keeps its own time.
if KEYS[4] ~= KEYS[3] then
  local first = redis.call('GET', KEYS[4])
  if first and string.sub(first, -#ARGV[4]) == ARGV[4] then
    redis.call('PEXPIRE', KEYS[4], ARGV[2])
  end
end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 5))
return 1
