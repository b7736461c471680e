-- Makes somebody the one who runs a batch, or lets go of it, unless it is another's.
-- KEYS[1] the batch's holder. ARGV[1] the holder expected ('' for none), ARGV[2] the new one ('' to let go),
-- ARGV[3] for how many milliseconds.
-- Returns 1, or 0 where the expectation is wrong.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
