#include "watch.hpp"

#include <fmt/format.h>

#include "normal_dif/core/sdu_protection/aes_gcm.hpp"
#include "rina/objects.hpp"

namespace sluice::sim {

using rina::OpCode;
using rmt::N1PortId;

bool Watch::is_whole(const Bytes& frame, std::uint64_t length) {
    if (length >= format_.bytes() && length <= frame.size()) return true;
    env_.verdicts.fail("memory", fmt::format("a PDU of {} bytes was let in that says it has {}",
                                             frame.size(), length));
    return false;
}

void Watch::opened(N1PortId port, const Bytes& sealed) {
    if (sealed.size() < sdup::kGcmHeaderBytes) return;
    // Epoch and counter are in there: no two frames of one key are alike.
    const Header header{rina::detail::load<std::uint64_t>(sealed.data()),
                        rina::detail::load<std::uint64_t>(sealed.data() + 8)};
    if (!opened_[port].insert(header).second)
        env_.verdicts.fail("replay", "a frame that came twice was opened twice");
}

std::uint16_t Watch::ttl_of(const Bytes& frame) const {
    if (frame.size() < format_.bytes()) return 0;
    return rina::detail::load<std::uint16_t>(frame.data() + rina::PciFormat::kTtlAt);
}

void Watch::relayed(std::uint16_t ttl_before, const Bytes& after) {
    if (ttl_of(after) + 1 != ttl_before)
        env_.verdicts.fail("ttl", fmt::format("a PDU came with {} hops left and went on with {}",
                                              ttl_before, ttl_of(after)));
}

void Watch::message_comes(N1PortId port, std::span<const std::byte> payload) {
    auto message = rina::decode_cdap(payload);
    if (!message || (message->op != OpCode::create && message->op != OpCode::remove)) return;
    came_ = Came{port, std::move(*message)};
}

void Watch::message_goes(N1PortId port, std::span<const std::byte> payload) {
    ++env_.messages;
    if (!came_ || came_->port != port) return;
    const auto message = rina::decode_cdap(payload);
    const rina::CdapMessage& other = came_->message;
    if (message && message->op == other.op && message->obj_name == other.obj_name &&
        message->value == other.value)
        env_.verdicts.fail("echo", fmt::format("news of {} went back to where it came from",
                                               message->obj_name));
}

// What rlite reads of an answer about a flow, it reads whatever the result.
void Watch::message_to_member(std::span<const std::byte> payload) {
    ++env_.messages;
    const auto outer = rina::decode_cdap(payload);
    const auto object = outer ? rina::object_of(*outer) : Result<rina::RibObject>();
    const auto* const data = object ? std::get_if<rina::AData>(&*object) : nullptr;
    if (data == nullptr || !rina::check(*outer) || !rina::check(data->message))
        return env_.verdicts.fail("wire", "a message to a member that no member can read");
    const rina::CdapMessage& m = data->message;
    if (m.op != OpCode::create_r || m.obj_class != rina::rib::kFlow.obj_class) return;
    const auto* const bytes = std::get_if<rina::Bytes>(&m.value);
    const auto request =
        bytes != nullptr ? rina::decode<rina::FlowRequest>(*bytes) : Result<rina::FlowRequest>();
    if (bytes == nullptr || !request || request->connections.empty())
        env_.verdicts.fail("wire", "M_CREATE_R of a flow without a FlowRequest and a connection");
}

// With a timer that doubles, the time for which a flow is patient ends before the retries do.
void Watch::flow_failed(const efcp::Connection& connection) {
    if (connection.sender().has_exhausted_retries())
        env_.verdicts.fail("impatience", "a flow has used up its retries before its time was up");
    // So often in a row it is lost now and then, where much is.
    if (connection.sender().stats().timeouts >= 4) ++env_.given_up;
}

// The first window is one PDU larger (see efcp::WindowPolicy).
void Watch::unread(const efcp::Connection& connection, std::uint32_t pdus) {
    const auto& window = connection.policies().window;
    if (window && pdus > window->initial_credit + 1)
        env_.verdicts.fail("window", fmt::format("{} PDUs wait for an application that granted {}",
                                                 pdus, window->initial_credit));
}

}  // namespace sluice::sim
