#include "rina/objects.hpp"

#include "rina/cdap_fields.hpp"

namespace sluice::rina {

using pb::Emit;
using pb::Like;

// Which fields rlite writes was observed on its nodes; the names are those of its BaseRIB.proto.

template <typename V, Like<AppName> T>
void describe(V& v, T& m) {
    v.message("APName");
    v.part(1, "ap_name", m.process, Emit::required);
    v.part(2, "ap_instance", m.instance, Emit::always);
    v.part(3, "ae_name", m.entity, Emit::always);
    v.part(4, "ae_instance", m.entity_instance, Emit::always);
}

template <typename V, Like<DataTransferConstants> T>
void describe(V& v, T& m) {
    v.message("DataTransferConstants");
    v.field(1, "max_pdu_size", m.pdu_bytes_max, Emit::always);
    v.field(2, "address_width", m.address_width, Emit::always);
    v.field(3, "port_id_width", m.port_id_width, Emit::always);
    v.field(4, "cep_id_width", m.cep_id_width, Emit::always);
    v.field(5, "qos_id_width", m.qos_id_width, Emit::always);
    v.field(6, "seq_num_width", m.sequence_width, Emit::always);
    v.field(7, "length_width", m.length_width, Emit::always);
    v.field(8, "seq_rollover_thresh", m.sequence_rollover_threshold, Emit::always);
    v.field(9, "max_pdu_lifetime", m.pdu_lifetime_ms_max, Emit::always);
    v.field(10, "concat", m.concatenation, Emit::always);
    v.field(11, "frag", m.fragmentation, Emit::always);
    v.field(12, "integrity", m.integrity, Emit::always);
    v.field(13, "max_rtx_time", m.retransmission_ms_max, Emit::always);
    v.field(14, "max_ack_delay", m.ack_delay_ms_max, Emit::always);
    v.field(15, "rate_width", m.rate_width);
    v.field(16, "frame_width", m.frame_width);
    v.field(17, "ctrl_seq_num_width", m.control_sequence_width, Emit::always);
}

template <typename V, Like<EnrollmentInfo> T>
void describe(V& v, T& m) {
    v.message("EnrollmentInfo");
    v.field(1, "address", m.address);
    v.field(2, "lower_difs", m.lower_difs);
    v.field(3, "start_early", m.start_early);
    v.field(4, "dt_constants", m.constants);
}

template <typename V, Like<NeighborCandidate> T>
void describe(V& v, T& m) {
    v.message("NeighborCandidate");
    v.part(1, "ap_name", m.process, Emit::always);
    v.part(2, "ap_instance", m.instance, Emit::always);
    v.field(3, "address", m.address, Emit::always);
    v.field(4, "lower_difs", m.lower_difs);
    v.field(60, "version", m.version);
}

template <typename V, Like<NeighborCandidateList> T>
void describe(V& v, T& m) {
    v.message("NeighborCandidateList");
    v.field(1, "candidates", m.candidates);
}

template <typename V, Like<LowerFlow> T>
void describe(V& v, T& m) {
    v.message("LowerFlow");
    v.field(1, "local_node", m.local_node, Emit::always);
    v.field(2, "remote_node", m.remote_node, Emit::always);
    v.field(3, "cost", m.cost, Emit::always);
    v.field(4, "seqnum", m.sequence, Emit::always);
    v.field(5, "state", m.is_up, Emit::always);
    v.field(6, "age", m.age_s, Emit::always);
}

template <typename V, Like<LowerFlowList> T>
void describe(V& v, T& m) {
    v.message("LowerFlowList");
    v.field(1, "flows", m.flows);
}

template <typename V, Like<DftEntry> T>
void describe(V& v, T& m) {
    v.message("DFTEntry");
    v.field(1, "appl_name", m.application, Emit::required);
    v.field(2, "ipcp_name", m.ipcp, Emit::required);
    v.field(3, "seqnum", m.sequence, Emit::always);
}

template <typename V, Like<DftSlice> T>
void describe(V& v, T& m) {
    v.message("DFTSlice");
    v.field(1, "entries", m.entries);
}

template <typename V, Like<AddrAllocRequest> T>
void describe(V& v, T& m) {
    v.message("AddrAllocRequest");
    v.field(1, "requestor", m.requestor, Emit::required);
    v.field(2, "address", m.address, Emit::required);
}

template <typename V, Like<AddrAllocEntries> T>
void describe(V& v, T& m) {
    v.message("AddrAllocEntries");
    v.field(1, "entries", m.entries);
}

template <typename V, Like<AData> T>
void describe(V& v, T& m) {
    v.message("AData");
    v.signed_id(1, "src_addr", m.source, Emit::always);
    v.signed_id(2, "dst_addr", m.destination, Emit::always);
    v.embedded(3, "cdap_msg", m.message, Emit::required);
}

template <typename V, Like<ConnId> T>
void describe(V& v, T& m) {
    v.message("ConnId");
    v.field(1, "qosid", m.qos, Emit::always);
    v.field(2, "src_cep", m.source_cep, Emit::always);
    v.field(3, "dst_cep", m.destination_cep, Emit::always);
}

template <typename V, Like<Property> T>
void describe(V& v, T& m) {
    v.message("Property");
    v.field(1, "name", m.name, Emit::required);
    v.field(2, "value", m.value, Emit::required);
}

template <typename V, Like<PolicyDescr> T>
void describe(V& v, T& m) {
    v.message("PolicyDescr");
    v.field(1, "name", m.name);
    v.field(2, "impl_name", m.implementation);
    v.field(3, "version", m.version);
    v.field(4, "parameters", m.parameters);
}

template <typename V, Like<QosSpec> T>
void describe(V& v, T& m) {
    v.message("QosSpec");
    v.field(1, "name", m.name);
    v.field(2, "qosid", m.qos_id);
    v.field(3, "avg_bw", m.average_bandwidth_bps, Emit::always);
    v.field(4, "avg_sdu_rate", m.average_sdu_rate);
    v.field(5, "peak_bw_duration", m.peak_bandwidth_duration);
    v.field(6, "peak_sdu_rate_duration", m.peak_sdu_rate_duration);
    v.field(7, "undetected_bit_error_rate", m.undetected_bit_error_rate);
    v.field(8, "partial_delivery", m.partial_delivery, Emit::always);
    v.field(9, "in_order_delivery", m.in_order_delivery, Emit::always);
    v.field(10, "max_sdu_gap", m.sdu_gap_max, Emit::always);
    v.field(11, "delay", m.delay);
    v.field(12, "jitter", m.jitter);
    v.field(13, "extra_parameters", m.parameters);
}

template <typename V, Like<WindowCfg> T>
void describe(V& v, T& m) {
    v.message("WindowBasedFlowCtrlConfig");
    v.field(1, "max_cwq_len", m.closed_window_queue_max, Emit::always);
    v.field(2, "initial_credit", m.initial_credit, Emit::always);
    v.field(3, "rcvr_flow_ctrl", m.receiver_flow_control);
    v.field(4, "tx_ctrl", m.tx_control);
}

template <typename V, Like<RateCfg> T>
void describe(V& v, T& m) {
    v.message("RateBasedFlowCtrlConfig");
    v.field(1, "sender_rate", m.sender_rate, Emit::always);
    v.field(2, "time_period", m.period_us, Emit::always);
    v.field(3, "no_rate_slow_down", m.no_rate_slow_down);
    v.field(4, "no_override_default_peak", m.no_override_default_peak);
    v.field(5, "rate_reduction", m.rate_reduction);
}

template <typename V, Like<FlowCtrlConfig> T>
void describe(V& v, T& m) {
    v.message("FlowCtrlConfig");
    v.field(1, "window_based", m.window_based, Emit::always);
    v.field(2, "window_based_config", m.window);
    v.field(3, "rate_based", m.rate_based, Emit::always);
    v.field(4, "rate_based_config", m.rate);
    v.field(5, "send_bytes_th", m.sent_bytes_threshold);
    v.field(6, "sent_bytes_perc_th", m.sent_bytes_percent_threshold);
    v.field(7, "sent_buffers_th", m.sent_buffers_threshold);
    v.field(8, "rcv_bytes_th", m.received_bytes_threshold);
    v.field(9, "rcv_bytes_perc_th", m.received_bytes_percent_threshold);
    v.field(10, "rcv_buffers_th", m.received_buffers_threshold);
    v.field(11, "closed_win", m.closed_window);
    v.field(12, "flow_ctrl_overrun", m.overrun);
    v.field(13, "reconcile_flow_ctrl", m.reconcile);
    v.field(14, "receiving_flow_ctrl", m.receiving);
}

template <typename V, Like<RtxCtrlConfig> T>
void describe(V& v, T& m) {
    v.message("RtxCtrlConfig");
    v.field(1, "max_time_to_retry", m.time_to_retry_max, Emit::always);
    v.field(2, "data_rxmsn_max", m.data_rxmsn_max, Emit::always);
    v.field(3, "rtx_timer_expiry", m.timer_expiry);
    v.field(4, "sender_ack", m.sender_ack);
    v.field(5, "receiving_ack_list", m.receiving_ack_list);
    v.field(6, "rcvr_ack", m.receiver_ack);
    v.field(7, "sending_ack", m.sending_ack);
    v.field(8, "rcvr_ctrl_ack", m.receiver_control_ack);
    v.field(9, "initial_rtx_timeout", m.initial_timeout_ms, Emit::always);
}

template <typename V, Like<DtcpConfig> T>
void describe(V& v, T& m) {
    v.message("DtcpConfig");
    v.field(1, "flow_ctrl", m.flow_control, Emit::always);
    v.field(2, "flow_ctrl_cfg", m.flow, Emit::always);
    v.field(3, "rtx_ctrl", m.retransmission_control, Emit::always);
    v.field(4, "rtx_ctrl_cfg", m.retransmission, Emit::always);
    v.field(5, "lost_ctrl_pdu", m.lost_control_pdu);
    v.field(6, "rtt_estimator", m.rtt_estimator);
}

template <typename V, Like<ConnPolicies> T>
void describe(V& v, T& m) {
    v.message("ConnPolicies");
    v.field(1, "dtcp_present", m.dtcp_present, Emit::always);
    v.field(2, "dtcp_cfg", m.dtcp, Emit::always);
    v.field(3, "rcvr_timer_inact", m.receiver_inactivity);
    v.field(4, "sender_timer_inact", m.sender_inactivity);
    v.field(5, "init_seq_num", m.initial_sequence);
    v.field(6, "seq_num_rollover_th", m.sequence_rollover_threshold);
    v.field(7, "initial_a_timer", m.initial_a_timer_ms, Emit::always);
}

template <typename V, Like<FlowRequest> T>
void describe(V& v, T& m) {
    v.message("FlowRequest");
    v.field(1, "src_app", m.source_application, Emit::required);
    v.field(2, "dst_app", m.destination_application, Emit::required);
    v.field(3, "src_port", m.source_port, Emit::required);
    v.field(4, "dst_port", m.destination_port, Emit::always);
    v.field(5, "src_ipcp", m.source_ipcp, Emit::required);
    v.field(6, "dst_ipcp", m.destination_ipcp, Emit::required);
    v.field(7, "connections", m.connections);
    v.field(8, "cur_conn_idx", m.current_connection, Emit::always);
    v.field(9, "state", m.state, Emit::always);
    v.field(10, "qos", m.qos, Emit::always);
    v.field(11, "policies", m.policies, Emit::always);
    v.field(12, "access_control", m.access_control);
    v.field(13, "max_create_flow_retries", m.create_retries_max, Emit::always);
    v.field(14, "create_flow_retries", m.create_retries, Emit::always);
    v.field(15, "hop_cnt", m.hop_count, Emit::always);
}

DataTransferConstants rlite_constants() {
    DataTransferConstants c;
    c.pdu_bytes_max = 65536;
    c.address_width = 4;
    c.port_id_width = 2;
    c.cep_id_width = 2;
    c.qos_id_width = 2;
    c.sequence_width = 4;
    c.length_width = 2;
    c.sequence_rollover_threshold = 0xffff'ffff'8000'0000;
    c.pdu_lifetime_ms_max = 4000;
    c.retransmission_ms_max = 1000;
    c.ack_delay_ms_max = 200;
    c.control_sequence_width = 4;
    return c;
}

template <ObjectType T>
Result<T> decode(std::span<const std::byte> bytes) {
    return pb::decode<T>(bytes);
}
template <ObjectType T>
Bytes encode(const T& object, Emission emission) {
    return pb::encode(object, emission);
}
template <ObjectType T>
std::size_t encode(const T& object, std::span<std::byte> to, Emission emission) noexcept {
    return pb::encode(object, to, emission);
}

#define SLUICE_RINA_OBJECT(T)                                                      \
    template Result<T> decode<T>(std::span<const std::byte>);                      \
    template Bytes encode<T>(const T&, Emission);                                  \
    template std::size_t encode<T>(const T&, std::span<std::byte>, Emission) noexcept
SLUICE_RINA_OBJECT(AppName);
SLUICE_RINA_OBJECT(DataTransferConstants);
SLUICE_RINA_OBJECT(EnrollmentInfo);
SLUICE_RINA_OBJECT(NeighborCandidate);
SLUICE_RINA_OBJECT(NeighborCandidateList);
SLUICE_RINA_OBJECT(LowerFlow);
SLUICE_RINA_OBJECT(LowerFlowList);
SLUICE_RINA_OBJECT(DftEntry);
SLUICE_RINA_OBJECT(DftSlice);
SLUICE_RINA_OBJECT(AddrAllocRequest);
SLUICE_RINA_OBJECT(AddrAllocEntries);
SLUICE_RINA_OBJECT(AData);
SLUICE_RINA_OBJECT(ConnId);
SLUICE_RINA_OBJECT(Property);
SLUICE_RINA_OBJECT(PolicyDescr);
SLUICE_RINA_OBJECT(QosSpec);
SLUICE_RINA_OBJECT(WindowCfg);
SLUICE_RINA_OBJECT(RateCfg);
SLUICE_RINA_OBJECT(FlowCtrlConfig);
SLUICE_RINA_OBJECT(RtxCtrlConfig);
SLUICE_RINA_OBJECT(DtcpConfig);
SLUICE_RINA_OBJECT(ConnPolicies);
SLUICE_RINA_OBJECT(FlowRequest);
#undef SLUICE_RINA_OBJECT

namespace {

template <ObjectType T>
Result<RibObject> as(std::span<const std::byte> bytes) {
    SLUICE_TRY(T object, decode<T>(bytes));
    return RibObject{std::move(object)};
}

struct Class {
    std::string_view obj_class;
    Result<RibObject> (*decode)(std::span<const std::byte>);
};
constexpr Class kClasses[] = {
    {rib::kEnrollment.obj_class, as<EnrollmentInfo>},
    {rib::kNeighbors.obj_class, as<NeighborCandidateList>},
    {rib::kRouting.obj_class, as<LowerFlowList>},
    {rib::kDft.obj_class, as<DftSlice>},
    {rib::kAddressClaim.obj_class, as<AddrAllocRequest>},
    {rib::kAddresses.obj_class, as<AddrAllocEntries>},
    {rib::kFlow.obj_class, as<FlowRequest>},
    {rib::kAData.obj_class, as<AData>},
};

}  // namespace

Result<RibObject> object_of(const CdapMessage& message) {
    if (message.value.index() == 0) return RibObject{};
    for (const Class& c : kClasses) {
        if (c.obj_class != message.obj_class) continue;
        if (const auto* bytes = std::get_if<Bytes>(&message.value)) return c.decode(*bytes);
        return fail(EBADMSG, "{} of class {} with a value that is no object",
                    to_string(message.op), message.obj_class);
    }
    return RibObject{};
}

ObjValue value_of(const RibObject& object, Emission emission) {
    return std::visit(
        [emission](const auto& o) -> ObjValue {
            if constexpr (std::same_as<std::decay_t<decltype(o)>, std::monostate>)
                return {};
            else
                return encode(o, emission);
        },
        object);
}

}  // namespace sluice::rina
