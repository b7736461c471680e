-- Puts a tombstone in place of the row under each key, for a time, unless the row was written after the
-- deletion; returns a byte per key: 1 buried, 2 a row written since stays. ARGV: the tombstone, which is a
-- header (row_header.py: event time and write time are bytes 5 to 20), and how long it is kept, ms.
--
-- A row stays only where it is newer, as put_newest.lua orders rows, and its write time is later too: a row
-- that was there with an event time in the future goes. A row of tiles (ring_row.py: flag 4) never stays: it
-- holds what came before. Times are compared as two halves, as there.
local call, pcall, unpack = redis.call, redis.pcall, struct.unpack
local HEADER_BYTES, HEAD_BYTES = 20, 4
local VERSION, RING = 1, 4
local tombstone, kept_ms = ARGV[1], ARGV[2]
local event_low, event_high, write_low, write_high = unpack('<I4i4I4i4', tombstone, 5)

local function stays(stored)
  local its_event_low, its_event_high, its_write_low, its_write_high = unpack('<I4i4I4i4', stored, 5)
  if its_write_high ~= write_high then
    if its_write_high < write_high then return false end
  elseif its_write_low <= write_low then
    return false
  end
  if its_event_high ~= event_high then return its_event_high > event_high end
  return its_event_low >= event_low
end

local function is_ring(stored)
  return stored:byte(3) == VERSION and stored:byte(4) == RING
end

local function is_tombstone(stored)
  return #stored == HEADER_BYTES and stored:sub(1, HEAD_BYTES) == tombstone:sub(1, HEAD_BYTES)
end

local outcomes = {}
for place = 1, #KEYS do
  local key = KEYS[place]
  local stored = pcall('GETRANGE', key, 0, HEADER_BYTES)
  if type(stored) == 'string' and #stored >= HEADER_BYTES and not is_ring(stored) and stays(stored) then
    -- A later deletion's tombstone stays as well, and nothing is left of what this one is about.
    outcomes[place] = is_tombstone(stored) and '\1' or '\2'
  else
    call('SET', key, tombstone, 'PX', kept_ms)
    outcomes[place] = '\1'
  end
end
return table.concat(outcomes)
