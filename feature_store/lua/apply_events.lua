-- Brings events of one source into rows of tiles; returns a byte per event, row by row: EventOutcome.
-- What it means is said in windows/applying.py, how rows lie in windows/ring_row.py; this does the same, on the
-- few tiles that are touched, and leaves the bytes of the others alone.
--
-- KEYS: the rows. ARGV: 1 a row's first four bytes, 2 the source, 3 the parts of each field (a byte each),
-- 4 the time now, 5 a tile, both in us, 6 tiles of the ring, 7 how long a row is kept, ms; then each row's
-- events: i64 position, i64 event time, and a double per field, NaN where there is none.
--
-- Positions are compared as two halves, for a double holds integers up to 2^53 only, as event times are.
local call, pcall, floor, min, max, list = redis.call, redis.pcall, math.floor, math.min, math.max, unpack
local unpack, pack = struct.unpack, struct.pack
local HEADER_BYTES, FIXED_BYTES, POSITION_BYTES = 20, 32, 20
local MAX_POSITIONS, MAX_KEPT_TILES, NEVER_DELETED = 256, 128, -9007199254740992
local TOMBSTONE = '\0\0\1\2'
local APPLIED, REPEATED, LATE, DELETED, CORRUPT, CROWDED = '\1', '\2', '\3', '\4', '\5', '\6'
local INFINITE = 1 / 0

local head, source, masks = ARGV[1], ARGV[2], ARGV[3]
local now_us, tile_us, tile_count, kept_ms = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local FIRST_ROW = 7
local present = floor((now_us - 1) / tile_us)

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

-- Takes a row apart; nil where what is stored is none.
local function opened(key)
  local stored = pcall('GET', key)
  if stored == false then
    return { stored = '', tiles = 0, deleted = NEVER_DELETED, event_us = NEVER_DELETED, stop = FIXED_BYTES + 1 }
  end
  if type(stored) ~= 'string' then return nil end
  if #stored == HEADER_BYTES and stored:sub(1, 4) == TOMBSTONE then
    local deleted = unpack('<i8', stored, 5)
    return { stored = '', tiles = 0, deleted = deleted, event_us = NEVER_DELETED, stop = FIXED_BYTES + 1 }
  end
  if #stored < FIXED_BYTES or stored:sub(1, 4) ~= head then return nil end
  local tiles, positions, deleted = unpack('<I2I2i8', stored, 21)
  local stop = FIXED_BYTES + 1 + tiles * TILE_BYTES
  if tiles == 0 or #stored ~= stop - 1 + positions * POSITION_BYTES then return nil end
  return { stored = stored, tiles = tiles, deleted = deleted, event_us = unpack('<i8', stored, 5), stop = stop }
end

-- Finds where the source's position lies in the row, and makes room where there must be; false for no room.
local function find_position(row)
  local stored = row.stored
  row.before, row.after = stored:sub(row.stop), ''
  local other
  for at = row.stop, #stored, POSITION_BYTES do
    if stored:sub(at, at + 11) == source then
      row.low, row.high = unpack('<I4i4', stored, at + 12)
      row.before, row.after = stored:sub(row.stop, at - 1), stored:sub(at + POSITION_BYTES)
      return true
    end
    if not other and stored:sub(at, at + 7) ~= source:sub(1, 8) then other = at end
  end
  if #row.before < MAX_POSITIONS * POSITION_BYTES then return true end
  if not other then return false end
  row.before, row.after = stored:sub(row.stop, other - 1), stored:sub(other + POSITION_BYTES)
  return true
end

-- Returns a tile's parts, from the row or new; `place` is how many of the stored tiles lie before its end.
local function find_tile(row, number)
  local tile = row.open[number]
  if tile then return tile end
  local stored, place = row.stored, row.tiles
  while place > 0 do
    local at = FIXED_BYTES + 1 + (place - 1) * TILE_BYTES
    local its_number = unpack('<d', stored, at)
    if its_number == number then
      tile = { unpack(TILE, stored, at) }
      tile.is_stored = true
    end
    if its_number <= number then break end
    place = place - 1
  end
  if not tile then
    tile = { list(identity, 1, width) }
    tile[1] = number
  end
  tile.place = place
  row.open[number] = tile
  row.changed[#row.changed + 1] = tile
  return tile
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

local function apply_event(row, events, at)
  local low, high, time = unpack('<I4i4i8', events, at)
  if row.high and (high < row.high or (high == row.high and low <= row.low)) then return REPEATED end
  row.low, row.high, row.moved = low, high, true
  if time <= row.deleted then return DELETED end
  local number = floor((time - 1) / tile_us)
  if not row.newest or number > row.newest then row.newest = number end
  if number <= min(row.newest, present) - tile_count then return LATE end
  local tile = find_tile(row, number)
  at = at + 8
  for place = 1, #fields do
    local value = unpack('<d', events, at + 8 * place)
    if value == value then add(tile, fields[place], value, time) end
  end
  if time > row.event_us then row.event_us = time end
  return APPLIED
end

-- Returns the row's tiles, ascending, without those that have left the ring, and how many they are.
local function packed_tiles(row)
  local stored, changed, pieces = row.stored, row.changed, {}
  local from, count = FIXED_BYTES + 1, row.tiles
  if #changed > 1 then table.sort(changed, function(one, other) return one[1] < other[1] end) end
  for _, tile in ipairs(changed) do
    local stop = FIXED_BYTES + 1 + tile.place * TILE_BYTES
    local upto = tile.is_stored and stop - TILE_BYTES or stop
    if not tile.is_stored then count = count + 1 end
    if upto > from then pieces[#pieces + 1] = stored:sub(from, upto - 1) end
    pieces[#pieces + 1] = pack(TILE, list(tile, 1, width))
    from = stop
  end
  pieces[#pieces + 1] = stored:sub(from, row.stop - 1)
  local tiles = table.concat(pieces)
  local edge, gone = min(row.newest, present) - tile_count, max(0, count - MAX_KEPT_TILES)
  while gone < count and unpack('<d', tiles, 1 + gone * TILE_BYTES) <= edge do gone = gone + 1 end
  if gone == 0 then return tiles, count end
  return tiles:sub(1 + gone * TILE_BYTES), count - gone
end

local function store(key, row)
  local tiles, count = packed_tiles(row)
  local positions = row.before .. row.after .. source .. pack('<I4i4', row.low, row.high)
  local fixed = pack('<i8i8I2I2i8', row.event_us, now_us, count, #positions / POSITION_BYTES, row.deleted)
  call('SET', key, head .. fixed .. tiles .. positions, 'PX', kept_ms)
end

local function apply(key, events)
  local row = opened(key)
  if not row then return CORRUPT:rep(#events / EVENT_BYTES) end
  if not find_position(row) then return CROWDED:rep(#events / EVENT_BYTES) end
  row.open, row.changed = {}, {}
  if row.tiles > 0 then row.newest = unpack('<d', row.stored, row.stop - TILE_BYTES) end
  local outcomes = {}
  for at = 1, #events, EVENT_BYTES do
    outcomes[#outcomes + 1] = apply_event(row, events, at)
  end
  if row.moved and (row.tiles > 0 or #row.changed > 0) then store(key, row) end
  return table.concat(outcomes)
end

local outcomes = {}
for place = 1, #KEYS do
  outcomes[place] = apply(KEYS[place], ARGV[FIRST_ROW + place])
end
return table.concat(outcomes)
