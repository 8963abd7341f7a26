#pragma once

#include <set>

#include "normal_dif/core/efcp/connection.hpp"
#include "normal_dif/core/rmt/n1_port.hpp"
#include "rina/cdap.hpp"
#include "sim.hpp"

namespace sluice::sim {

// What an IPC process must never do, whatever happens around it. It looks at what comes in and at
// what goes out, as somebody with a capture at each of its N-1 flows could.
class Watch {
  public:
    Watch(Env& env, const rina::PciFormat& format) : env_(env), format_(format) {}

    // A PDU that was let in. False: it says that it is longer than its frame.
    bool is_whole(const Bytes& frame, std::uint64_t length);
    // A frame of a protection with counters was opened.
    void opened(rmt::N1PortId port, const Bytes& sealed);
    // A PDU on its way to another node, as it came and as it goes on.
    void relayed(std::uint16_t ttl_before, const Bytes& after);
    std::uint16_t ttl_of(const Bytes& frame) const;

    // Management: from a neighbour, until it was dealt with; to a neighbour; to a member.
    void message_comes(rmt::N1PortId port, std::span<const std::byte> payload);
    void message_is_done() { came_.reset(); }
    void message_goes(rmt::N1PortId port, std::span<const std::byte> payload);
    void message_to_member(std::span<const std::byte> payload);

    void flow_failed(const efcp::Connection& connection);
    // PDUs that wait for the application.
    void unread(const efcp::Connection& connection, std::uint32_t pdus);
    void port_gone(rmt::N1PortId port) { opened_.erase(port); }

  private:
    struct Came {
        rmt::N1PortId port{};
        rina::CdapMessage message;
    };

    Env& env_;
    rina::PciFormat format_;
    std::optional<Came> came_;
    using Header = std::pair<std::uint64_t, std::uint64_t>;
    std::map<rmt::N1PortId, std::set<Header>> opened_;
};

}  // namespace sluice::sim
