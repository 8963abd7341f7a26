-- CDAP messages: what they say, and what they have to do with each other. Loaded by sluice.lua.
local S = ...
if not S then return end
local E, Context, field, rina, seen = S.E, S.Context, S.field, S.rina, S.seen
local brief, joined, generated, read_message = S.brief, S.joined, S.generated, S.read_message
local OPS, OBJECTS, CLASSES, OBJECT_ITEM = S.OPS, S.OBJECTS, S.CLASSES, S.OBJECT_ITEM
local messages = S.messages

-- ---- what messages have to do with each other -------------------------------------------------

local GEN = {
    request = field(rina, "framenum", "rina.cdap.response_to", "Response to", base.NONE,
                    frametype.REQUEST),
    response = field(rina, "framenum", "rina.cdap.response_in", "Response in", base.NONE,
                     frametype.RESPONSE),
    again = field(rina, "framenum", "rina.cdap.repeat_of", "Repeats", base.NONE),
    time = field(rina, "relative_time", "rina.cdap.time", "Time since the request"),
    from = field(rina, "string", "rina.from", "From"),
    to = field(rina, "string", "rina.to", "To"),
    flow = field(rina, "string", "rina.flow", "Flow"),
    applications = field(rina, "string", "rina.flow.applications", "Applications"),
}
local REPEAT_WITHIN_S = 15

-- The same for both directions of a connection.
local function flow_name(address, cep, other_address, other_cep)
    local a = brief(address) .. ":" .. brief(cep)
    local b = brief(other_address) .. ":" .. brief(other_cep)
    if #a > #b or #a == #b and a > b then a, b = b, a end
    return a .. "-" .. b
end

-- Who speaks in a message, and to whom; learns who is who.
function Context:parties(m, way, notes)
    local link = self:link()
    local function key(who) return link .. (way.is_inner and " @" or " ") .. who end
    local from = way.is_inner and brief(way.src) or self.from
    local to = way.is_inner and brief(way.dst) or self.to
    if self.first then
        if m.opcode == 0 or m.opcode == 1 then
            local function name(side)
                return joined(m[side .. "_ap_name"] or "", m[side .. "_ap_inst"] or "",
                              m[side .. "_ae_name"] or "", m[side .. "_ae_inst"] or "")
            end
            notes.from, notes.to = name("src"), name("dest")
            seen.names[key(from)] = notes.from
        else
            -- On a link whose ends cannot be told apart nobody has a name.
            local names = from ~= to and seen.names or {}
            notes.from = names[key(from)] or (way.is_inner and from or brief(way.src))
            notes.to = names[key(to)] or (way.is_inner and to or "neighbour")
        end
        notes.from_end, notes.to_end = from, to
    end
end

-- Joins a response to its request. Ids are those of a session between neighbours, or of the member
-- that asks.
function Context:exchange(tree, m, way, notes)
    local op, id = m.opcode, m.invoke_id
    if self.first and op and OPS[op] then
        local link = self:link()
        if op == 0 then seen.sessions[link] = (seen.sessions[link] or 0) + 1 end
        local is_answer = op % 2 == 1
        local asker = is_answer and notes.to_end or notes.from_end
        local session = way.is_inner and "*" or (seen.sessions[link] or 0)
        local key = table.concat({link, session, asker, brief(id or 0), op - op % 2}, " ")
        local pending = seen.pending[key]
        local now = self.pinfo.rel_ts
        if is_answer and pending then
            notes.request, notes.time = pending.frame, now - pending.time
            pending.notes.response = self.pinfo.number
            notes.asked = pending.notes
        elseif is_answer then
            notes.is_unasked = true
        elseif (id or 0) ~= 0 then
            local is_open = pending and not pending.notes.response and pending.notes ~= notes
            local since = is_open and now - pending.time
            if is_open and since >= 0 and since < REPEAT_WITHIN_S then
                notes.again = pending.frame
            else
                seen.pending[key] = {frame = self.pinfo.number, time = now, notes = notes}
            end
        end
    end
    if notes.request then
        generated(tree, GEN.request, notes.request)
        local seconds = math.floor(notes.time)
        generated(tree, GEN.time,
                  NSTime.new(seconds, math.floor((notes.time - seconds) * 1e9 + 0.5)))
    end
    if notes.response then generated(tree, GEN.response, notes.response) end
    if notes.again then
        generated(tree, GEN.again, notes.again):add_proto_expert_info(E.repeated)
    end
    if notes.is_unasked then tree:add_proto_expert_info(E.unasked) end
end

-- Which flow a message of the flow allocators is about.
function Context:about_flow(tree, m, way, notes, o, delimiting)
    if self.first then
        local link = self:link()
        local function port(address, number)
            return link .. " " .. brief(address) .. "/" .. brief(number)
        end
        local connection = o and o.connections and o.connections[1]
        if m.opcode == 5 and connection and (m.result or 0) == 0 then
            local flow = {
                name = flow_name(way.dst, connection.src_cep or 0, way.src,
                                 connection.dst_cep or 0),
                applications = OBJECTS.FlowRequest(o), delimiting = delimiting,
            }
            seen.flows[link .. " " .. flow.name] = flow
            seen.ports[port(way.dst, o.src_port or 0)] = flow
            seen.ports[port(way.src, o.dst_port or 0)] = flow
            notes.flow = flow
            if notes.asked then notes.asked.flow = flow end
        elseif m.opcode ~= 4 then
            local number = (m.name or ""):match("/(%d+)$")
            local owner = m.opcode and m.opcode % 2 == 1 and way.src or way.dst
            notes.flow = number and seen.ports[port(owner, number)]
        end
    end
    if notes.flow then
        generated(tree, GEN.flow, notes.flow.name)
        if not o then generated(tree, GEN.applications, notes.flow.applications) end
    end
end

-- Members and the widths that the DIF has, for what comes later on this link.
function Context:learn(m, o)
    if not self.first then return end
    local link = self:link()
    for _, n in ipairs(o.candidates or {}) do
        seen.names[link .. " @" .. brief(n.address or 0)] =
            joined(n.ap_name or "", n.ap_instance or "")
    end
    local format = o.constants and S.format_of(o.constants)
    if format then seen.formats[link] = format end
end

-- ---- CDAP messages ----------------------------------------------------------------------------

local CDAP = field(rina, "none", "rina.cdap", "CDAP")

local function ops(text)
    local set = {}
    for op in text:gmatch("%d+") do set[tonumber(op)] = true end
    return set
end
local function but(set)
    local rest = {}
    for op in pairs(OPS) do rest[op] = not set[op] end
    return rest
end
local NEVER, CONNECT, CLOSING = {}, ops "0 1", ops "0 1 2 3 10 11"
-- What rlite asks of a message beyond its grammar (the validation table of its cdap.cpp): the
-- operations that must have a field, and those that may not.
local RULES = {
    {"abs_syntax", CONNECT, but(CONNECT)}, {"auth_mech", NEVER, but(CONNECT)},
    {"auth", NEVER, but(CONNECT)}, {"src_ap_name", CONNECT, but(CONNECT)},
    {"dest_ap_name", CONNECT, but(CONNECT)}, {"filter", NEVER, but(ops "6 8 12 14 16")},
    {"invoke_id", ops "0 1 3 5 7 9 10 11 13 15 17", NEVER}, {"class", NEVER, CLOSING},
    {"name", NEVER, CLOSING}, {"instance", NEVER, CLOSING},
    {"value", ops "12", ops "0 1 2 3 7 10 11"}, {"result", NEVER, but(ops "1 3 5 7 9 11 13 15 17")},
    {"reason", NEVER, but(ops "1 3 5 7 9 11 13 15 17")},
    {"scope", NEVER, but(ops "4 6 8 12 14 16")}, {"version", CONNECT, NEVER},
}

-- Not its default: rlite judges by the value.
local function is_there(value)
    if value == nil or value == 0 or value == "" then return false end
    if type(value) ~= "table" then return true end
    if value.at then return value.stop > value.at end
    for name, inner in pairs(value) do
        -- Of the alternatives of a value the default is a value too.
        if is_there(inner) or name ~= "name" and name ~= "password" and name ~= "other" then
            return true
        end
    end
    return false
end

local function check_rules(tree, m)
    local op = m.opcode
    if not op then return end
    if not OPS[op] then return tree:add_proto_expert_info(E.bad_type, "operation not known") end
    for _, rule in ipairs(RULES) do
        local there = is_there(m[rule[1]])
        if rule[2][op] and not there then
            tree:add_proto_expert_info(E.rule, OPS[op] .. " without " .. rule[1])
        elseif rule[3][op] and there then
            tree:add_proto_expert_info(E.rule, OPS[op] .. " must not have " .. rule[1])
        end
    end
    if is_there(m.class) ~= is_there(m.name) then
        tree:add_proto_expert_info(E.rule, "one of class and name without the other")
    end
end

-- The value of a message. Returns a line about it, and the object if it is one.
function Context:object(tree, m, way)
    local value = m.value or {}
    -- Settings: their class alone says little.
    if value.str then return brief(m.name or "") .. " = " .. brief(value.str) end
    local type = CLASSES[m.class or ""]
    if not value.bytes then
        if next(value) and (type or m.class == "digest") then
            tree:add_proto_expert_info(E.unexpected, "value of this class that is no object")
        end
        return ""
    end
    local bytes = value.bytes
    if m.class == "digest" then return self:digests(bytes) end
    if not type then
        bytes.item:add_proto_expert_info(E.unknown, "class not known, its value is not decoded")
        return ""
    end
    if type == "AData" and way.is_inner then
        bytes.item:add_proto_expert_info(E.unexpected, "A_DATA within A_DATA")
        return ""
    end
    local o = {}
    generated(bytes.item, OBJECT_ITEM, type)
    read_message(self, bytes.item, bytes.at, bytes.stop, messages[type], o)
    self:learn(m, o)
    return OBJECTS[type](o), o
end

-- A message from way.src to way.dst. Returns a line about it.
function Context:cdap(parent, at, stop, way)
    if stop <= at then
        parent:add_proto_expert_info(E.truncated, "CDAP message of no bytes")
        return "no message"
    end
    local tree = parent:add(CDAP, self:range(at, stop - at))
    local m, notes = {}, self:notes()
    if read_message(self, tree, at, stop, messages.CDAPMessage, m) then check_rules(tree, m) end
    self:parties(m, way, notes)
    self:exchange(tree, m, way, notes)
    local op = OPS[m.opcode] or "M_?"
    local about, o = self:object(tree, m, way)
    if m.class == "a_data" and o and o.cdap_msg then
        local inner = o.cdap_msg
        tree:append_text(": " .. op .. " a_data")
        return self:cdap(inner.item, inner.at, inner.stop,
                         {is_inner = true, src = o.src_addr or 0, dst = o.dst_addr or 0})
    end
    local delimiting = o and o.access_control and self:consent(o.access_control)
    if m.class == "flow" then self:about_flow(tree, m, way, notes, o, delimiting) end
    if m.auth and m.auth.other then about = self:authentication(m.auth.other) end
    generated(tree, GEN.from, notes.from)
    generated(tree, GEN.to, notes.to)
    return self:describe(tree, m, op, notes, about)
end

function Context:describe(tree, m, op, notes, about)
    local line = op
    if is_there(m.class) then line = line .. " " .. brief(m.class) end
    line = line .. " " .. notes.from .. " -> " .. notes.to
    if is_there(m.invoke_id) then line = line .. " #" .. brief(m.invoke_id) end
    if m.opcode and m.opcode % 2 == 1 then
        line = line .. " result " .. brief(m.result or 0)
        if is_there(m.result) then
            tree:add_proto_expert_info(E.failed, "result " .. brief(m.result))
            if is_there(m.reason) then line = line .. " (" .. brief(m.reason) .. ")" end
        end
    end
    if about ~= "" then line = line .. ": " .. about end
    tree:append_text(": " .. line)
    return line
end

S.flow_name, S.GEN = flow_name, GEN
