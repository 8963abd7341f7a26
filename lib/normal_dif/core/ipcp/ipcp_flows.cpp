#include <utility>
#include <variant>

#include "normal_dif/core/faults.hpp"
#include "normal_dif/core/ipcp/ipcp.hpp"

// Messages from member to member, whom relays see as data, and the flows that they are about.
namespace sluice::mgmt {

using rina::Address;
using rina::CdapMessage;
using rina::OpCode;
using rmt::N1PortId;

// ---- A_DATA ----

void Ipcp::send_a_data(Address to, CdapMessage message) {
    if (message.invoke_id == 0) message.invoke_id = next_invoke_id();
    rina::AData data;
    data.source = address_;
    data.destination = to;
    data.message = std::move(message);
    CdapMessage outer;
    outer.op = OpCode::write;
    outer.obj_class = rina::rib::kAData.obj_class;
    outer.obj_name = rina::rib::kAData.obj_name;
    outer.value = rina::value_of(data);
    SendToMember out;
    out.pci.type = static_cast<std::uint8_t>(rina::PduType::management);
    out.pci.source = address_;
    out.pci.destination = to;
    out.payload = rina::encode(outer);
    out.pci.length = static_cast<std::uint32_t>(config_.format.bytes() + out.payload.size());
    ++messages_sent_;
    actions_.push_back(std::move(out));
}

std::optional<std::string> Ipcp::sender_of(N1PortId port, Address source) const {
    // What we send to ourselves does not leave the node, and what comes in is not from us.
    if (source == Address{} || (source == address_) != (port == rmt::kNoN1Port))
        return std::nullopt;
    if (source == address_) return config_.name;
    const auto name = members_.name_of(source);
    return name ? std::optional<std::string>(*name) : std::nullopt;
}

// Without a session: who sent it is who the PDU comes from, as far as the relays let that through.
void Ipcp::on_a_data(Instant now, N1PortId port, const rina::Pci& pci, const CdapMessage& outer) {
    if (!member_) return bad(IpcpDrop::no_member);
    const auto object = rina::object_of(outer);
    const rina::AData* const data = object ? std::get_if<rina::AData>(&*object) : nullptr;
    if (outer.op != OpCode::write || data == nullptr) return bad(IpcpDrop::bad_object);
    if (data->source == Address{} && faults::crashes(faults::Fault::crash_source_zero)) return;
    const auto sender = sender_of(port, data->source);
    if (data->source != pci.source || data->destination != pci.destination || !sender)
        return bad(IpcpDrop::forged_source);
    const CdapMessage& m = data->message;
    if (m.obj_name == rina::rib::kKeepalive.obj_name &&
        faults::crashes(faults::Fault::crash_keepalive_inside))
        return;
    if (m.obj_class == rina::rib::kFlow.obj_class) {
        if (m.op == OpCode::remove && m.obj_name == rina::rib::kFlow.obj_name &&
            faults::crashes(faults::Fault::crash_delete_without_id))
            return;
        flows_.on_message(now, data->source, m, flow_out_);
        return take_flow_actions();
    }
    if (m.obj_class == rina::rib::kAddressClaim.obj_class && m.op == OpCode::remove) {
        // Somebody objects to an address that we claimed.
        const auto value = rina::object_of(m);
        const auto* const request =
            value ? std::get_if<rina::AddrAllocRequest>(&*value) : nullptr;
        if (request == nullptr) return bad(IpcpDrop::bad_object);
        return carry_out(now,
                         addresses_.apply_claim(now, Action::remove, *request, members_, *sender),
                         std::nullopt);
    }
    bad(IpcpDrop::unknown_object);
}

// ---- flows ----

Result<PortId> Ipcp::allocate_flow(Instant now, const rina::AppName& local,
                                   const rina::AppName& remote, const FlowSpec& spec,
                                   std::uint32_t cookie) {
    if (!member_) return fail(ENOTCONN, "'{}' is no member of '{}' yet", config_.name, config_.dif);
    auto port = flows_.allocate(now, local, remote, spec, cookie, flow_out_);
    take_flow_actions();
    return port;
}

Result<> Ipcp::accept_flow(Instant now, PortId port, std::uint32_t cookie) {
    auto done = flows_.accept(now, port, cookie, flow_out_);
    take_flow_actions();
    return done;
}

Result<> Ipcp::refuse_flow(Instant now, PortId port) {
    auto done = flows_.refuse(now, port, flow_out_);
    take_flow_actions();
    return done;
}

Result<> Ipcp::deallocate_flow(Instant now, PortId port) {
    auto done = flows_.deallocate(now, port, flow_out_);
    take_flow_actions();
    return done;
}

// In their order among all actions: a connection is bound before its message leaves.
void Ipcp::take_flow_actions() {
    for (FlowAction& action : flow_out_.actions) {
        if (auto* const m = std::get_if<SendFlowMessage>(&action))
            send_a_data(m->to, std::move(m->message));
        else
            std::visit(
                [this]<typename T>(T& one) {
                    if constexpr (!std::is_same_v<T, SendFlowMessage>)
                        actions_.push_back(std::move(one));
                },
                action);
    }
    flow_out_.clear();
}

std::optional<std::string> Ipcp::ipcp_of(const rina::AppName& application,
                                         std::uint32_t pick) const {
    const std::string_view found = dft_.pick(application, pick);
    if (found.empty()) return std::nullopt;
    return std::string(found);
}

std::optional<Address> Ipcp::address_of(std::string_view ipcp) const {
    if (ipcp == config_.name) return address_;
    return members_.address_of(ipcp);
}

bool Ipcp::is_sluice(std::string_view ipcp) const {
    const NeighborTable::Candidate* const member = members_.find(ipcp);
    return member != nullptr && member->version != 0;
}

bool Ipcp::is_registered_here(const rina::AppName& application) const {
    return dft_.is_ours(application);
}

std::int32_t Ipcp::next_invoke_id() {
    a_data_id_ = next_invoke_id_after(a_data_id_);
    return a_data_id_;
}

}  // namespace sluice::mgmt
