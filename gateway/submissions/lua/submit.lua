-- Accepts a prediction, unless its idempotency key stands for one already or the queue is full.
-- KEYS[1] its record, KEYS[2] the queue, KEYS[3] what its idempotency key stands for (KEYS[1] where it has none).
-- ARGV[1] most entries in the queue, ARGV[2] milliseconds that the record is kept while pending,
-- ARGV[3] the request's digest and the prediction's id ('' without an idempotency key), ARGV[4..] the entry.
-- Returns {'FIRST', digest and id of the first}, {'FULL', id of the oldest entry} or {'ACCEPTED', ''}.
if ARGV[3] ~= '' then
  local first = redis.call('GET', KEYS[3])
  if first then
    return {'FIRST', first}
  end
end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[1]) then
  local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
  return {'FULL', oldest[1][1]}
end
redis.call('HSET', KEYS[1], 'state', 'PENDING')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[2])
end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4))
return {'ACCEPTED', ''}
