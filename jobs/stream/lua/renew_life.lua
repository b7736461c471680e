-- Gives a stream the incarnation ARGV[2] if it is still ARGV[1]; returns the one it has now. Of two who find
-- at once that a stream was made anew, the second gets the first one's name.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) end
return redis.call('GET', KEYS[1])
