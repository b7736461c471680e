-- Prolongs the lease KEYS[1] by ARGV[2] ms if it is ARGV[1]'s, or gives it up where that is 0; returns 1 if it was.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
