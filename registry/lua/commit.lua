-- Makes a release live, and stores its plan if that is new, unless somebody else was first.
-- KEYS[1] release pointer, KEYS[2] release record, KEYS[3] release record to drop,
-- KEYS[4] plan pointer, KEYS[5] plan record, KEYS[6] holder of the batch that is published.
-- ARGV[1] the release expected to be live ('0' for none), ARGV[2] the new one's number, ARGV[3] its record,
-- ARGV[4] the plan expected to be newest, ARGV[5] the new one's number, ARGV[6] its record ('' for no new plan).
-- ARGV[7] the holder that the batch must have ('' for any).
-- Returns 1, 0 where an expectation is wrong, or -1 where the batch is held by somebody else, or nobody.
if ARGV[7] ~= '' and redis.call('GET', KEYS[6]) ~= ARGV[7] then
  return -1
end
if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then
  return 0
end
if ARGV[6] ~= '' then
  if (redis.call('GET', KEYS[4]) or '0') ~= ARGV[4] then
    return 0
  end
  redis.call('SET', KEYS[5], ARGV[6])
  redis.call('SET', KEYS[4], ARGV[5])
end
redis.call('SET', KEYS[2], ARGV[3])
redis.call('SET', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[3])
return 1
