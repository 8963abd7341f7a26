#include "mutations.hpp"

#include <string>
#include <utility>

namespace sluice::fuzz {

using rina::Address;
using rina::CdapMessage;
using rina::CepId;
using rina::FlowRequest;
using rina::OpCode;
using rina::QosId;

rina::AppName app_of(std::uint8_t n) {
    constexpr const char* kNames[] = {"client", "server", "echo", ""};
    return {kNames[n % 4], (n & 4) != 0 ? "1" : "", "", ""};
}

std::string ipcp_of(std::uint8_t n) {
    constexpr const char* kNames[] = {"a.IPCP", "b.IPCP", "c.IPCP", "d.IPCP", "n.DIF", "", "x|1",
                                      "a.IPCP "};
    return kNames[n % 8];
}

void mutate(Script& script, rina::Bytes& bytes) {
    const std::uint8_t how = script.byte();
    const std::size_t at = bytes.empty() ? 0 : script.word() % bytes.size();
    const auto here = bytes.begin() + static_cast<long>(at);
    switch (how % 5) {
        case 0: bytes.resize(at); return;
        case 1:
            if (!bytes.empty()) *here = static_cast<std::byte>(script.byte());
            return;
        case 2:
            if (!bytes.empty()) *here ^= static_cast<std::byte>(1u << (how >> 5));
            return;
        case 3: {
            const auto piece = script.piece(script.byte() % 32);
            bytes.insert(here, piece.begin(), piece.end());
            return;
        }
        default: {
            const auto piece = script.piece(script.byte());
            bytes.assign(piece.begin(), piece.end());
        }
    }
}

namespace {

// What connection they agree on.
void mutate_policies(Script& script, FlowRequest& request) {
    rina::ConnPolicies& p = request.policies;
    switch (script.byte() % 10) {
        case 0: p.dtcp_present = !p.dtcp_present; return;
        case 1: p.dtcp.flow_control = !p.dtcp.flow_control; return;
        case 2: p.dtcp.retransmission_control = !p.dtcp.retransmission_control; return;
        case 3: p.dtcp.flow.window_based = !p.dtcp.flow.window_based; return;
        case 4:
            if (!p.dtcp.flow.window) p.dtcp.flow.window.emplace();
            p.dtcp.flow.window->initial_credit = script.number();
            return;
        case 5:
            if (!p.dtcp.flow.window) p.dtcp.flow.window.emplace();
            p.dtcp.flow.window->closed_window_queue_max = script.number();
            return;
        case 6:
            p.dtcp.flow.rate_based = true;
            p.dtcp.flow.rate = rina::RateCfg{script.number(), script.number(), {}, {}, {}};
            return;
        case 7:
            p.dtcp.retransmission.data_rxmsn_max = static_cast<std::uint32_t>(script.number());
            return;
        case 8:
            p.dtcp.retransmission.initial_timeout_ms = static_cast<std::uint32_t>(script.number());
            return;
        default: p.initial_a_timer_ms = static_cast<std::uint32_t>(script.number());
    }
}

void mutate_connections(Script& script, FlowRequest& request) {
    const std::uint8_t how = script.byte();
    if (how % 5 == 0) request.connections.resize(how / 5 % 12);
    if (request.connections.empty()) return;
    rina::ConnId& connection = request.connections.front();
    switch (how % 5) {
        case 1: connection.qos = QosId{static_cast<std::uint16_t>(script.number())}; return;
        case 2: connection.source_cep = CepId{static_cast<std::uint32_t>(script.number())}; return;
        case 3:
            connection.destination_cep = CepId{static_cast<std::uint32_t>(script.number())};
            return;
        default: std::swap(connection.source_cep, connection.destination_cep);
    }
}

void mutate_qos(Script& script, FlowRequest& request) {
    const std::uint8_t how = script.byte();
    if (how % 3 == 0) request.qos.average_bandwidth_bps = script.number();
    if (how % 3 == 1) request.qos.sdu_gap_max = static_cast<std::int32_t>(script.number());
    if (how % 3 == 2) request.qos.in_order_delivery = !request.qos.in_order_delivery;
}

}  // namespace

void mutate(Script& script, FlowRequest& request) {
    const std::uint8_t how = script.byte();
    switch (how % 12) {
        case 0: request.source_port = script.number(); return;
        case 1: request.destination_port = script.number(); return;
        case 2: request.source_application = app_of(script.byte()); return;
        case 3: request.destination_application = app_of(script.byte()); return;
        case 4: request.source_ipcp = ipcp_of(script.byte()); return;
        case 5: request.destination_ipcp = ipcp_of(script.byte()); return;
        case 6: return mutate_connections(script, request);
        case 7: request.current_connection = script.byte(); return;
        case 8: return mutate_qos(script, request);
        case 9: return mutate_policies(script, request);
        case 10: return mutate(script, request.access_control);
        // The two directions, taken for each other.
        default: std::swap(request.source_port, request.destination_port);
    }
}

void mutate(Script& script, CdapMessage& message) {
    const std::uint8_t how = script.byte();
    switch (how % 10) {
        case 0: message.op = static_cast<OpCode>(script.byte() % rina::kOpCodeCount); return;
        case 1: message.invoke_id = static_cast<std::int32_t>(script.number()); return;
        case 2: message.obj_name += "/" + std::to_string(script.number()); return;
        case 3: message.obj_name.resize(message.obj_name.size() / 2); return;
        case 4: message.result = static_cast<std::int32_t>(script.byte()) - 1; return;
        case 5: message.value = std::monostate{}; return;
        case 6: message.source = {ipcp_of(script.byte()), "", "", ""}; return;
        case 7: message.destination = {ipcp_of(script.byte()), "", "", ""}; return;
        default: break;
    }
    auto* const bytes = std::get_if<rina::Bytes>(&message.value);
    if (bytes == nullptr) return mutate(script, message.auth.other);
    auto request = message.obj_class == rina::rib::kFlow.obj_class
                       ? rina::decode<FlowRequest>(*bytes)
                       : Result<FlowRequest>(FlowRequest{});
    if (how % 10 == 8 || !request || message.obj_class != rina::rib::kFlow.obj_class)
        return mutate(script, *bytes);
    mutate(script, *request);
    *bytes = rina::encode(*request);
}

}  // namespace sluice::fuzz
