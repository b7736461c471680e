-- Ends a prediction: the first result stands. Takes its entry out of the queue in any case.
-- KEYS[1] its record, KEYS[2] the queue, KEYS[3] the endings, KEYS[4] the dead letters,
-- KEYS[5] what its idempotency key stands for (KEYS[1] where it has none).
-- ARGV[1] group, ARGV[2] entry, ARGV[3] prediction id, ARGV[4] state, ARGV[5] body, ARGV[6] milliseconds that
-- the result is kept, ARGV[7] endings kept, ARGV[8] dead letters kept, ARGV[9..] the dead letter, if it is one.
-- Returns 'FIRST'; 'LATER' where it had ended; 'GONE' where its record has expired.
local state = redis.call('HGET', KEYS[1], 'state')
local outcome = 'GONE'
if state == 'PENDING' then
  outcome = 'FIRST'
  redis.call('HSET', KEYS[1], 'state', ARGV[4], 'body', ARGV[5])
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
  -- A key whose prediction was forgotten may stand for another one by now, which keeps its own time.
  if KEYS[5] ~= KEYS[1] then
    local first = redis.call('GET', KEYS[5])
    if first and string.sub(first, -#ARGV[3]) == ARGV[3] then
      redis.call('PEXPIRE', KEYS[5], ARGV[6])
    end
  end
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[7], '*', 'id', ARGV[3])
elseif state then
  outcome = 'LATER'
end
if outcome ~= 'LATER' and #ARGV > 8 then
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[8], '*', unpack(ARGV, 9))
end
redis.call('XACK', KEYS[2], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[2], ARGV[2])
return outcome
