-- Brings events of one source into rows of tiles; returns a byte per event, row by row: EventOutcome.
-- What it means is said in windows/applying.py, how rows lie in windows/ring_row.py; this does the same, on the
-- few tiles that are touched, and leaves the bytes of the others alone.
--
-- KEYS: the rows. ARGV: 1 a row's first four bytes, 2 the source, 3 the parts of each field (a byte each),
-- 4 the time now, 5 a tile, both in us, 6 tiles of the ring, 7 how long a row is kept, ms; then each row's
-- events: i64 position, i64 event time, and a double per field, NaN where there is none.
--
-- Positions are compared as two halves, for a double holds integers up to 2^53 only, as event times are.
--
-- What is known of the row at work lies in locals of this file: a table for each costs a fifth of the script.
local call, pcall, floor, min, max, list = redis.call, redis.pcall, math.floor, math.min, math.max, unpack
local unpack, pack, sub, find = struct.unpack, struct.pack, string.sub, string.find
local HEADER_BYTES, FIXED_BYTES, POSITION_BYTES = 20, 32, 20
local MAX_POSITIONS, MAX_KEPT_TILES, NEVER_DELETED = 256, 128, -9007199254740992
local TOMBSTONE = '\0\0\1\2'
local APPLIED, REPEATED, LATE, DELETED, CORRUPT, CROWDED = '\1', '\2', '\3', '\4', '\5', '\6'
local INFINITE = 1 / 0

local head, source, masks = ARGV[1], ARGV[2], ARGV[3]
local now_us, tile_us, tile_count, kept_ms = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local FIRST_ROW = 7
local present = floor((now_us - 1) / tile_us)
local incarnation = sub(source, 1, 8)

-- Per field, where each of its parts lies in a tile; false for those that aren't kept.
local fields, identity, width = {}, {}, 1
for place = 1, #masks do
  local mask, offsets = masks:byte(place), {}
  local function part(bit, first, second)
    if floor(mask / bit) % 2 == 0 then return false end
    width = width + 1
    identity[width] = first
    if second then
      width = width + 1
      identity[width] = second
      return width - 1
    end
    return width
  end
  offsets.count, offsets.sum, offsets.m2 = part(1, 0), part(2, 0), part(4, 0)
  offsets.min, offsets.max, offsets.last = part(8, INFINITE), part(16, -INFINITE), part(32, 0, -INFINITE)
  fields[place] = offsets
end
local TILE_BYTES, TILE = 8 * width, '<' .. ('d'):rep(width)
local EVENT_BYTES = 16 + 8 * #fields

-- The row at work: its bytes, how many tiles they hold and where these stop; the number of the newest tile.
local stored, tiles, stop, newest
local deleted, event_us
-- The source's position, if it has one, and the positions before and after it.
local low, high, moved, before, after
-- The tiles that are taken apart, ascending: their numbers, their parts, how many stored tiles lie before the
-- end of each, and whether it is itself one of them.
local numbers, parts, places, were_stored, changed = {}, {}, {}, {}, 0

-- Takes a row apart; false where what is stored is none.
local function open(key)
  stored = pcall('GET', key)
  tiles, deleted, event_us, stop, newest = 0, NEVER_DELETED, NEVER_DELETED, FIXED_BYTES + 1, nil
  low, high, moved, changed = nil, nil, false, 0
  if stored == false then
    stored = ''
    return true
  end
  if type(stored) ~= 'string' then return false end
  if #stored == HEADER_BYTES and sub(stored, 1, 4) == TOMBSTONE then
    deleted = unpack('<i8', stored, 5)
    stored = ''
    return true
  end
  if #stored < FIXED_BYTES or sub(stored, 1, 4) ~= head then return false end
  local positions, written_us
  event_us, written_us, tiles, positions, deleted = unpack('<i8i8I2I2i8', stored, 5)
  stop = stop + tiles * TILE_BYTES
  if tiles == 0 or #stored ~= stop - 1 + positions * POSITION_BYTES then return false end
  newest = unpack('<d', stored, stop - TILE_BYTES)
  return true
end

-- Leaves out the position that lies at a place.
local function take_out(at)
  before, after = sub(stored, stop, at - 1), sub(stored, at + POSITION_BYTES)
end

-- Returns where the first position lies that is `wanted`'s, a source's or an incarnation's, or isn't.
local function position_at(wanted, is_wanted)
  for at = stop, #stored, POSITION_BYTES do
    if (sub(stored, at, at + #wanted - 1) == wanted) == is_wanted then return at end
  end
end

-- Finds the source's position, and makes room where there must be; false for no room.
local function find_position()
  local at = find(stored, source, stop, true)
  if at and (at - stop) % POSITION_BYTES ~= 0 then at = position_at(source, true) end
  if at then
    low, high = unpack('<I4i4', stored, at + 12)
    take_out(at)
    return true
  end
  before, after = sub(stored, stop), ''
  if #before < MAX_POSITIONS * POSITION_BYTES then return true end
  at = position_at(incarnation, false)
  if at then take_out(at) end
  return at
end

-- Puts a tile, from the row or new, at a place among those that are taken apart; returns its parts.
local function take_apart(number, place)
  local at, count, its_number = stop - TILE_BYTES, tiles, nil
  while count > 0 do
    its_number = unpack('<d', stored, at)
    if its_number <= number then break end
    count, at = count - 1, at - TILE_BYTES
  end
  for other = changed, place, -1 do
    numbers[other + 1], parts[other + 1] = numbers[other], parts[other]
    places[other + 1], were_stored[other + 1] = places[other], were_stored[other]
  end
  local is_stored = count > 0 and its_number == number
  local tile = is_stored and { unpack(TILE, stored, at) } or { list(identity, 1, width) }
  tile[1] = number
  numbers[place], parts[place], places[place], were_stored[place] = number, tile, count, is_stored
  changed = changed + 1
  return tile
end

local function find_tile(number)
  local place = changed
  while place > 0 and numbers[place] > number do place = place - 1 end
  if place > 0 and numbers[place] == number then return parts[place] end
  return take_apart(number, place + 1)
end

local function add(tile, offsets, value, time)
  local count, sum
  local at = offsets.count
  if at then
    count = tile[at] + 1
    tile[at] = count
  end
  at = offsets.sum
  if at then
    sum = tile[at] + value
    tile[at] = sum
  end
  at = offsets.m2
  if at and count > 1 then
    local apart = count * value - sum
    tile[at] = tile[at] + apart * apart / (count * (count - 1))
  end
  at = offsets.min
  if at and value < tile[at] then tile[at] = value end
  at = offsets.max
  if at and value > tile[at] then tile[at] = value end
  at = offsets.last
  if at then
    local its_time = tile[at + 1]
    if time > its_time or (time == its_time and value > tile[at]) then
      tile[at], tile[at + 1] = value, time
    end
  end
end

local function apply_event(events, at)
  local new_low, new_high, time = unpack('<I4i4i8', events, at)
  if high and (new_high < high or (new_high == high and new_low <= low)) then return REPEATED end
  low, high, moved = new_low, new_high, true
  if time <= deleted then return DELETED end
  local number = floor((time - 1) / tile_us)
  if not newest or number > newest then newest = number end
  if number <= min(newest, present) - tile_count then return LATE end
  local tile = find_tile(number)
  at = at + 8
  for place = 1, #fields do
    local value = unpack('<d', events, at + 8 * place)
    if value == value then add(tile, fields[place], value, time) end
  end
  if time > event_us then event_us = time end
  return APPLIED
end

-- Returns the row's tiles, ascending, without those that have left the ring, and how many they are.
local function packed_tiles()
  local text, from, count = '', FIXED_BYTES + 1, tiles
  for place = 1, changed do
    local its_stop = FIXED_BYTES + 1 + places[place] * TILE_BYTES
    local upto = its_stop
    if were_stored[place] then upto = upto - TILE_BYTES else count = count + 1 end
    text = text .. sub(stored, from, upto - 1) .. pack(TILE, list(parts[place], 1, width))
    from = its_stop
  end
  text = text .. sub(stored, from, stop - 1)
  local edge, gone = min(newest, present) - tile_count, max(0, count - MAX_KEPT_TILES)
  while gone < count and unpack('<d', text, 1 + gone * TILE_BYTES) <= edge do gone = gone + 1 end
  if gone == 0 then return text, count end
  return sub(text, 1 + gone * TILE_BYTES), count - gone
end

local function store(key)
  local text, count = packed_tiles()
  local positions = (#before + #after) / POSITION_BYTES + 1
  local fixed = pack('<i8i8I2I2i8', event_us, now_us, count, positions, deleted)
  local row = head .. fixed .. text .. before .. after .. source .. pack('<I4i4', low, high)
  call('SET', key, row, 'PX', kept_ms)
end

local outcomes, settled = {}, 0

local function apply(key, events)
  local refused = not open(key) and CORRUPT or not find_position() and CROWDED
  if refused then
    settled = settled + 1
    outcomes[settled] = refused:rep(#events / EVENT_BYTES)
    return
  end
  for at = 1, #events, EVENT_BYTES do
    settled = settled + 1
    outcomes[settled] = apply_event(events, at)
  end
  if moved and tiles + changed > 0 then store(key) end
end

for place = 1, #KEYS do
  apply(KEYS[place], ARGV[FIRST_ROW + place])
end
return table.concat(outcomes)
