-- VMPI frames, as ports of vswitch and guest carry them (docs/vmpi.md): captures of link type
-- USER0. Loaded by sluice.lua.
local S = ...
if not S then return end
local E, Context, vmpi, seen = S.E, S.Context, S.vmpi, S.seen
local brief, generated, AUTO = S.brief, S.generated, S.AUTO
local UNDECODED, PADDING, PAYLOAD = S.UNDECODED, S.PADDING, S.PAYLOAD
local byte = string.byte
local function field(kind, abbrev, ...) return S.field(vmpi, kind, "vmpi." .. abbrev, ...) end

local SLUICE, IRATI = 1, 2
local HEADER_BYTES, SHORT_FRAME_BYTES, SHORT_SDU_MAX = 4, 14, 9
local COMMON_BYTES, HELLO_BYTES, ALLOCATE_BYTES = 24, 72, 34
local GENERATION_MAX, NAME_BYTES_MAX, IRATI_CHANNELS_MAX = 127, 255, 63

local TYPES = {
    "HELLO", "ALLOCATE_REQ", "ALLOCATE_PENDING", "ALLOCATE_RESP", "DEALLOCATE", "DEALLOCATE_ACK",
    "CREDIT", "CREDIT_PROBE", "KEEPALIVE", "KEEPALIVE_ACK",
}
local BYTES = {HELLO_BYTES, ALLOCATE_BYTES, 29, 30, 30, 29, 37, 37, COMMON_BYTES, COMMON_BYTES}
local HELLO, ALLOCATE_REQ, RESP, DEALLOCATE, CREDIT, PROBE = 1, 2, 4, 5, 7, 8
-- The type that a type answers.
local ANSWERS = {[3] = 2, [4] = 2, [6] = 5, [10] = 9}
local COMMANDS = {[0] = "ALLOCATE_REQ", "ALLOCATE_RESP", "DEALLOCATE"}
local REASONS = {
    [0] = "ok", "refused", "no such application", "busy", "bad channel", "channel in use",
    "timed out", "closed by the peer", "closed locally", "peer restarted", "link down",
    "peer unresponsive", "version", "out of receive memory", "unregistered",
}
local ROLES = {[0] = "backend", "frontend", "alike"}

local F = {
    profile = field("string", "profile", "Profile"),
    channel = field("uint32", "channel", "Channel"),
    generation = field("uint8", "generation", "Generation"),
    short = field("bool", "short", "Short frame"),
    sdu_length = field("uint8", "sdu_length", "Length of the SDU"),
    type = field("uint8", "type", "Type", base.DEC, TYPES),
    version = field("uint8", "version", "Version"),
    length = field("uint16", "length", "Length"),
    epoch = field("uint64", "epoch", "Epoch of the sender", base.HEX),
    peer_epoch = field("uint64", "peer_epoch", "Epoch of the receiver", base.HEX),
    transaction = field("uint32", "transaction", "Transaction"),
    challenge = field("uint64", "hello.challenge", "Challenge", base.HEX),
    echo = field("uint64", "hello.echo", "Echo", base.HEX),
    nonce = field("uint64", "hello.nonce", "Nonce", base.HEX),
    features = field("uint64", "hello.features", "Features", base.HEX),
    max_sdu = field("uint32", "hello.max_sdu", "Largest SDU"),
    max_channels = field("uint32", "hello.max_channels", "Channels"),
    credit_unit = field("uint32", "hello.credit_unit", "Bytes of a unit of credit"),
    min_version = field("uint8", "hello.min_version", "Lowest version"),
    max_version = field("uint8", "hello.max_version", "Highest version"),
    role = field("uint8", "hello.role", "Role", base.DEC, ROLES),
    of_channel = field("uint32", "about.channel", "Channel that it is about"),
    of_generation = field("uint8", "about.generation", "Generation"),
    result = field("uint8", "result", "Result", base.DEC, REASONS),
    reason = field("uint8", "reason", "Reason", base.DEC, REASONS),
    limit = field("uint64", "limit", "Limit, units"),
    sent = field("uint64", "sent", "Sent, units"),
    source_length = field("uint16", "source_length", "Length of the source name"),
    destination_length = field("uint16", "destination_length", "Length of the destination name"),
    source = field("string", "source", "Source"),
    destination = field("string", "destination", "Destination"),
    command = field("uint8", "irati.command", "Command", base.DEC, COMMANDS),
    response = field("uint8", "irati.response", "Response", base.DEC, {[0] = "OK", "KO"}),
    reserved = field("bytes", "reserved", "Reserved"),
    applications = field("string", "applications", "Applications"),
    response_to = field("framenum", "response_to", "Response to", base.NONE, frametype.REQUEST),
}

-- ---- profile ----------------------------------------------------------------------------------

local interface_id = Field.new("frame.interface_id")

local function is_sluice_control(self)
    if self.stop < HEADER_BYTES + COMMON_BYTES then return false end
    local type, version = byte(self.raw, 5), byte(self.raw, 6)
    local length = self:number(6, 2)
    return TYPES[type] and (version == 1 or type == HELLO) and length >= COMMON_BYTES and
        length <= self.real - HEADER_BYTES
end

-- By preference, by what control messages of the device look like, or by what a channel word can
-- be: the first generation of a channel is drawn at random in profile sluice.
local function profile_of(self)
    if vmpi.prefs.profile ~= AUTO then
        self.frame.profile = vmpi.prefs.profile
    elseif self.first then
        local word = self:number(0, 4)
        local known = seen.profiles[self.device]
        if word == 0 and is_sluice_control(self) then
            known = SLUICE
        elseif word == 0 and not known and self.stop > HEADER_BYTES and
            COMMANDS[byte(self.raw, 5)] then
            known = IRATI
        end
        seen.profiles[self.device] = known
        self.frame.profile = known or word <= IRATI_CHANNELS_MAX and IRATI or SLUICE
    end
    return self.frame.profile
end

-- ---- control messages -------------------------------------------------------------------------

local function bad(item, expert, what) item:add_proto_expert_info(expert, what) end

local function name_in(self, tree, item, at, bytes)
    local raw = self.raw:sub(at + 1, at + bytes)
    local shown, name = self:add_text(tree, item, at, bytes, at, at + bytes)
    if bytes == 0 or S.has_control_character(raw) then
        bad(shown, E.bad_name, "empty, or with control characters")
    end
    return brief(name)
end

local function channel_key(self, channel, generation)
    return self.device .. " " .. brief(channel) .. " " .. brief(generation)
end

-- Remembers who talks on a channel, or shows it.
local function applications(self, tree, channel, generation, names)
    local key = channel_key(self, channel, generation)
    if self.first then
        if names then seen.channels[key] = names end
        self.frame.applications = seen.channels[key]
    end
    if self.frame.applications then generated(tree, F.applications, self.frame.applications) end
end

-- Joins an answer to its question, by channel and transaction.
local function exchange(self, tree, type, id)
    if self.first then
        local key = string.format("%s %s %d", self.device, id, ANSWERS[type] or type)
        if ANSWERS[type] then
            self.frame.vmpi_request = seen.requests[key]
        else
            seen.requests[key] = self.pinfo.number
        end
    end
    if self.frame.vmpi_request then generated(tree, F.response_to, self.frame.vmpi_request) end
end

local function is_power_of_two(number)
    while number > 1 do number = number / 2 end
    return number == 1
end

local function hello(self, tree, at)
    for i, name in ipairs{"challenge", "echo", "nonce", "features"} do
        tree:add_le(F[name], self:range(at + 16 + 8 * i, 8))
    end
    tree:add_le(F.max_sdu, self:range(at + 56, 4))
    local channels = tree:add_le(F.max_channels, self:range(at + 60, 4))
    local unit_item = tree:add_le(F.credit_unit, self:range(at + 64, 4))
    local least = tree:add(F.min_version, self:range(at + 68, 1))
    tree:add(F.max_version, self:range(at + 69, 1))
    local role_item = tree:add(F.role, self:range(at + 70, 1))
    tree:add(F.reserved, self:range(at + 71, 1))
    local unit, role = self:number(at + 64, 4), byte(self.raw, at + 71)
    if self:number(at + 60, 4) == 0 then bad(channels, E.bad_field, "no channels") end
    if unit < 64 or unit > 2 ^ 20 or not is_power_of_two(unit) then
        bad(unit_item, E.bad_field, "no power of two from 64 to 1048576")
    end
    local min, max = byte(self.raw, at + 69), byte(self.raw, at + 70)
    if min == 0 or min > max then bad(least, E.bad_field, "no version") end
    if not ROLES[role] then bad(role_item, E.bad_field, "role") end
    return string.format("%s, SDUs of %s bytes, %s channels", ROLES[role] or "?",
                         brief(self:number(at + 56, 4)), brief(self:number(at + 60, 4)))
end

local function allocate(self, tree, at, length)
    tree:add(F.reserved, self:range(at + 29, 1))
    local source, destination = self:number(at + 30, 2), self:number(at + 32, 2)
    tree:add_le(F.source_length, self:range(at + 30, 2))
    local item = tree:add_le(F.destination_length, self:range(at + 32, 2))
    if length ~= ALLOCATE_BYTES + source + destination then
        bad(item, E.bad_length, "the names are not as long as the message")
        if length > ALLOCATE_BYTES then
            tree:add(UNDECODED, self:range(at + ALLOCATE_BYTES, length - ALLOCATE_BYTES))
        end
        return "?"
    end
    if source > NAME_BYTES_MAX or destination > NAME_BYTES_MAX then
        bad(item, E.bad_name, "longer than 255 bytes")
    end
    at = at + ALLOCATE_BYTES
    return name_in(self, tree, F.source, at, source) .. " -> " ..
        name_in(self, tree, F.destination, at + source, destination)
end

-- What follows the part that all messages have. Returns more of the line.
local function body(self, tree, at, type, length)
    if type == HELLO then return ": " .. hello(self, tree, at) end
    if type > PROBE then return "" end
    local channel, generation = self:number(at + 24, 4), byte(self.raw, at + 29)
    tree:add_le(F.of_channel, self:range(at + 24, 4))
    local item = tree:add(F.of_generation, self:range(at + 28, 1))
    if generation > GENERATION_MAX then bad(item, E.bad_field, "generation above 127") end
    local line = string.format(" channel %s.%d", brief(channel), generation)
    local names
    if type == ALLOCATE_REQ then
        names = allocate(self, tree, at, length)
        line = line .. ": " .. names
    elseif type == RESP or type == DEALLOCATE then
        local code = byte(self.raw, at + 30)
        local shown = tree:add(type == RESP and F.result or F.reason, self:range(at + 29, 1))
        line = line .. ": " .. (REASONS[code] or "reason " .. code)
        if type == RESP and code ~= 0 then bad(shown, E.failed, REASONS[code] or "refused") end
    elseif type == CREDIT or type == PROBE then
        tree:add_le(type == CREDIT and F.limit or F.sent, self:range(at + 29, 8))
        line = line .. (type == CREDIT and " limit " or " sent ") .. brief(self:exact(at + 29, 8))
    end
    applications(self, tree, channel, generation, names)
    exchange(self, tree, type, brief(channel) .. "#" .. brief(self:number(at + 20, 4)))
    return line
end

local function sluice_control(self, tree, at)
    local left = self.stop - at
    if left < COMMON_BYTES then
        self:short(tree, at, self.stop, "control message")
        return "control message, too short"
    end
    local type, length = byte(self.raw, at + 1), self:number(at + 2, 2)
    local type_item = tree:add(F.type, self:range(at, 1))
    local version_item = tree:add(F.version, self:range(at + 1, 1))
    local length_item = tree:add_le(F.length, self:range(at + 2, 2))
    local epoch = tree:add_le(F.epoch, self:range(at + 4, 8))
    tree:add_le(F.peer_epoch, self:range(at + 12, 8))
    tree:add_le(F.transaction, self:range(at + 20, 4))
    if not self.raw:find("[^%z]", at + 5) or self.raw:find("[^%z]", at + 5) > at + 12 then
        bad(epoch, E.bad_field, "an epoch is never 0")
    end
    local version = byte(self.raw, at + 2)
    if version == 0 or version ~= 1 and type ~= HELLO then
        bad(version_item, E.bad_field, "version")
    end
    local rest = at + COMMON_BYTES
    local line = TYPES[type] or "type " .. type
    local may_grow = type == HELLO or type == ALLOCATE_REQ
    local problem
    if not TYPES[type] then
        problem = {type_item, E.bad_type, "not known"}
    elseif length < BYTES[type] or not may_grow and length > BYTES[type] then
        problem = {length_item, E.bad_length, "not as long as its type"}
    elseif length > self.real - at then
        problem = {length_item, E.bad_length, "more than there is"}
    elseif length > left then
        problem = {length_item, E.cut, "not captured to its end"}
    end
    if problem then
        bad(problem[1], problem[2], problem[3])
        if self.stop > rest then tree:add(UNDECODED, self:range(rest, self.stop - rest)) end
        return line
    end
    line = line .. body(self, tree, at, type, length)
    if type > PROBE then exchange(self, tree, type, brief(self:number(at + 20, 4))) end
    if type == HELLO and length > HELLO_BYTES then
        tree:add(UNDECODED, self:range(at + HELLO_BYTES, length - HELLO_BYTES))
            :add_proto_expert_info(E.unknown, "of a later version")
    end
    if left > length then tree:add(PADDING, self:range(at + length, left - length)) end
    return line
end

local function irati_names(self, tree, at)
    local names = {}
    for _, item in ipairs{F.source, F.destination} do
        local ends = self.raw:find("%z", at + 1)
        if not ends then
            self:short(tree, at, self.stop, "name")
            return "?", self.stop
        end
        -- With the zero behind it.
        local shown, name = self:add_text(tree, item, at, ends - at, at, ends - 1)
        local raw = self.raw:sub(at + 1, ends - 1)
        if raw == "" or S.has_control_character(raw) then
            bad(shown, E.bad_name, "empty, or with control characters")
        end
        table.insert(names, brief(name))
        at = ends
    end
    return table.concat(names, " -> "), at
end

local function irati_control(self, tree, at)
    if self.stop - at < 5 then
        self:short(tree, at, self.stop, "control message")
        return "control message, too short"
    end
    local command, channel = byte(self.raw, at + 1), self:number(at + 1, 4)
    local command_item = tree:add(F.command, self:range(at, 1))
    tree:add_le(F.of_channel, self:range(at + 1, 4))
    local line = (COMMANDS[command] or "command " .. command) .. " channel " .. brief(channel)
    at = at + 5
    local names
    if command == 0 then
        names, at = irati_names(self, tree, at)
        line = line .. ": " .. names
    elseif command == 1 then
        if self.stop - at < 1 then
            self:short(tree, at, self.stop, "response")
            return line
        end
        tree:add(F.response, self:range(at, 1))
        local is_yes = byte(self.raw, at + 1) == 0
        line = line .. (is_yes and ": OK" or ": KO")
        if not is_yes then bad(command_item, E.failed, "KO") end
        at = at + 1
    elseif command ~= 2 then
        bad(command_item, E.bad_type, "not known")
    end
    applications(self, tree, channel, 0, names)
    exchange(self, tree, command == 1 and RESP or command == 0 and ALLOCATE_REQ or DEALLOCATE,
             brief(channel))
    if self.stop > at then tree:add(PADDING, self:range(at, self.stop - at)) end
    return line
end

-- ---- frames -----------------------------------------------------------------------------------

-- Where the SDU of a frame of profile sluice ends; nothing if the frame is none.
local function sdu_end(self, tree, is_short)
    if is_short then
        if self.real ~= SHORT_FRAME_BYTES then
            bad(tree, E.bad_length, "a short frame is 14 bytes long")
            return nil
        end
        if self.stop < SHORT_FRAME_BYTES then return self.stop end
        local bytes = byte(self.raw, SHORT_FRAME_BYTES)
        local item = tree:add(F.sdu_length, self:range(SHORT_FRAME_BYTES - 1, 1))
        if bytes > SHORT_SDU_MAX then
            bad(item, E.bad_length, "more than 9 bytes")
            return nil
        end
        return HEADER_BYTES + bytes
    end
    if self.real < SHORT_FRAME_BYTES then
        bad(tree, E.bad_length, "less than 14 bytes, and not marked as short")
        return nil
    end
    return self.stop
end

local function data(self, tree, stop, channel, generation, is_short)
    local at = HEADER_BYTES
    local end_of_frame = is_short and math.min(self.stop, SHORT_FRAME_BYTES - 1) or self.stop
    applications(self, tree, channel, generation)
    local line = "channel " .. brief(channel) ..
        (self.frame.profile == IRATI and "" or "." .. generation) .. ", "
    local real = is_short and stop or self.real
    if stop > at and self:is_pdu(at, stop, real) then
        self.from = channel_key(self, channel, generation) .. " " .. self.direction
        self.to = channel_key(self, channel, generation) .. " " .. self.other_direction
        self.pinfo.cols.protocol = "RINA"
        return line .. self:pdu(tree:add(S.rina, self:range(at, stop - at)), at, stop, real)
    end
    if stop > at then tree:add(PAYLOAD, self:range(at, stop - at)) end
    if end_of_frame > stop then tree:add(PADDING, self:range(stop, end_of_frame - stop)) end
    return line .. string.format("SDU of %s bytes", brief(real - at))
end

local function show(self, tree)
    if self.stop < HEADER_BYTES then
        self:short(tree, 0, self.stop, "channel word")
        return "too short"
    end
    local profile = profile_of(self)
    local word = self:number(0, 4)
    local channel, generation, is_short = word, 0, false
    generated(tree, F.profile, profile == SLUICE and "sluice" or "irati")
    if profile == SLUICE then
        channel = word % 2 ^ 24
        generation = math.floor(word / 2 ^ 24) % 128
        is_short = word >= 2 ^ 31
    end
    local item = tree:add(F.channel, self:range(0, 4), channel)
    if profile == SLUICE then
        tree:add(F.generation, self:range(3, 1), generation)
        tree:add(F.short, self:range(3, 1), is_short)
    elseif channel > IRATI_CHANNELS_MAX then
        bad(item, E.bad_field, "channels end at 63")
    end
    if word == 0 then
        local control = profile == SLUICE and sluice_control or irati_control
        return control(self, tree, HEADER_BYTES)
    end
    if channel == 0 then bad(item, E.bad_field, "the control channel, and yet a data frame") end
    local stop = self.stop
    if profile == SLUICE then stop = sdu_end(self, tree, is_short) end
    if not stop then
        if self.stop > HEADER_BYTES then
            tree:add(UNDECODED, self:range(HEADER_BYTES, self.stop - HEADER_BYTES))
        end
        return "malformed"
    end
    return data(self, tree, stop, channel, generation, is_short)
end

function vmpi.dissector(tvb, pinfo, root)
    local self = S.new_context(tvb, pinfo)
    local interface = interface_id()
    self.device = "vmpi" .. (interface and tostring(interface.value) or "")
    -- Which end spoke, where the capture says so.
    self.direction, self.other_direction = "?", "?"
    if pinfo.p2p_dir == 0 then self.direction, self.other_direction = "sent", "received" end
    if pinfo.p2p_dir == 1 then self.direction, self.other_direction = "received", "sent" end
    pinfo.cols.protocol = "VMPI"
    local tree = root:add(vmpi, self:range(0, self.stop))
    local line = show(self, tree)
    tree:append_text(", " .. line)
    pinfo.cols.info = line
    return self.stop
end

DissectorTable.get("wtap_encap"):add((wtap_encaps or wtap).USER0, vmpi)
