-- A dissector for what Sluice and rlite say on the wire: VMPI, RINA-ARP, the PDUs of normal DIFs
-- (over Ethernet, VLANs, UDP and VMPI, with or without SDU protection), EFCP, CDAP and the objects
-- in it. For Wireshark and tshark 4.0 or later:
--
--   tshark -X lua_script:scripts/wireshark/sluice.lua -r FILE
--
-- or for good, with the folder sluice beside it: copy both to the personal folder of Lua plugins.
-- Filters are rina.*, rina.arp.* and vmpi.*; preferences, under the same names, say what a capture
-- cannot tell. The layouts are those of lib/rina and of docs/vmpi.md.
--
-- Captures may hold anything, so no byte is read before it is known to be there.

-- As a plugin and by name: once is enough.
if package.loaded.sluice_dissector then return end
package.loaded.sluice_dissector = true

local rina = Proto("rina", "RINA")
local arp = Proto("rina.arp", "RINA-ARP")
local vmpi = Proto("vmpi", "Virtual Message Passing Interface")

local fields = {[rina] = {}, [arp] = {}, [vmpi] = {}}
local function field(proto, kind, abbrev, ...)
    local made = ProtoField[kind](abbrev, ...)
    table.insert(fields[proto], made)
    return made
end

-- ---- expert information -----------------------------------------------------------------------

local experts = {}
local function expertise(name, text, group, severity)
    local made = ProtoExpert.new("rina.expert." .. name, text, expert.group[group],
                                 expert.severity[severity])
    table.insert(experts, made)
    return made
end
local E = {
    truncated = expertise("truncated", "Ends too early", "MALFORMED", "ERROR"),
    cut = expertise("cut", "Not captured to its end", "UNDECODED", "NOTE"),
    bad_length = expertise("bad_length", "Length that cannot be", "MALFORMED", "ERROR"),
    bad_type = expertise("bad_type", "Type that nobody knows", "MALFORMED", "ERROR"),
    bad_field = expertise("bad_field", "Value out of its range", "MALFORMED", "ERROR"),
    bad_name = expertise("bad_name", "Name that is none", "MALFORMED", "ERROR"),
    bad_message = expertise("bad_message", "Not a protobuf message", "MALFORMED", "ERROR"),
    missing = expertise("missing", "Required field is missing", "MALFORMED", "ERROR"),
    bad_checksum = expertise("bad_checksum", "Wrong checksum", "CHECKSUM", "ERROR"),
    rule = expertise("rule", "Breaks a rule of CDAP", "PROTOCOL", "WARN"),
    unknown = expertise("unknown", "Not known here", "UNDECODED", "NOTE"),
    unexpected = expertise("unexpected", "Not expected here", "PROTOCOL", "WARN"),
    failed = expertise("failed", "Says no", "RESPONSE_CODE", "NOTE"),
    unasked = expertise("unasked", "Answer without a question in the capture", "SEQUENCE", "NOTE"),
    repeated = expertise("repeated", "Said before", "SEQUENCE", "NOTE"),
    twice = expertise("twice", "Said twice, the last one counts", "PROTOCOL", "WARN"),
    ecn = expertise("ecn", "Congestion was experienced", "SEQUENCE", "CHAT"),
    -- An SDU of an application directly over a shim, most likely.
    assumed = expertise("assumed", "No PCI, not looked into", "ASSUMPTION",
                        "CHAT"),
}

-- ---- preferences ------------------------------------------------------------------------------

local AUTO = 0
rina.prefs.pci = Pref.enum("PCI format", AUTO, "Widths of the fields of the PCI",
    {{1, "auto", AUTO}, {2, "default (28 bytes)", 1}, {3, "wide (34 bytes)", 2},
     {4, "custom", 3}}, false)
for _, width in ipairs{{"sequence", 4}, {"address", 4}, {"cep", 2}, {"length", 2}, {"qos", 2}} do
    rina.prefs["width_" .. width[1]] = Pref.uint("Custom width: " .. width[1], width[2],
        "Bytes of this field in a custom PCI: 1, 2, 4 or 8")
end
rina.prefs.protection = Pref.enum("SDU protection", AUTO,
    "Of PDUs on N-1 flows; auto recognizes a CRC that is right, and the header of AES-GCM",
    {{1, "auto", AUTO}, {2, "none", 1}, {3, "inet", 2}, {4, "ttl", 3}, {5, "crc32c", 4},
     {6, "aes-gcm", 5}}, false)
rina.prefs.hops = Pref.uint("Hops of SDU protection ttl", 64, "More is an error")
rina.prefs.delimiting = Pref.enum("Delimiting of user data", AUTO,
    "auto: where both ends agreed on it as the flow was allocated",
    {{1, "auto", AUTO}, {2, "never", 1}, {3, "always", 2}}, false)
rina.prefs.stacked = Pref.bool("DIFs over DIFs", true,
    "Look for PDUs of a higher DIF in the user data of a lower one")
vmpi.prefs.profile = Pref.enum("Profile", AUTO, "Of VMPI frames",
    {{1, "auto", AUTO}, {2, "sluice", 1}, {3, "irati", 2}}, false)

-- ---- what was seen ----------------------------------------------------------------------------

-- Made in the first pass over a capture. What a frame looked like then is kept with it, so that it
-- looks the same whenever it is shown again.
local seen = {}
local function forget()
    seen.frames = {}     -- number -> what was found out about its messages, in their order
    seen.pending = {}    -- link, who asks, id -> question: frame, time, notes
    seen.sessions = {}   -- link -> M_CONNECTs so far
    seen.names = {}      -- link and end, or link and address -> name of the IPC process
    seen.formats = {}    -- link -> format of the PCI
    seen.flows = {}      -- link and flow -> name, applications, delimiting
    seen.ports = {}      -- link, address and port-id -> flow
    seen.endpoints = {}  -- of shims over UDP, which leave the well-known port
    seen.profiles = {}   -- interface -> profile of VMPI
    seen.channels = {}   -- interface and channel of VMPI -> applications
    seen.requests = {}   -- of VMPI: interface, channel, transaction -> frame
end
forget()
rina.init = forget

local Context = {}
Context.__index = Context

local function new_context(tvb, pinfo)
    local frame = seen.frames[pinfo.number] or {}
    seen.frames[pinfo.number] = frame
    return setmetatable({
        tvb = tvb, pinfo = pinfo, raw = tvb:raw(), frame = frame, first = not pinfo.visited,
        stop = tvb:len(), real = tvb:reported_len(), is_cut = tvb:len() < tvb:reported_len(),
        from = tostring(pinfo.src), to = tostring(pinfo.dst), depth = 0, messages = 0,
    }, Context)
end

-- Both directions of what carries the PDUs.
function Context:link()
    return self.from < self.to and self.from .. " " .. self.to or self.to .. " " .. self.from
end

-- Where the notes about the next message of the frame are.
function Context:notes()
    self.messages = self.messages + 1
    self.frame[self.messages] = self.frame[self.messages] or {}
    return self.frame[self.messages]
end

-- ---- bytes ------------------------------------------------------------------------------------

local byte = string.byte
local UNDECODED = field(rina, "bytes", "rina.undecoded", "Not decoded")
local PADDING = field(rina, "bytes", "rina.padding", "Padding")
local PAYLOAD = field(rina, "bytes", "rina.payload", "User data")

function Context:range(at, bytes) return self.tvb:range(at, bytes) end

-- A little-endian number, of bytes that are there.
function Context:number(at, bytes)
    local value = 0
    for i = bytes, 1, -1 do value = value * 256 + byte(self.raw, at + i) end
    return value
end

-- Exact for any width, to be compared and shown: more than 53 bits are no Lua number.
function Context:exact(at, bytes)
    if bytes < 8 or self:number(at + 4, 4) < 2 ^ 20 then return self:number(at, bytes) end
    return self:range(at, 8):le_uint64()
end

-- What there is of something that ends too early.
function Context:short(tree, at, stop, what)
    local item = stop > at and tree:add(UNDECODED, self:range(at, stop - at)) or tree
    if self.is_cut and stop == self.stop then
        item:add_proto_expert_info(E.cut, what .. ": not captured to its end")
    else
        item:add_proto_expert_info(E.truncated, what .. ": ends too early")
    end
end

-- Adds text that is between `from` and `to` for the bytes at `at`. Returns item and text.
function Context:add_text(tree, item, at, bytes, from, to)
    local raw = self.raw:sub(from + 1, to)
    if to == from then return tree:add(item, self:range(at, bytes), ""), "" end
    -- What string() gives is no longer than the bytes, and loses its end where signs that are
    -- longer stand for what is no UTF-8.
    if self:range(from, to - from):string(ENC_UTF_8) == raw then
        local text = raw:gsub("%z", "?")
        return tree:add(item, self:range(at, bytes), text), text
    end
    local shown = tree:add_packet_field(item, self:range(from, to - from), ENC_UTF_8)
    return shown, (raw:gsub("[%z\128-\255]", "?"))
end

-- A name or a value within a line of text.
local function brief(text)
    if type(text) == "number" then return string.format("%.0f", text) end
    text = tostring(text):gsub("%c", "?")
    return #text > 80 and text:sub(1, 77):gsub("[\192-\255][\128-\191]*$", "") .. "..." or text
end

local function has_control_character(raw)
    return raw:find("[%z\1-\31\127]") ~= nil or raw:find("\194[\128-\159]") ~= nil
end

local function generated(tree, what, value)
    local item = tree:add(what, value)
    item:set_generated()
    return item
end

-- ---- the parts --------------------------------------------------------------------------------

local S = {
    E = E, Context = Context, new_context = new_context, field = field, seen = seen, AUTO = AUTO,
    rina = rina, arp = arp, vmpi = vmpi, brief = brief, generated = generated,
    has_control_character = has_control_character, UNDECODED = UNDECODED, PADDING = PADDING,
    PAYLOAD = PAYLOAD,
}
-- Wireshark loads the parts in a plugins folder by themselves, too; they do nothing then.
for _, part in ipairs{"protobuf", "objects", "cdap", "pdu", "shims", "vmpi"} do
    local load, problem = loadfile(__DIR__ .. "/sluice/" .. part .. ".lua")
    assert(load, problem)(S)
end

rina.experts = experts
for proto, list in pairs(fields) do proto.fields = list end
