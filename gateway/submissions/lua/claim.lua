-- Gives a worker the first entry that another took and hasn't ended for a while. XAUTOCLAIM would not say how
-- often the entry was given out.
-- KEYS[1] the queue. ARGV[1] group, ARGV[2] worker, ARGV[3] milliseconds.
-- Returns {entry, fields, how often it has been given out, this time included}, or nothing.
while true do
  local late = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], '-', '+', 1)[1]
  if not late then
    return {}
  end
  local claimed = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], late[1])[1]
  if claimed then
    return {claimed[1], claimed[2], late[4] + 1}
  end
  redis.call('XACK', KEYS[1], ARGV[1], late[1]) -- its entry is gone from the queue
end
