-- Stores each row of ARGV under the key at its place unless the row there is newer; returns a byte per row:
-- 1 applied, 2 older. Rows of one call are taken in order. Which rows may come here is row_header.is_storable's
-- business; of the header (row_header.py) only the times are read, bytes 5 to 20: event time, then write time.
--
-- A time is compared as two halves, the upper one signed: a double holds integers up to 2^53 only, and what is
-- stored may be anything. A value that isn't a string, or is too short for a header, counts as no row.
local call, pcall, unpack = redis.call, redis.pcall, struct.unpack
local HEADER_BYTES = 20

local function newer(stored, offered)
  local event_low, event_high, write_low, write_high = unpack('<I4i4I4i4', stored, 5)
  local new_event_low, new_event_high, new_write_low, new_write_high = unpack('<I4i4I4i4', offered, 5)
  if event_high ~= new_event_high then return event_high > new_event_high end
  if event_low ~= new_event_low then return event_low > new_event_low end
  if write_high ~= new_write_high then return write_high > new_write_high end
  return write_low > new_write_low
end

local outcomes = {}
for place = 1, #KEYS do
  local key, offered = KEYS[place], ARGV[place]
  local stored = pcall('GETRANGE', key, 0, HEADER_BYTES - 1)
  if type(stored) == 'string' and #stored == HEADER_BYTES and newer(stored, offered) then
    outcomes[place] = '\2'
  else
    call('SET', key, offered)
    outcomes[place] = '\1'
  end
end
return table.concat(outcomes)
