-- The messages of CDAP, the objects of RIBs, and what they look like in a line of text. The names
-- are those of rlite's CDAP.proto and BaseRIB.proto. Loaded by sluice.lua.
local S = ...
if not S then return end
local E, Context, field, rina, message = S.E, S.Context, S.field, S.rina, S.message
local brief, UNDECODED = S.brief, S.UNDECODED
local byte = string.byte

local OPS = {
    [0] = "M_CONNECT", "M_CONNECT_R", "M_RELEASE", "M_RELEASE_R", "M_CREATE", "M_CREATE_R",
    "M_DELETE", "M_DELETE_R", "M_READ", "M_READ_R", "M_CANCELREAD", "M_CANCELREAD_R", "M_WRITE",
    "M_WRITE_R", "M_START", "M_START_R", "M_STOP", "M_STOP_R",
}

message("ObjValue", "value", {
    {1, "i32", "int"}, {2, "s32", "sint"}, {3, "i64", "int64"}, {4, "s64", "sint64"},
    {5, "str", "str"}, {6, "bytes", "bytes"}, {7, "float", "float"}, {8, "double", "double"},
    {9, "bool", "bool"},
})
message("AuthValue", "auth", {{1, "str", "name"}, {2, "str", "password"}, {3, "bytes", "other"}})
local function part(number, name) return {number, "str", name, is_part = true} end
message("CDAPMessage", "cdap", {
    {1, "i32", "abs_syntax"}, {2, "u32!", "opcode", values = OPS}, {3, "i32", "invoke_id"},
    {4, "u32", "flags", values = {[0] = "none", "sync", "read incomplete"}},
    {5, "str", "class", abbrev = "rina.obj.class"}, {6, "str", "name", abbrev = "rina.obj.name"},
    {7, "i64", "instance", abbrev = "rina.obj.instance"},
    {8, "ObjValue", "value", abbrev = "rina.obj.value"}, {9, "i32", "result"}, {10, "i32", "scope"},
    {11, "bytes", "filter"},
    {17, "u32", "auth_mech", values = {[0] = "none", "password", "SSH RSA", "SSH DSA"}},
    {18, "AuthValue", "auth"},
    part(19, "dest_ae_inst"), part(20, "dest_ae_name"), part(21, "dest_ap_inst"),
    part(22, "dest_ap_name"), part(23, "src_ae_inst"), part(24, "src_ae_name"),
    part(25, "src_ap_inst"), part(26, "src_ap_name"), {27, "str", "reason"}, {28, "i64", "version"},
})

-- ---- objects ----------------------------------------------------------------------------------

message("APName", "app", {
    {1, "str!", "ap_name", is_part = true}, part(2, "ap_instance"), part(3, "ae_name"),
    part(4, "ae_instance"),
})
message("DataTransferConstants", "constants", {
    {1, "u32", "max_pdu_size"}, {2, "u32", "address_width"}, {3, "u32", "port_id_width"},
    {4, "u32", "cep_id_width"}, {5, "u32", "qos_id_width"}, {6, "u32", "seq_num_width"},
    {7, "u32", "length_width"}, {8, "x64", "seq_rollover_thresh"}, {9, "u32", "max_pdu_lifetime"},
    {10, "bool", "concat"}, {11, "bool", "frag"}, {12, "bool", "integrity"},
    {13, "u32", "max_rtx_time"}, {14, "u32", "max_ack_delay"}, {15, "u32", "rate_width"},
    {16, "u32", "frame_width"}, {17, "u32", "ctrl_seq_num_width"},
})
message("EnrollmentInfo", "enrollment", {
    {1, "u64", "address"}, {2, "str*", "lower_difs"}, {3, "bool", "start_early"},
    {4, "DataTransferConstants", "constants"},
})
message("NeighborCandidate", "neighbor", {
    part(1, "ap_name"), part(2, "ap_instance"), {3, "u64", "address"}, {4, "str*", "lower_difs"},
    {60, "x64", "version"},
})
message("NeighborCandidateList", "neighbors", {{1, "NeighborCandidate*", "candidates"}})
message("LowerFlow", "link", {
    {1, "str", "local_node"}, {2, "str", "remote_node"}, {3, "u32", "cost"}, {4, "u32", "seqnum"},
    {5, "bool", "state"}, {6, "u32", "age"},
})
message("LowerFlowList", "links", {{1, "LowerFlow*", "flows"}})
message("DFTEntry", "dft", {
    {1, "APName!", "application"}, {2, "str!", "ipcp"}, {3, "u64", "seqnum"},
})
message("DFTSlice", "dfts", {{1, "DFTEntry*", "entries"}})
message("AddrAllocRequest", "address", {{1, "str!", "requestor"}, {2, "u64!", "address"}})
message("AddrAllocEntries", "addresses", {{1, "AddrAllocRequest*", "entries"}})
message("AData", "a_data", {
    {1, "address", "src_addr"}, {2, "address", "dst_addr"}, {3, "bytes!", "cdap_msg"},
})
message("ConnId", "connection", {{1, "u32", "qos"}, {2, "u32", "src_cep"}, {3, "u32", "dst_cep"}})
message("Property", "property", {{1, "str!", "name"}, {2, "str!", "value"}})
message("PolicyDescr", "policy", {
    {1, "str", "name"}, {2, "str", "impl_name"}, {3, "str", "version"},
    {4, "Property*", "parameters"},
})
message("QosSpec", "qos", {
    {1, "str", "name"}, {2, "u32", "id"}, {3, "u64", "avg_bw"}, {4, "u64", "avg_sdu_rate"},
    {5, "u32", "peak_bw_duration"}, {6, "u32", "peak_sdu_rate_duration"},
    {7, "double", "undetected_bit_error_rate"}, {8, "bool", "partial_delivery"},
    {9, "bool", "in_order_delivery"}, {10, "i32", "max_sdu_gap"}, {11, "u32", "delay"},
    {12, "u32", "jitter"}, {13, "Property*", "extra_parameters"},
})
message("WindowBasedFlowCtrlConfig", "window", {
    {1, "u64", "max_cwq_len"}, {2, "u64", "initial_credit"}, {3, "PolicyDescr", "rcvr_flow_ctrl"},
    {4, "PolicyDescr", "tx_ctrl"},
})
message("RateBasedFlowCtrlConfig", "rate", {
    {1, "u64", "sender_rate"}, {2, "u64", "time_period"}, {3, "PolicyDescr", "no_rate_slow_down"},
    {4, "PolicyDescr", "no_override_default_peak"}, {5, "PolicyDescr", "rate_reduction"},
})
message("FlowCtrlConfig", "flow_ctrl", {
    {1, "bool", "window_based"}, {2, "WindowBasedFlowCtrlConfig", "window"},
    {3, "bool", "rate_based"}, {4, "RateBasedFlowCtrlConfig", "rate"},
    {5, "u64", "send_bytes_th"}, {6, "u64", "sent_bytes_perc_th"}, {7, "u64", "sent_buffers_th"},
    {8, "u64", "rcv_bytes_th"}, {9, "u64", "rcv_bytes_perc_th"}, {10, "u64", "rcv_buffers_th"},
    {11, "PolicyDescr", "closed_win"}, {12, "PolicyDescr", "flow_ctrl_overrun"},
    {13, "PolicyDescr", "reconcile_flow_ctrl"}, {14, "PolicyDescr", "receiving_flow_ctrl"},
})
message("RtxCtrlConfig", "rtx_ctrl", {
    {1, "u32", "max_time_to_retry"}, {2, "u32", "data_rxmsn_max"},
    {3, "PolicyDescr", "rtx_timer_expiry"}, {4, "PolicyDescr", "sender_ack"},
    {5, "PolicyDescr", "receiving_ack_list"}, {6, "PolicyDescr", "rcvr_ack"},
    {7, "PolicyDescr", "sending_ack"}, {8, "PolicyDescr", "rcvr_ctrl_ack"},
    {9, "u32", "initial_rtx_timeout"},
})
message("DtcpConfig", "dtcp", {
    {1, "bool", "flow_ctrl"}, {2, "FlowCtrlConfig", "flow_ctrl_cfg"}, {3, "bool", "rtx_ctrl"},
    {4, "RtxCtrlConfig", "rtx_ctrl_cfg"}, {5, "PolicyDescr", "lost_ctrl_pdu"},
    {6, "PolicyDescr", "rtt_estimator"},
})
message("ConnPolicies", "policies", {
    {1, "bool", "dtcp_present"}, {2, "DtcpConfig", "dtcp_cfg"},
    {3, "PolicyDescr", "rcvr_timer_inact"}, {4, "PolicyDescr", "sender_timer_inact"},
    {5, "PolicyDescr", "init_seq_num"}, {6, "u64", "seq_num_rollover_th"},
    {7, "u32", "initial_a_timer"},
})
message("FlowRequest", "flow_request", {
    {1, "APName!", "src_app"}, {2, "APName!", "dst_app"}, {3, "u64!", "src_port"},
    {4, "u64", "dst_port"}, {5, "str!", "src_ipcp"}, {6, "str!", "dst_ipcp"},
    {7, "ConnId*", "connections"}, {8, "u32", "cur_conn_idx"}, {9, "u32", "state"},
    {10, "QosSpec", "qos"}, {11, "ConnPolicies", "policies"}, {12, "bytes", "access_control"},
    {13, "u32", "max_create_flow_retries"}, {14, "u32", "create_flow_retries"},
    {15, "u32", "hop_cnt"},
})

-- Extensions in fields of bytes that rlite neither writes nor reads.
local EXT = {
    item = field(rina, "none", "rina.consent", "What is agreed on beyond rlite"),
    magic = field(rina, "string", "rina.consent.magic", "Magic"),
    version = field(rina, "uint8", "rina.consent.version", "Version"),
    features = field(rina, "uint16", "rina.consent.features", "Features", base.HEX),
    sack = field(rina, "bool", "rina.consent.sack", "Selective acknowledgement", 16, nil, 1),
    large = field(rina, "bool", "rina.consent.large_windows", "Large windows", 16, nil, 2),
    delimiting = field(rina, "bool", "rina.consent.delimiting", "Delimiting", 16, nil, 4),
    ecn = field(rina, "bool", "rina.consent.ecn", "ECN", 16, nil, 8),
    estimate = field(rina, "bool", "rina.consent.rate_estimate", "Rate estimate", 16, nil, 16),
    credit = field(rina, "uint32", "rina.consent.credit", "Credit"),
    qos = field(rina, "uint16", "rina.consent.qos", "QoS-id of the cube"),
    nonce = field(rina, "uint64", "rina.consent.nonce", "Nonce", base.HEX),
    proof = field(rina, "uint64", "rina.consent.proof", "Proof", base.HEX),
    delay = field(rina, "uint32", "rina.consent.delay", "Delay (us)"),
    jitter = field(rina, "uint32", "rina.consent.jitter", "Jitter (us)"),
    loss = field(rina, "uint16", "rina.consent.loss", "Loss (1/10000)"),
    reserved = field(rina, "bytes", "rina.reserved", "Reserved"),
    digest = field(rina, "none", "rina.digest", "Digests of the replicated tables"),
    digest_magic = field(rina, "string", "rina.digest.magic", "Magic"),
    tables = {
        field(rina, "uint64", "rina.digest.members", "Members", base.HEX),
        field(rina, "uint64", "rina.digest.links", "Links", base.HEX),
        field(rina, "uint64", "rina.digest.directory", "Directory", base.HEX),
        field(rina, "uint64", "rina.digest.addresses", "Addresses", base.HEX),
    },
    auth = field(rina, "none", "rina.proof", "Authentication"),
    auth_version = field(rina, "uint8", "rina.proof.version", "Version"),
    auth_kind = field(rina, "uint8", "rina.proof.kind", "Kind", base.DEC,
                      {"hello", "challenge", "proof", "confirmation"}),
    auth_mechanism = field(rina, "uint8", "rina.proof.mechanism", "Mechanism", base.DEC,
                           {"password", "pre-shared key"}),
    nonces = {field(rina, "bytes", "rina.proof.initiator_nonce", "Nonce of the initiator"),
              field(rina, "bytes", "rina.proof.responder_nonce", "Nonce of the responder"),
              field(rina, "bytes", "rina.proof.tag", "Proof")},
}

local CONSENT_BYTES = 36
-- True if both ends agreed on delimiting.
function Context:consent(value)
    local at, bytes = value.at, value.stop - value.at
    local magic = self.raw:sub(at + 1, at + 4)
    if magic ~= "SLFO" and magic ~= "SLFA" then return false end
    local tree = value.item:add(EXT.item, self:range(at, bytes))
    if bytes < CONSENT_BYTES then
        tree:add_proto_expert_info(E.bad_length, "36 bytes or more are expected")
        return false
    end
    local is_offer = magic == "SLFO"
    tree:append_text(is_offer and ": offer" or ": answer")
    tree:add(EXT.magic, self:range(at, 4))
    tree:add(EXT.version, self:range(at + 4, 1))
    tree:add(EXT.reserved, self:range(at + 5, 1))
    local features = tree:add_le(EXT.features, self:range(at + 6, 2))
    for _, bit_field in ipairs{EXT.sack, EXT.large, EXT.delimiting, EXT.ecn, EXT.estimate} do
        features:add_le(bit_field, self:range(at + 6, 2))
    end
    tree:add_le(EXT.credit, self:range(at + 8, 4))
    tree:add_le(EXT.qos, self:range(at + 12, 2))
    tree:add(EXT.reserved, self:range(at + 14, 2))
    tree:add_le(is_offer and EXT.nonce or EXT.proof, self:range(at + 16, 8))
    tree:add_le(EXT.delay, self:range(at + 24, 4))
    tree:add_le(EXT.jitter, self:range(at + 28, 4))
    tree:add_le(EXT.loss, self:range(at + 32, 2))
    tree:add(EXT.reserved, self:range(at + 34, 2))
    if bytes > CONSENT_BYTES then
        tree:add(UNDECODED, self:range(at + CONSENT_BYTES, bytes - CONSENT_BYTES))
            :add_proto_expert_info(E.unknown, "of a later version")
    end
    return not is_offer and math.floor(self:number(at + 6, 2) / 4) % 2 == 1
end

function Context:digests(value)
    local at, bytes = value.at, value.stop - value.at
    local tree = bytes > 0 and value.item:add(EXT.digest, self:range(at, bytes)) or value.item
    if bytes < 36 or self.raw:sub(at + 1, at + 4) ~= "SLD1" then
        tree:add_proto_expert_info(E.bad_length, "SLD1 and 32 bytes are expected")
        return "not understood"
    end
    tree:add(EXT.digest_magic, self:range(at, 4))
    for i, item in ipairs(EXT.tables) do tree:add_le(item, self:range(at + 8 * i - 4, 8)) end
    if bytes > 36 then
        tree:add(UNDECODED, self:range(at + 36, bytes - 36))
            :add_proto_expert_info(E.unknown, "of a later version")
    end
    return "of four tables"
end

local AUTH_KINDS = {{"hello", 36}, {"challenge", 68}, {"proof", 100}, {"confirmation", 100}}
function Context:authentication(value)
    local at, bytes = value.at, value.stop - value.at
    if bytes < 4 or byte(self.raw, at + 1) ~= 1 then
        value.item:add_proto_expert_info(E.unknown, "authentication of another format")
        return "authentication"
    end
    local tree = value.item:add(EXT.auth, self:range(at, bytes))
    local kind = AUTH_KINDS[byte(self.raw, at + 2)]
    tree:add(EXT.auth_version, self:range(at, 1))
    tree:add(EXT.auth_kind, self:range(at + 1, 1))
    tree:add(EXT.auth_mechanism, self:range(at + 2, 1))
    tree:add(EXT.reserved, self:range(at + 3, 1))
    if not kind or kind[2] ~= bytes then
        if bytes > 4 then tree:add(UNDECODED, self:range(at + 4, bytes - 4)) end
        tree:add_proto_expert_info(kind and E.bad_length or E.bad_type,
                                   kind and "not as long as its kind says" or "kind not known")
        return "authentication"
    end
    for i = 1, math.floor(bytes / 32) do
        tree:add(EXT.nonces[i], self:range(at + 32 * i - 28, 32))
    end
    return kind[1]
end

-- "process|instance|entity|entity instance" without empty parts at the end.
local function joined(...)
    local text = table.concat({...}, "|")
    return brief((text:gsub("|+$", "")))
end
local function application(app)
    return joined(app.ap_name or "", app.ap_instance or "", app.ae_name or "",
                  app.ae_instance or "")
end

-- The first few of a list.
local function listed(list, show)
    local shown = {}
    for i, entry in ipairs(list or {}) do
        if i > 3 then
            table.insert(shown, string.format("... (%d)", #list))
            break
        end
        table.insert(shown, show(entry))
    end
    return table.concat(shown, ", ")
end

local function neighbor(n)
    return joined(n.ap_name or "", n.ap_instance or "") .. "=" .. brief(n.address or 0)
end
local function claim(r) return brief(r.address or 0) .. " by " .. brief(r.requestor or "?") end

-- What objects look like in a line of text.
local OBJECTS = {
    EnrollmentInfo = function(o)
        local said = {}
        if o.address then table.insert(said, "address " .. brief(o.address)) end
        if o.lower_difs then table.insert(said, "over " .. listed(o.lower_difs, brief)) end
        if o.constants then table.insert(said, "with constants") end
        if o.start_early then table.insert(said, "start early") end
        return table.concat(said, ", ")
    end,
    NeighborCandidateList = function(o) return listed(o.candidates, neighbor) end,
    LowerFlowList = function(o)
        return listed(o.flows, function(l)
            return brief(l.local_node or "") .. ">" .. brief(l.remote_node or "")
        end)
    end,
    DFTSlice = function(o)
        return listed(o.entries, function(e)
            return application(e.application or {}) .. " at " .. brief(e.ipcp or "?")
        end)
    end,
    AddrAllocRequest = claim,
    AddrAllocEntries = function(o) return listed(o.entries, claim) end,
    FlowRequest = function(o)
        return application(o.src_app or {}) .. " -> " .. application(o.dst_app or {})
    end,
    AData = function() return "" end,
}
local CLASSES = {
    enrollment = "EnrollmentInfo", neigh_entries = "NeighborCandidateList",
    lfdb_entries = "LowerFlowList", dft_entries = "DFTSlice", aareq = "AddrAllocRequest",
    aa_entries = "AddrAllocEntries", flow = "FlowRequest", a_data = "AData",
}
-- Fields that say what an object adds to the tree of a message.
local OBJECT_ITEM = field(rina, "string", "rina.obj.type", "Object")

S.OPS, S.OBJECTS, S.CLASSES, S.OBJECT_ITEM, S.joined = OPS, OBJECTS, CLASSES, OBJECT_ITEM, joined
