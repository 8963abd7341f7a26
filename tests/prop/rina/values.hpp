#pragma once

#include <rapidcheck.h>

#include <string>
#include <utility>
#include <vector>

#include "rina/cdap.hpp"
#include "rina/objects.hpp"
#include "rina/rlite_name.hpp"

// Any value of every message and object, within what their fields can carry.
namespace sluice::rina::prop {

inline std::string any_text() {
    return *rc::gen::resize(20, rc::gen::suchThat(rc::gen::arbitrary<std::string>(),
                                                  [](const std::string& s) {
                                                      return !has_control_character(s);
                                                  }));
}
inline std::string any_part() {
    std::string text = any_text();
    std::erase(text, '|');
    // What is left of a pair may have become a control character in UTF-8.
    return is_name_part(text) ? text : std::string("part");
}

template <typename T>
T any();

template <typename T>
std::vector<T> any_list() {
    std::vector<T> list(*rc::gen::inRange<std::size_t>(0, 4));
    for (T& element : list) element = any<T>();
    return list;
}
template <typename T>
T any_number() {
    // Small ones and ones near a power of two, where the wire's lengths change.
    const auto shift = *rc::gen::inRange<unsigned>(0, 8 * sizeof(T));
    const std::uint64_t v = (std::uint64_t{1} << shift) + *rc::gen::inRange<unsigned>(0, 3);
    return *rc::gen::element(T{0}, static_cast<T>(v - 2), static_cast<T>(v),
                             *rc::gen::arbitrary<T>());
}
inline bool any_bool() { return *rc::gen::arbitrary<bool>(); }
template <typename T>
std::optional<T> any_optional() {
    return any_bool() ? std::optional<T>(any<T>()) : std::nullopt;
}
template <typename T>
Boxed<T> any_boxed() {
    return *rc::gen::inRange(0, 8) == 0 ? Boxed<T>(any<T>()) : Boxed<T>();
}
inline Bytes any_bytes() {
    Bytes bytes;
    for (const std::uint8_t b : *rc::gen::arbitrary<std::vector<std::uint8_t>>())
        bytes.push_back(static_cast<std::byte>(b));
    return bytes;
}

// Fills in whatever the function names.
template <typename... Ts>
void fill(Ts&... values) {
    ((values = any<Ts>()), ...);
}

template <>
inline bool any() { return any_bool(); }
template <>
inline std::uint32_t any() { return any_number<std::uint32_t>(); }
template <>
inline std::int32_t any() { return any_number<std::int32_t>(); }
template <>
inline std::uint64_t any() { return any_number<std::uint64_t>(); }
template <>
inline std::int64_t any() { return any_number<std::int64_t>(); }
template <>
inline double any() { return static_cast<double>(*rc::gen::arbitrary<std::int32_t>()) / 8; }
template <>
inline std::string any() { return any_text(); }
template <>
inline Bytes any() { return any_bytes(); }
template <>
inline Address any() { return Address{any<std::uint64_t>()}; }
template <>
inline CepId any() { return CepId{any<std::uint32_t>()}; }
template <>
inline QosId any() { return QosId{any_number<std::uint16_t>()}; }

template <>
inline AppName any() {
    AppName name{any_part(), any_part(), any_part(), any_part()};
    return name;
}
template <>
inline AuthValue any() {
    return {any_text(), any_text(), any_bytes()};
}
template <>
inline ObjValue any() {
    switch (*rc::gen::inRange(0, 10)) {
        case 1: return any<std::int32_t>();
        case 2: return SInt<std::int32_t>{any<std::int32_t>()};
        case 3: return any<std::int64_t>();
        case 4: return SInt<std::int64_t>{any<std::int64_t>()};
        case 5: return any_text();
        case 6: return any_bytes();
        case 7: return static_cast<float>(any<double>());
        case 8: return any<double>();
        case 9: return any_bool();
        default: return {};
    }
}
template <>
inline CdapMessage any() {
    CdapMessage m;
    fill(m.abs_syntax, m.invoke_id, m.obj_class, m.obj_name, m.obj_instance, m.value, m.result,
         m.scope, m.filter, m.auth, m.destination, m.source, m.reason, m.version);
    m.op = static_cast<OpCode>(*rc::gen::inRange<std::size_t>(0, kOpCodeCount));
    m.flags = static_cast<CdapFlags>(*rc::gen::inRange(0, 3));
    m.auth_mechanism = static_cast<AuthMechanism>(*rc::gen::inRange(0, 4));
    return m;
}

template <>
inline DataTransferConstants any() {
    DataTransferConstants c;
    fill(c.pdu_bytes_max, c.address_width, c.port_id_width, c.cep_id_width, c.qos_id_width,
         c.sequence_width, c.length_width, c.sequence_rollover_threshold, c.pdu_lifetime_ms_max,
         c.concatenation, c.fragmentation, c.integrity, c.retransmission_ms_max,
         c.ack_delay_ms_max, c.rate_width, c.frame_width, c.control_sequence_width);
    return c;
}
template <>
inline EnrollmentInfo any() {
    return {any_optional<Address>(), any_list<std::string>(), any_optional<bool>(),
            any_optional<DataTransferConstants>()};
}
template <>
inline NeighborCandidate any() {
    return {any_part(), any_part(), any<Address>(), any_list<std::string>()};
}
template <>
inline NeighborCandidateList any() { return {any_list<NeighborCandidate>()}; }
template <>
inline LowerFlow any() {
    LowerFlow f;
    fill(f.local_node, f.remote_node, f.cost, f.sequence, f.is_up, f.age_s);
    return f;
}
template <>
inline LowerFlowList any() { return {any_list<LowerFlow>()}; }
template <>
inline DftEntry any() { return {any<AppName>(), any_text(), any<std::uint64_t>()}; }
template <>
inline DftSlice any() { return {any_list<DftEntry>()}; }
template <>
inline AddrAllocRequest any() { return {any_text(), any<Address>()}; }
template <>
inline AddrAllocEntries any() { return {any_list<AddrAllocRequest>()}; }
template <>
inline AData any() {
    const auto address = [] {
        return Address{any<std::uint64_t>() % 0xffff'ffff'8000'0000};
    };
    return {address(), address(), any<CdapMessage>()};
}
template <>
inline ConnId any() { return {any<QosId>(), any<CepId>(), any<CepId>()}; }
template <>
inline Property any() { return {any_text(), any_text()}; }
template <>
inline PolicyDescr any() { return {any_text(), any_text(), any_text(), any_list<Property>()}; }
template <>
inline QosSpec any() {
    QosSpec q;
    fill(q.name, q.qos_id, q.average_bandwidth_bps, q.average_sdu_rate,
         q.peak_bandwidth_duration, q.peak_sdu_rate_duration, q.undetected_bit_error_rate,
         q.partial_delivery, q.in_order_delivery, q.sdu_gap_max, q.delay, q.jitter);
    q.parameters = any_list<Property>();
    return q;
}
template <>
inline Boxed<PolicyDescr> any() { return any_boxed<PolicyDescr>(); }
template <>
inline WindowCfg any() {
    WindowCfg w;
    fill(w.closed_window_queue_max, w.initial_credit, w.receiver_flow_control, w.tx_control);
    return w;
}
template <>
inline RateCfg any() {
    RateCfg r;
    fill(r.sender_rate, r.period_us, r.no_rate_slow_down, r.no_override_default_peak,
         r.rate_reduction);
    return r;
}
template <>
inline FlowCtrlConfig any() {
    FlowCtrlConfig f;
    fill(f.window_based, f.rate_based, f.sent_bytes_threshold, f.sent_bytes_percent_threshold,
         f.sent_buffers_threshold, f.received_bytes_threshold, f.received_bytes_percent_threshold,
         f.received_buffers_threshold, f.closed_window, f.overrun, f.reconcile, f.receiving);
    f.window = any_optional<WindowCfg>();
    f.rate = any_optional<RateCfg>();
    return f;
}
template <>
inline RtxCtrlConfig any() {
    RtxCtrlConfig r;
    fill(r.time_to_retry_max, r.data_rxmsn_max, r.timer_expiry, r.sender_ack,
         r.receiving_ack_list, r.receiver_ack, r.sending_ack, r.receiver_control_ack,
         r.initial_timeout_ms);
    return r;
}
template <>
inline DtcpConfig any() {
    DtcpConfig d;
    fill(d.flow_control, d.flow, d.retransmission_control, d.retransmission, d.lost_control_pdu,
         d.rtt_estimator);
    return d;
}
template <>
inline ConnPolicies any() {
    ConnPolicies p;
    fill(p.dtcp_present, p.dtcp, p.receiver_inactivity, p.sender_inactivity, p.initial_sequence,
         p.sequence_rollover_threshold, p.initial_a_timer_ms);
    return p;
}
template <>
inline FlowRequest any() {
    FlowRequest r;
    fill(r.source_application, r.destination_application, r.source_port, r.destination_port,
         r.source_ipcp, r.destination_ipcp, r.current_connection, r.state, r.qos, r.policies,
         r.access_control, r.create_retries_max, r.create_retries, r.hop_count);
    r.connections = any_list<ConnId>();
    return r;
}

}  // namespace sluice::rina::prop
