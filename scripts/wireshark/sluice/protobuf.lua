-- Protocol buffers, and which fields messages have. Loaded by sluice.lua.
local S = ...
if not S then return end
local E, Context, field, rina, UNDECODED = S.E, S.Context, S.field, S.rina, S.UNDECODED
local has_control_character = S.has_control_character
local byte = string.byte

-- Reads as lib/rina/protobuf.hpp does: fields in any order, the last of a repeated scalar, unknown
-- ones and those of another wire type skipped (and shown).

local UNKNOWN_FIELD = field(rina, "bytes", "rina.pb.unknown", "Unknown field")
local GROUP_DEPTH_MAX = 16

-- Both halves of a number of up to ten bytes, and where it ends; nothing and what is wrong.
local function varint(raw, at, stop)
    local low, high = 0, 0
    for i = 0, 9 do
        if at >= stop then return nil, nil, nil, "ends in the middle of a field" end
        local b = byte(raw, at + 1)
        local bits = b % 128
        at = at + 1
        if i < 4 then
            low = low + bits * 2 ^ (7 * i)
        elseif i == 4 then
            low = low + bits % 16 * 2 ^ 28
            high = high + math.floor(bits / 16)
        elseif i < 9 then
            high = high + bits * 2 ^ (7 * i - 32)
        else
            high = high + bits % 2 * 2 ^ 31
        end
        if b < 128 then return low, high, at end
    end
    return nil, nil, nil, "number of more than ten bytes"
end

-- The next field: its number, wire type, where its value is and ends, and of a varint the halves.
local function take(raw, at, stop)
    local low, high, value_at, problem = varint(raw, at, stop)
    if not low then return nil, problem end
    local f = {at = at, number = math.floor(low / 8), type = low % 8, value_at = value_at}
    if high ~= 0 or f.number == 0 then return nil, "field number that cannot be" end
    if f.type == 0 then
        f.low, f.high, f.stop, problem = varint(raw, value_at, stop)
        return f.low and f, problem
    elseif f.type == 1 or f.type == 5 then
        f.stop = value_at + (f.type == 1 and 8 or 4)
    elseif f.type == 2 then
        local size, more
        size, more, f.value_at, problem = varint(raw, value_at, stop)
        if not size then return nil, problem end
        f.stop = f.value_at + size + more * 2 ^ 32
    elseif f.type == 3 or f.type == 4 then
        f.stop = value_at
    else
        return nil, "wire type that cannot be"
    end
    if f.stop > stop then return nil, "ends in the middle of a field" end
    return f
end

local function skip_group(raw, group, stop)
    local open, at = {group.number}, group.stop
    while #open > 0 do
        local f, problem = take(raw, at, stop)
        if not f then return nil, problem end
        if f.type == 3 then
            if #open == GROUP_DEPTH_MAX then return nil, "group that is too deep" end
            table.insert(open, f.number)
        elseif f.type == 4 and table.remove(open) ~= f.number then
            return nil, "end of another group"
        end
        at = f.stop
    end
    return at
end

local TWO32 = 2 ^ 32
local function unsigned64(low, high) return UInt64.new(low, high) end
local function signed32(low) return low >= 2 ^ 31 and low - TWO32 or low end
-- As a Lua number where that is exact.
local function as_number(low, high)
    return high < 2 ^ 20 and high * TWO32 + low or unsigned64(low, high)
end

-- How values of each kind are read: ProtoField, wire type, value in the tree, value for us.
local KINDS = {
    u32 = {"uint32", 0, function(f) return f.low, f.low end},
    u64 = {"uint64", 0, function(f) return unsigned64(f.low, f.high), as_number(f.low, f.high) end},
    x64 = {"uint64", 0, function(f) return unsigned64(f.low, f.high), as_number(f.low, f.high) end},
    i32 = {"int32", 0, function(f) return signed32(f.low), signed32(f.low) end},
    i64 = {"int64", 0, function(f) return Int64.new(f.low, f.high), as_number(f.low, f.high) end},
    bool = {"bool", 0, function(f)
        local is = f.low ~= 0 or f.high ~= 0
        return is, is
    end},
    -- An address in an int32: a negative one has bit 31 of 32 bits.
    address = {"uint64", 0, function(f)
        local high = f.high
        if high == TWO32 - 1 and f.low >= 2 ^ 31 then high = 0 end
        return unsigned64(f.low, high), as_number(f.low, high)
    end},
    s32 = {"int32", 0, function(f)
        local value = math.floor(f.low / 2)
        value = f.low % 2 == 1 and -value - 1 or value
        return value, value
    end},
    s64 = {"int64", 0, function(f)
        local low = math.floor(f.low / 2) + f.high % 2 * 2 ^ 31
        local high = math.floor(f.high / 2)
        if f.low % 2 == 1 then low, high = TWO32 - 1 - low, TWO32 - 1 - high end
        return Int64.new(low, high), as_number(low, high)
    end},
    float = {"float", 5},
    double = {"double", 1},
    str = {"string", 2},
    bytes = {"bytes", 2},
}

-- A message is {number, kind[!|*], name[, options]}...: "!" is required, "*" a list. A kind with a
-- capital letter is a message of its own.
local messages = {}
local function message(type, prefix, list)
    local m = {name = type, fields = {}, required = {}}
    for _, line in ipairs(list) do
        local kind, mark = line[2]:match("^(%w+)([!*]?)$")
        local abbrev = line.abbrev or "rina." .. prefix .. "." .. line[3]
        local f = {name = line[3], is_list = mark == "*", is_part = line.is_part}
        if KINDS[kind] then
            f.kind, f.type = kind, KINDS[kind][2]
            local extra = line.values
            if kind == "bool" or kind == "bytes" or kind == "str" or kind == "double" or
                kind == "float" then
                f.item = field(rina, KINDS[kind][1], abbrev, line.title or line[3])
            else
                f.item = field(rina, KINDS[kind][1], abbrev, line.title or line[3],
                               kind == "x64" and base.HEX or base.DEC, extra)
            end
        else
            f.message, f.type = kind, 2
            f.item = field(rina, "none", abbrev, line.title or line[3])
        end
        m.fields[line[1]] = f
        if mark == "!" then table.insert(m.required, f.name) end
    end
    messages[type] = m
end

local read_message

local function put(to, d, value)
    if d.is_list then
        to[d.name] = to[d.name] or {}
        table.insert(to[d.name], value)
    else
        to[d.name] = value
    end
end

-- Puts one field into the tree and its value into `to`.
function Context:read_field(tree, f, d, to)
    local range = self:range(f.at, f.stop - f.at)
    if d.message then
        local item = tree:add(d.item, range)
        local inner = not d.is_list and to[d.name] or {}
        put(to, d, inner)
        return read_message(self, item, f.value_at, f.stop, messages[d.message], inner)
    end
    local item, value
    if d.kind == "str" then
        item, value = self:add_text(tree, d.item, f.at, f.stop - f.at, f.value_at, f.stop)
        local raw = self.raw:sub(f.value_at + 1, f.stop)
        if has_control_character(raw) then
            item:add_proto_expert_info(E.bad_field, d.name .. ": control character in text")
        elseif d.is_part and raw:find("|", 1, true) then
            item:add_proto_expert_info(E.bad_name, d.name .. ": '|' within a part of a name")
        end
    elseif d.kind == "bytes" then
        item = tree:add(d.item, self:range(f.value_at, f.stop - f.value_at))
        value = {at = f.value_at, stop = f.stop, item = item}
    elseif d.kind == "float" or d.kind == "double" then
        value = self:range(f.value_at, f.stop - f.value_at):le_float()
        item = tree:add(d.item, range, value)
    else
        local shown
        shown, value = KINDS[d.kind][3](f)
        item = tree:add(d.item, range, shown)
    end
    if not d.is_list and to[d.name] ~= nil then item:add_proto_expert_info(E.twice, d.name) end
    put(to, d, value)
    return true
end

-- A message between `at` and `stop`. False if it cannot be read to its end; what is behind one in
-- it that cannot is shown all the same.
function read_message(self, tree, at, stop, m, to)
    local is_good = true
    while at < stop do
        local f, problem = take(self.raw, at, stop)
        if f and f.type == 4 then f, problem = nil, "end of a group that did not begin" end
        if f and f.type == 3 then f.stop, problem = skip_group(self.raw, f, stop) end
        if not f or not f.stop then
            -- Of a PDU that was not captured to its end, the message has none either.
            local is_cut = self.is_cut and stop == self.stop
            tree:add(UNDECODED, self:range(at, stop - at)):add_proto_expert_info(
                is_cut and E.cut or E.bad_message, m.name .. ": " .. problem)
            return false
        end
        local d = m.fields[f.number]
        if not d or d.type ~= f.type then
            tree:add(UNKNOWN_FIELD, self:range(f.at, f.stop - f.at))
                :add_proto_expert_info(E.unknown, string.format(
                    "%s: field %.0f of wire type %d", m.name, f.number, f.type))
        elseif not self:read_field(tree, f, d, to) then
            is_good = false
        end
        at = f.stop
    end
    for _, name in ipairs(m.required) do
        if to[name] == nil then
            local what = m.name .. "." .. name .. ": required, and missing"
            tree:add_proto_expert_info(E.missing, what)
        end
    end
    return is_good
end

S.message, S.read_message, S.messages = message, read_message, messages
