-- PDUs of normal DIFs: SDU protection, PCI, EFCP, delimiting. Layouts as in lib/rina/pci.hpp and
-- lib/normal_dif/core. Loaded by sluice.lua.
local S = ...
if not S then return end
local E, Context, field, rina, seen = S.E, S.Context, S.field, S.rina, S.seen
local brief, generated, flow_name = S.brief, S.generated, S.flow_name
local AUTO, UNDECODED, PADDING, PAYLOAD, GEN = S.AUTO, S.UNDECODED, S.PADDING, S.PAYLOAD, S.GEN
local byte = string.byte

local CRC_BYTES = 4
-- Where the notes about a frame have the format of its PDU, and the flow; less the depth in it.
local FORMAT_KEY, FLOW_KEY = -10, -20
local INET, TTL, CRC32C, AES_GCM = 2, 3, 4, 5  -- rina.prefs.protection
local PADDED_FRAME_MAX = 46                    -- behind the header of the shortest Ethernet frame

-- ---- formats of the PCI -----------------------------------------------------------------------

local VERSION_AT, TYPE_AT, FLAGS_AT, CHECKSUM_AT, TTL_AT, SEQUENCE_AT = 0, 1, 2, 4, 6, 8
local CONTROL_FIELDS = 6
local IS_WIDTH = {[1] = true, [2] = true, [4] = true, [8] = true}

-- Nothing if there is no such format.
local function make_format(sequence, address, cep, length, qos)
    local is_good = IS_WIDTH[sequence] and IS_WIDTH[address] and IS_WIDTH[cep] and
        IS_WIDTH[length] and IS_WIDTH[qos] and cep <= 4
    if not is_good then return nil end
    local f = {sequence = sequence, address = address, cep = cep, length = length, qos = qos}
    f.destination_at = SEQUENCE_AT + sequence
    f.source_at = f.destination_at + address
    f.destination_cep_at = f.source_at + address
    f.source_cep_at = f.destination_cep_at + cep
    f.length_at = f.source_cep_at + cep
    f.qos_at = f.length_at + length
    f.bytes = f.qos_at + qos
    f.control_bytes = f.bytes + CONTROL_FIELDS * sequence
    return f
end
local DEFAULT, WIDE = make_format(4, 4, 2, 2, 2), make_format(4, 4, 4, 4, 2)

-- What an enrollee is told about its DIF.
function S.format_of(constants)
    return make_format(constants.seq_num_width, constants.address_width, constants.cep_id_width,
                       constants.length_width, constants.qos_id_width)
end

local TYPES = {
    [0x40] = "MGMT", [0x80] = "DT", [0xc0] = "CTRL", [0xc8] = "FC", [0xcf] = "RENDEZVOUS",
}
for kind, name in ipairs{"ACK", "NACK", "SACK", "SNACK"} do
    TYPES[0xc3 + kind] = name
    TYPES[0xcb + kind] = TYPES[0xcb + kind] or name .. "+FC"
end
local function is_control(type) return type >= 0xc0 end
local KNOWN_FLAGS = {[0] = true, [1] = true, [0x80] = true, [0x81] = true}

-- Whether there may be a PCI at all: those of rlite and ours have version 0.
local function begins_pdu(self, at, stop)
    return stop - at >= 2 and byte(self.raw, at + 1) == 0 and TYPES[byte(self.raw, at + 2)] ~= nil
end

-- The length of a PDU in this format, if all of it makes sense.
local function fits(self, f, at, stop, real)
    if stop - at < f.bytes or not begins_pdu(self, at, stop) then return nil end
    if not KNOWN_FLAGS[self:number(at + FLAGS_AT, 2)] then return nil end
    local length = self:number(at + f.length_at, f.length)
    if length > real - at or length < f.bytes then return nil end
    if is_control(byte(self.raw, at + 2)) and length < f.control_bytes then return nil end
    return length
end

-- And nothing behind it that could not be there: a CRC, or the padding of a short frame.
local function fits_exactly(self, f, at, stop, real)
    local length = fits(self, f, at, stop, real)
    local more = length and real - at - length
    return more and (more == 0 or more == CRC_BYTES or real - at <= PADDED_FRAME_MAX)
end

local function custom_format()
    local p = rina.prefs
    return make_format(p.width_sequence, p.width_address, p.width_cep, p.width_length,
                       p.width_qos) or DEFAULT
end

-- By preference, as the DIF told a member that joined on this link, or as it fits.
function Context:format(at, stop, real)
    if rina.prefs.pci ~= AUTO then
        return rina.prefs.pci == 1 and DEFAULT or rina.prefs.pci == 2 and WIDE or custom_format()
    end
    -- Captures may have very many frames, so that what is kept for each is no table of its own.
    local key = FORMAT_KEY - self.depth
    if self.frame[key] then return self.frame[key] end
    local link = self:link()
    local candidates = {seen.formats[link] or DEFAULT, DEFAULT, WIDE}
    local chosen
    for _, f in ipairs(candidates) do
        if not chosen and fits_exactly(self, f, at, stop, real) then
            chosen = f
            if self.first then seen.formats[link] = f end
        end
    end
    for _, f in ipairs(candidates) do
        if not chosen and fits(self, f, at, stop, real) then chosen = f end
    end
    self.frame[key] = chosen or candidates[1]
    return self.frame[key]
end

-- ---- SDU protection ---------------------------------------------------------------------------

local SDUP = {
    version = field(rina, "uint8", "rina.sdup.version", "Version"),
    reserved = field(rina, "uint8", "rina.sdup.reserved", "Reserved"),
    epoch = field(rina, "uint16", "rina.sdup.epoch", "Key epoch"),
    length = field(rina, "uint32", "rina.sdup.length", "Length of the PDU"),
    counter = field(rina, "uint64", "rina.sdup.counter", "Counter"),
    protected = field(rina, "bytes", "rina.sdup.protected", "Encrypted PDU"),
    tag = field(rina, "bytes", "rina.sdup.tag", "Tag"),
    crc = field(rina, "uint32", "rina.sdup.crc32c", "CRC-32C of the PDU", base.HEX),
    status = field(rina, "string", "rina.sdup.status", "Integrity"),
}
local GCM_HEADER, GCM_TAG = 16, 16

local CRC_TABLE = {}
for i = 0, 255 do
    local crc = i
    for _ = 1, 8 do
        crc = bit.bxor(bit.rshift(crc, 1), bit.band(crc, 1) == 1 and 0x82f63b78 or 0)
    end
    CRC_TABLE[i] = crc
end

local function crc32c(raw, at, stop)
    local crc = -1
    for i = at + 1, stop do
        crc = bit.bxor(bit.rshift(crc, 8), CRC_TABLE[bit.band(bit.bxor(crc, byte(raw, i)), 0xff)])
    end
    return bit.bnot(crc) % 2 ^ 32
end

-- RFC 1071. The sum over a PDU with a right checksum is 0xffff in any byte order.
local function has_inet_checksum(raw, at, stop)
    local sum = 0
    for i = at + 1, stop, 2 do
        sum = sum + byte(raw, i) + 256 * (i < stop and byte(raw, i + 1) or 0)
    end
    while sum > 0xffff do sum = sum % 0x10000 + math.floor(sum / 0x10000) end
    return sum == 0xffff
end

-- A PDU encrypted by AES-GCM begins with another version than a PCI.
local function is_sealed(self, at, stop, real)
    if rina.prefs.protection ~= AUTO then return rina.prefs.protection == AES_GCM end
    if stop - at < GCM_HEADER or byte(self.raw, at + 1) ~= 1 or byte(self.raw, at + 2) ~= 0 then
        return false
    end
    local bytes = self:number(at + 4, 4) + GCM_HEADER + GCM_TAG
    return bytes == real - at or bytes < real - at and real - at <= PADDED_FRAME_MAX
end

function Context:padding(tree, at, stop)
    if stop <= at then return end
    local item = tree:add(PADDING, self:range(at, stop - at))
    if self.raw:find("[^%z]", at + 1) and self.raw:find("[^%z]", at + 1) <= stop then
        item:add_proto_expert_info(E.unknown, "not zero: padding, or a checksum that is wrong")
    end
end

function Context:sealed(tree, at, stop, real)
    if stop - at < GCM_HEADER then
        self:short(tree, at, stop, "header of AES-GCM")
        return "protected PDU, too short"
    end
    tree:add(SDUP.version, self:range(at, 1))
    tree:add(SDUP.reserved, self:range(at + 1, 1))
    tree:add_le(SDUP.epoch, self:range(at + 2, 2))
    local length = tree:add_le(SDUP.length, self:range(at + 4, 4))
    tree:add_le(SDUP.counter, self:range(at + 8, 8))
    local bytes, from = self:number(at + 4, 4), at + GCM_HEADER
    local line = string.format("protected PDU of %s bytes, epoch %s, counter %s", brief(bytes),
                               brief(self:number(at + 2, 2)), brief(self:exact(at + 8, 8)))
    if bytes > real - from - GCM_TAG then
        length:add_proto_expert_info(E.bad_length, "more than there is")
        if stop > from then tree:add(UNDECODED, self:range(from, stop - from)) end
        return line
    end
    local tag_at = math.min(stop, from + bytes)
    if tag_at > from then tree:add(SDUP.protected, self:range(from, tag_at - from)) end
    if stop < tag_at + GCM_TAG then
        self:short(tree, tag_at, stop, "protected PDU")
    else
        tree:add(SDUP.tag, self:range(tag_at, GCM_TAG))
        self:padding(tree, tag_at + GCM_TAG, stop)
    end
    return line
end

-- What is behind a PDU that ends at `at`: a CRC, and padding.
function Context:trailer(tree, begin, at, stop)
    local wanted = rina.prefs.protection
    if wanted == CRC32C and stop - at < CRC_BYTES then
        return self:short(tree, at, stop, "CRC-32C behind the PDU")
    end
    if (wanted == AUTO or wanted == CRC32C) and stop - at >= CRC_BYTES then
        local is_right = crc32c(self.raw, begin, at) == self:number(at, 4)
        if is_right or wanted == CRC32C then
            local item = tree:add_le(SDUP.crc, self:range(at, 4))
            generated(tree, SDUP.status, is_right and "good" or "bad")
            if not is_right then item:add_proto_expert_info(E.bad_checksum, "CRC-32C") end
            at = at + CRC_BYTES
        end
    end
    self:padding(tree, at, stop)
end

-- ---- PCI --------------------------------------------------------------------------------------

local PCI = {
    item = field(rina, "none", "rina.pci", "PCI"),
    version = field(rina, "uint8", "rina.pci.version", "Version"),
    type = field(rina, "uint8", "rina.pci.type", "Type", base.HEX, TYPES),
    flags = field(rina, "uint16", "rina.pci.flags", "Flags", base.HEX),
    drf = field(rina, "bool", "rina.pci.drf", "DRF, first PDU of a run", 16, nil, 0x80),
    ecn = field(rina, "bool", "rina.pci.ecn", "ECN, congestion on the way", 16, nil, 1),
    checksum = field(rina, "uint16", "rina.pci.checksum", "Checksum", base.HEX),
    ttl = field(rina, "uint16", "rina.pci.ttl", "TTL"),
    sequence = field(rina, "uint64", "rina.pci.seq", "Sequence number"),
    destination = field(rina, "uint64", "rina.pci.dst", "Destination address"),
    source = field(rina, "uint64", "rina.pci.src", "Source address"),
    destination_cep = field(rina, "uint32", "rina.pci.dst_cep", "Destination CEP-id"),
    source_cep = field(rina, "uint32", "rina.pci.src_cep", "Source CEP-id"),
    length = field(rina, "uint64", "rina.pci.length", "Length of the PDU"),
    qos = field(rina, "uint64", "rina.pci.qos", "QoS-id"),
}
local CHECKED = field(rina, "string", "rina.pci.checksum.status", "Checksum status")

-- All fields, of which there are f.bytes.
function Context:pci(parent, f, at)
    local tree = parent:add(PCI.item, self:range(at, f.bytes))
    local items = {tree = tree}
    local function add(name, offset, width)
        items[name] = tree:add_le(PCI[name], self:range(at + offset, width))
    end
    add("version", VERSION_AT, 1)
    add("type", TYPE_AT, 1)
    add("flags", FLAGS_AT, 2)
    items.flags:add_le(PCI.drf, self:range(at + FLAGS_AT, 2))
    local ecn = items.flags:add_le(PCI.ecn, self:range(at + FLAGS_AT, 2))
    add("checksum", CHECKSUM_AT, 2)
    add("ttl", TTL_AT, 2)
    add("sequence", SEQUENCE_AT, f.sequence)
    add("destination", f.destination_at, f.address)
    add("source", f.source_at, f.address)
    add("destination_cep", f.destination_cep_at, f.cep)
    add("source_cep", f.source_cep_at, f.cep)
    add("length", f.length_at, f.length)
    add("qos", f.qos_at, f.qos)
    local p = {
        items = items, format = f, at = at, type = byte(self.raw, at + TYPE_AT + 1),
        flags = self:number(at + FLAGS_AT, 2), ttl = self:number(at + TTL_AT, 2),
        checksum = self:number(at + CHECKSUM_AT, 2),
        sequence = self:exact(at + SEQUENCE_AT, f.sequence),
        destination = self:exact(at + f.destination_at, f.address),
        source = self:exact(at + f.source_at, f.address),
        destination_cep = self:number(at + f.destination_cep_at, f.cep),
        source_cep = self:number(at + f.source_cep_at, f.cep),
        length = self:number(at + f.length_at, f.length),
    }
    if p.flags % 2 == 1 then ecn:add_proto_expert_info(E.ecn) end
    if not KNOWN_FLAGS[p.flags] then items.flags:add_proto_expert_info(E.unexpected, "flags") end
    if byte(self.raw, at + 1) ~= 0 then
        items.version:add_proto_expert_info(E.unexpected, "version is not 0")
    end
    if not TYPES[p.type] then items.type:add_proto_expert_info(E.bad_type, "PDU type") end
    if rina.prefs.protection == TTL and p.ttl > rina.prefs.hops then
        items.ttl:add_proto_expert_info(E.unexpected, "more hops than the DIF has")
    end
    return p
end

-- Where the PDU ends: as it says, as it was captured.
function Context:end_of(p, stop, real)
    local least = is_control(p.type) and p.format.control_bytes or p.format.bytes
    if p.length < least then
        p.items.length:add_proto_expert_info(E.bad_length, "less than its fields take")
        return p.at + math.max(p.length, p.format.bytes), stop
    end
    if p.length > real - p.at then
        p.items.length:add_proto_expert_info(E.bad_length, "more than there is")
        return stop, stop
    end
    return p.at + p.length, math.min(stop, p.at + p.length)
end

function Context:check_checksum(p, ends)
    local wanted = rina.prefs.protection
    if wanted ~= INET and (wanted ~= AUTO or p.checksum == 0) then return end
    local is_right = has_inet_checksum(self.raw, p.at, ends)
    generated(p.items.tree, CHECKED, is_right and "good" or "bad")
    if not is_right then
        p.items.checksum:add_proto_expert_info(E.bad_checksum, "Internet checksum")
    end
end

-- A PDU, protected or not, up to `stop`; `real` is further where not all was captured. Returns a
-- line about it.
function Context:pdu(tree, at, stop, real)
    if is_sealed(self, at, stop, real) then return self:sealed(tree, at, stop, real) end
    local f = self:format(at, stop, real)
    if stop - at < f.bytes then
        self:short(tree, at, stop, "PCI")
        return "PDU, too short"
    end
    local p = self:pci(tree, f, at)
    local ends, captured = self:end_of(p, stop, real)
    captured = math.min(captured, ends)
    if captured == ends and p.length == ends - at then self:check_checksum(p, ends) end
    local body = at + f.bytes
    local line
    if is_control(p.type) then
        line = self:control(tree, p, body, captured)
    elseif p.type == 0x80 then
        line = self:data(tree, p, body, captured, ends)
    elseif p.type == 0x40 then
        line = self:cdap(tree, body, captured, {src = p.source, dst = p.destination})
    else
        if captured > body then tree:add(UNDECODED, self:range(body, captured - body)) end
        line = string.format("PDU of type 0x%02x", p.type)
    end
    if captured < ends then p.items.tree:add_proto_expert_info(E.cut) end
    if captured == ends then self:trailer(tree, at, ends, stop) end
    return line
end

-- ---- connections ------------------------------------------------------------------------------

local CONTROL = {
    item = field(rina, "none", "rina.control", "Control"),
    field(rina, "uint64", "rina.control.last", "Last control sequence number received"),
    field(rina, "uint64", "rina.control.ack", "Everything below is received"),
    field(rina, "uint64", "rina.control.new_rwe", "New right window edge"),
    field(rina, "uint64", "rina.control.new_lwe", "New left window edge"),
    field(rina, "uint64", "rina.control.my_lwe", "My left window edge"),
    field(rina, "uint64", "rina.control.my_rwe", "My right window edge"),
    block = field(rina, "none", "rina.sack", "Received as well"),
    first = field(rina, "uint64", "rina.sack.first", "First"),
    last = field(rina, "uint64", "rina.sack.last", "Last"),
}
local SACK_BLOCKS_MAX = 16

function Context:flow_of(p)
    local flow = {name = flow_name(p.source, p.source_cep, p.destination, p.destination_cep)}
    local key = FLOW_KEY - self.depth
    if self.first then self.frame[key] = seen.flows[self:link() .. " " .. flow.name] end
    local known = self.frame[key]
    generated(p.items.tree, GEN.flow, flow.name)
    if known then generated(p.items.tree, GEN.applications, known.applications) end
    return known or flow
end

local function between(p)
    return string.format("%s:%s -> %s:%s seq %s", brief(p.source), brief(p.source_cep),
                         brief(p.destination), brief(p.destination_cep), brief(p.sequence))
end

function Context:control(parent, p, at, stop)
    self:flow_of(p)
    local width = p.format.sequence
    local line = (TYPES[p.type] or string.format("CTRL 0x%02x", p.type)) .. " " .. between(p)
    if stop - at < CONTROL_FIELDS * width then
        self:short(parent, at, stop, "control PDU")
        return line
    end
    local tree = parent:add(CONTROL.item, self:range(at, stop - at))
    local value = {}
    for i = 1, CONTROL_FIELDS do
        tree:add_le(CONTROL[i], self:range(at, width))
        value[i] = brief(self:exact(at, width))
        at = at + width
    end
    if math.floor(p.type / 4) % 2 == 1 then line = line .. " ack " .. value[2] end
    if math.floor(p.type / 8) % 2 == 1 then
        line = line .. " window " .. value[4] .. ".." .. value[3]
    end
    local has_blocks = p.type == 0xc6 or p.type == 0xce
    local blocks = (stop - at) / (2 * width)
    if has_blocks and blocks % 1 == 0 and blocks <= SACK_BLOCKS_MAX then
        for _ = 1, blocks do
            local block = tree:add(CONTROL.block, self:range(at, 2 * width))
            block:add_le(CONTROL.first, self:range(at, width))
            block:add_le(CONTROL.last, self:range(at + width, width))
            local first, last = self:exact(at, width), self:exact(at + width, width)
            local text = brief(first) .. ".." .. brief(last)
            block:append_text(": " .. text)
            line = line .. " sack " .. text
            at = at + 2 * width
        end
    elseif stop > at then
        tree:add(UNDECODED, self:range(at, stop - at)):add_proto_expert_info(
            has_blocks and E.bad_length or E.unexpected, "behind the fields")
    end
    return line
end

local DELIMITER = {
    item = field(rina, "none", "rina.delimiting", "Delimiting"),
    kind = field(rina, "uint8", "rina.delimiting.kind", "Kind", base.HEX,
                 {[4] = "middle of an SDU", [5] = "first of an SDU", [6] = "last of an SDU",
                  [7] = "whole SDU", [15] = "several SDUs"}),
    sdu_length = field(rina, "uint32", "rina.delimiting.sdu_length", "Length of the SDU"),
    fragment = field(rina, "bytes", "rina.delimiting.fragment", "Part of an SDU"),
}
local WHOLE, FIRST, SEVERAL = 0x07, 0x05, 0x0f
local PARTS = {[0x04] = "middle", [0x05] = "first", [0x06] = "last"}

-- User data in our own format (efcp/delimiting.hpp). SDUs of several PDUs are not put together.
function Context:delimited(parent, p, at, stop, real)
    if stop <= at then
        parent:add_proto_expert_info(E.truncated, "user data without a delimiter")
        return " no delimiter"
    end
    local tree = parent:add(DELIMITER.item, self:range(at, stop - at))
    local kind = byte(self.raw, at + 1)
    local item = tree:add(DELIMITER.kind, self:range(at, 1))
    at = at + 1
    if kind == WHOLE then return " whole" .. self:sdu(tree, p, at, stop, real) end
    if kind == SEVERAL then return self:several(tree, p, at, stop) end
    if not PARTS[kind] then
        if stop > at then tree:add(UNDECODED, self:range(at, stop - at)) end
        item:add_proto_expert_info(E.bad_type, "kind of delimiter")
        return " bad delimiter"
    end
    local line = " " .. PARTS[kind]
    if kind == FIRST then
        if stop - at < 4 then
            self:short(tree, at, stop, "length of an SDU")
            return line
        end
        tree:add_le(DELIMITER.sdu_length, self:range(at, 4))
        line = line .. " of " .. brief(self:number(at, 4)) .. " bytes"
        at = at + 4
    end
    if stop > at then tree:add(DELIMITER.fragment, self:range(at, stop - at)) end
    return line
end

function Context:several(tree, p, at, stop)
    local count = 0
    repeat
        if stop - at < 2 then
            self:short(tree, at, stop, "length of an SDU")
            break
        end
        local item = tree:add_le(DELIMITER.sdu_length, self:range(at, 2))
        local bytes = self:number(at, 2)
        at = at + 2
        if bytes > stop - at then
            item:add_proto_expert_info(E.bad_length, "more than there is")
            if stop > at then tree:add(UNDECODED, self:range(at, stop - at)) end
            break
        end
        self:sdu(tree, p, at, at + bytes, at + bytes)
        at = at + bytes
        count = count + 1
    until at >= stop
    return string.format(" %d SDUs", count)
end

-- ---- SDUs -------------------------------------------------------------------------------------

local STACKED = field(rina, "none", "rina.stacked", "PDU of a higher DIF")
local DEPTH_MAX = 4

-- Whether these bytes are a PDU in one of the usual formats, without any doubt: where nothing says
-- so, and nothing pads frames.
function Context:is_pdu(at, stop, real)
    for _, f in ipairs{DEFAULT, WIDE} do
        local length = fits(self, f, at, stop, real)
        if length and (length == real - at or length == real - at - CRC_BYTES) then return true end
    end
    return stop - at >= GCM_HEADER and is_sealed(self, at, stop, real) and
        self:number(at + 4, 4) + GCM_HEADER + GCM_TAG == real - at
end
function Context:begins_pdu(at, stop, real)
    return begins_pdu(self, at, stop) or is_sealed(self, at, stop, real)
end

-- An SDU of a flow: of an application, or a PDU of a DIF that stands on this one.
function Context:sdu(tree, p, at, stop, real)
    if stop <= at then return "" end
    local is_stacked = rina.prefs.stacked and self.depth < DEPTH_MAX and
        fits(self, DEFAULT, at, stop, real) == real - at
    if not is_stacked then
        tree:add(PAYLOAD, self:range(at, stop - at))
        return ""
    end
    local from, to = self.from, self.to
    local below = self:link()
    self.from = below .. " " .. brief(p.source) .. ":" .. brief(p.source_cep)
    self.to = below .. " " .. brief(p.destination) .. ":" .. brief(p.destination_cep)
    self.depth = self.depth + 1
    local line = self:pdu(tree:add(STACKED, self:range(at, stop - at)), at, stop, real)
    self.from, self.to, self.depth = from, to, self.depth - 1
    return ", in it: " .. line
end

function Context:data(tree, p, at, stop, real)
    local flow = self:flow_of(p)
    local line = "DT " .. between(p)
    if p.flags >= 0x80 then line = line .. " DRF" end
    if p.flags % 2 == 1 then line = line .. " ECN" end
    line = line .. string.format(" %s bytes", brief(math.max(real - at, 0)))
    local delimiting = rina.prefs.delimiting
    if delimiting == 2 or delimiting == AUTO and flow.delimiting then
        return line .. self:delimited(tree, p, at, stop, real)
    end
    return line .. self:sdu(tree, p, at, stop, real)
end
