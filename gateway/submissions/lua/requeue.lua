-- Puts a dead letter back into the queue, its prediction pending again.
-- KEYS[1] the dead letters, KEYS[2] the queue, KEYS[3] its record, KEYS[4] what its idempotency key stands for
-- (KEYS[3] where it has none). ARGV[1] the letter, ARGV[2] milliseconds that the record is kept while pending,
-- ARGV[3..] the entry.
-- Returns 1, or 0 where the letter is gone.
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[3], 'state', 'PENDING')
redis.call('HDEL', KEYS[3], 'body')
redis.call('PEXPIRE', KEYS[3], ARGV[2])
redis.call('PEXPIRE', KEYS[4], ARGV[2])
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
return 1
