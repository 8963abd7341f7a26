-- RINA over Ethernet and UDP, and RINA-ARP (lib/rina/rina_arp.hpp). Loaded by sluice.lua.
local S = ...
if not S then return end
local E, Context, field, rina, arp, seen = S.E, S.Context, S.field, S.rina, S.arp, S.seen
local PADDING, PAYLOAD = S.PADDING, S.PAYLOAD
local byte = string.byte

local ETHERTYPE_RINA, ETHERTYPE_ARP = 0xd1f0, 0x0806
local UDP_PORT = 3359

-- ---- PDUs over a shim -------------------------------------------------------------------------

local function show_pdu(self, root)
    self.pinfo.cols.protocol = "RINA"
    local tree = root:add(rina, self:range(0, self.stop))
    local line
    if self:begins_pdu(0, self.stop, self.real) or rina.prefs.pci ~= S.AUTO then
        line = self:pdu(tree, 0, self.stop, self.real)
    elseif self.stop > 0 then
        tree:add(PAYLOAD, self:range(0, self.stop)):add_proto_expert_info(E.assumed)
        line = string.format("SDU of %d bytes", self.real)
    else
        tree:add_proto_expert_info(self.is_cut and E.cut or E.truncated)
        line = "nothing"
    end
    tree:append_text(", " .. line)
    self.pinfo.cols.info = line
    return self.stop
end

function rina.dissector(tvb, pinfo, root)
    local self = S.new_context(tvb, pinfo)
    if self.first then
        seen.endpoints[self.from .. " " .. pinfo.src_port] = true
    end
    return show_pdu(self, root)
end

-- rlite's shim over UDP speaks to the well-known port once, and from then on between two others.
local function is_over_udp(self)
    local pinfo = self.pinfo
    if self:is_pdu(0, self.stop, self.real) then return true end
    local known = seen.endpoints[self.from .. " " .. pinfo.src_port] or
        seen.endpoints[self.to .. " " .. pinfo.dst_port]
    return known and self:begins_pdu(0, self.stop, self.real)
end

local function over_udp(tvb, pinfo, root)
    local self = S.new_context(tvb, pinfo)
    if self.first then
        self.frame.is_over_udp = is_over_udp(self)
        if self.frame.is_over_udp then
            seen.endpoints[self.from .. " " .. pinfo.src_port] = true
        end
    end
    if not self.frame.is_over_udp then return false end
    show_pdu(self, root)
    return true
end

-- ---- RINA-ARP ---------------------------------------------------------------------------------

local ARP = {
    hardware = field(arp, "uint16", "rina.arp.hardware", "Hardware type"),
    protocol = field(arp, "uint16", "rina.arp.protocol", "Protocol type", base.HEX),
    hlen = field(arp, "uint8", "rina.arp.hlen", "Length of hardware addresses"),
    plen = field(arp, "uint8", "rina.arp.plen", "Length of names"),
    opcode = field(arp, "uint16", "rina.arp.opcode", "Operation", base.DEC, {"request", "reply"}),
    sender_mac = field(arp, "ether", "rina.arp.sender_mac", "MAC address of the sender"),
    sender = field(arp, "string", "rina.arp.sender", "Name of the sender"),
    target_mac = field(arp, "ether", "rina.arp.target_mac", "MAC address of the target"),
    target = field(arp, "string", "rina.arp.target", "Name of the target"),
}
local FIXED_BYTES, MAC_BYTES = 8, 6
local ordinary = DissectorTable.get("ethertype"):get_dissector(ETHERTYPE_ARP)

-- A name and its padding.
function Context:arp_name(tree, item, at, bytes)
    local raw = self.raw:sub(at + 1, at + bytes):gsub("%z+$", "")
    local shown, name = self:add_text(tree, item, at, bytes, at, at + #raw)
    if raw == "" or S.has_control_character(raw) then
        shown:add_proto_expert_info(E.bad_name, "empty, or with control characters")
    end
    return S.brief(name)
end

local function arp_line(self, tree)
    if self.stop < FIXED_BYTES then
        self:short(tree, 0, self.stop, "RINA-ARP")
        return "too short"
    end
    tree:add(ARP.hardware, self:range(0, 2))
    tree:add(ARP.protocol, self:range(2, 2))
    tree:add(ARP.hlen, self:range(4, 1))
    local plen = byte(self.raw, 6)
    tree:add(ARP.plen, self:range(5, 1))
    local opcode = byte(self.raw, 7) * 256 + byte(self.raw, 8)
    local operation = tree:add(ARP.opcode, self:range(6, 2))
    if opcode ~= 1 and opcode ~= 2 then
        operation:add_proto_expert_info(E.bad_type, "operation")
    end
    local target_at = FIXED_BYTES + MAC_BYTES + plen
    local bytes = target_at + MAC_BYTES + plen
    if self.stop < bytes then
        self:short(tree, FIXED_BYTES, self.stop, "RINA-ARP")
        return "too short"
    end
    tree:add(ARP.sender_mac, self:range(FIXED_BYTES, MAC_BYTES))
    local sender = self:arp_name(tree, ARP.sender, FIXED_BYTES + MAC_BYTES, plen)
    tree:add(ARP.target_mac, self:range(target_at, MAC_BYTES))
    local target = self:arp_name(tree, ARP.target, target_at + MAC_BYTES, plen)
    if self.stop > bytes then tree:add(PADDING, self:range(bytes, self.stop - bytes)) end
    if opcode == 2 then
        return sender .. " is at " .. tostring(self:range(FIXED_BYTES, MAC_BYTES):ether()) ..
            ", to " .. target
    end
    return "Who is " .. target .. "? Tell " .. sender
end

function arp.dissector(tvb, pinfo, root)
    local self = S.new_context(tvb, pinfo)
    -- What lib/rina takes as ARP of somebody else.
    local is_ours = self.stop >= 5 and self.raw:sub(1, 5) == "\0\1\209\240\6"
    if not is_ours then
        -- Its exceptions are shown by Wireshark, and come out of call() as an error as well.
        if ordinary then pcall(ordinary.call, ordinary, tvb, pinfo, root) end
        return self.stop
    end
    pinfo.cols.protocol = "RINA-ARP"
    local tree = root:add(arp, self:range(0, self.stop))
    local line = arp_line(self, tree)
    tree:append_text(", " .. line)
    pinfo.cols.info = line
    return self.stop
end

DissectorTable.get("ethertype"):add(ETHERTYPE_RINA, rina)
DissectorTable.get("ethertype"):add(ETHERTYPE_ARP, arp)
DissectorTable.get("udp.port"):add(UDP_PORT, rina)
rina:register_heuristic("udp", over_udp)
