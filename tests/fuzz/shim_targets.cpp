#include "shim_targets.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/check.hpp"
#include "rina/rlite_name.hpp"
#include "script.hpp"
#include "shim_eth/core/shim_eth.hpp"
#include "shim_udp/core/shim_udp.hpp"
#include "target.hpp"

namespace sluice::fuzz {

namespace {

using Bytes = std::vector<std::byte>;

rina::AppName name_of(std::uint8_t n) {
    constexpr const char* kNames[] = {"a", "a|1", "b", "c.IPCP"};
    return *rina::parse_rlite_name(kNames[n % 4]);
}

// What both shims' users do. True: it was one of these.
template <typename Shim, typename Handle>
bool user_call(Script& script, std::uint8_t op, Shim& shim, Instant& now) {
    const Handle flow{script.byte()};
    switch (op) {
        case 0: static_cast<void>(shim.allocate(now, name_of(script.byte()),
                                                name_of(script.byte()), 1)); return true;
        case 1: static_cast<void>(shim.accept(now, flow)); return true;
        case 2: static_cast<void>(shim.refuse(now, flow)); return true;
        case 3: static_cast<void>(shim.deallocate(now, flow)); return true;
        case 4: shim.set_link(now, flow.value % 8 != 0); return true;
        case 5: static_cast<void>(shim.unregister_app(now, name_of(script.byte()))); return true;
        case 6:
            now = now + Duration::milliseconds(flow.value * 40);
            shim.on_timeout(now);
            SLUICE_CHECK(shim.next_deadline() > now);
            return true;
        default: return false;
    }
}

// All that is left ends by itself once its user has gone.
template <typename Shim, typename Handle>
void end(Shim& shim, Instant now) {
    for (std::uint32_t flow = 1; flow < 300; ++flow)
        static_cast<void>(shim.deallocate(now, Handle{flow}));
    for (int i = 0; i < 2000 && !shim.next_deadline().is_never(); ++i) {
        now = std::max(now, shim.next_deadline());
        shim.on_timeout(now);
    }
    SLUICE_CHECK(shim.next_deadline().is_never());
    SLUICE_CHECK(shim.flows() == 0);
}

Bytes eth_frame(Script& script, const rina::MacAddress& ours) {
    const std::uint8_t how = script.byte();
    const rina::MacAddress from{2, 0, 0, 0, 0, static_cast<std::uint8_t>(how % 8)};
    if (how >= 0xf0) {
        const auto raw = script.piece(script.byte());
        return Bytes(raw.begin(), raw.end());
    }
    const bool data = (how & 0x80) != 0;
    const auto header = shim_eth::make_header(ours, from, 0, 0,
                                              data ? rina::kEtherTypeRina : rina::kEtherTypeArp);
    Bytes frame(header.view().begin(), header.view().end());
    if (data) {
        frame.insert(frame.end(), script.byte(), std::byte{7});
        return frame;
    }
    const std::string sender = rina::rlite_name(name_of(script.byte()));
    const std::string target = rina::rlite_name(name_of(script.byte()));
    const auto operation = (how & 0x40) != 0 ? rina::RinaArp::Operation::request
                                             : rina::RinaArp::Operation::reply;
    std::array<std::byte, rina::kRinaArpBytesMax> body{};
    const std::size_t size = rina::write({operation, from, sender, ours, target}, body);
    frame.insert(frame.end(), body.data(), body.data() + size);
    // Now and then a byte of it is another.
    if (const std::uint8_t at = script.byte(); at != 0 && at < frame.size())
        frame[at] = static_cast<std::byte>(script.byte());
    return frame;
}

}  // namespace

bool shim_eth(std::span<const std::byte> bytes) {
    using namespace sluice::shim_eth;
    Config config;
    config.mac = {2, 0, 0, 0, 0, 0xff};
    Outbox out;
    Shim shim(config, out);
    Instant now{1};
    shim.set_link(now, true);
    Script script(bytes);
    bool received = false;
    while (!script.at_end()) {
        const std::uint8_t op = script.byte() % 16;
        if (op == 7) static_cast<void>(shim.register_app(name_of(script.byte())));
        if (op > 7) {
            const Bytes frame = eth_frame(script, config.mac);
            const Verdict verdict = shim.on_frame(now, frame);
            const bool dropped = verdict.kind == Verdict::Kind::drop;
            SLUICE_CHECK(dropped == (verdict.drop != Drop::none));
            SLUICE_CHECK(verdict.offset + verdict.length <= frame.size());
            if (verdict.kind == Verdict::Kind::data) {
                received = true;
                SLUICE_CHECK(shim.header_for(verdict.flow).size == 14);
            }
        } else {
            user_call<Shim, FlowHandle>(script, op, shim, now);
        }
        SLUICE_CHECK(out.actions.size() <= 2 * kFlowsMax);
        out.clear();
    }
    end<Shim, FlowHandle>(shim, now);
    return received;
}

namespace {

using shim_udp::IpAddress;

void udp_answer(Script& script, shim_udp::Shim& shim, Instant now) {
    const std::uint8_t how = script.byte();
    const IpAddress address = IpAddress::v4(0x0a000000u + script.byte() % 4);
    const shim_udp::SocketId socket{script.byte()};
    switch (how % 6) {
        case 0: return shim.on_resolved(now, name_of(how >> 4), address);
        case 1: return shim.on_unresolved(now, name_of(how >> 4), "none");
        case 2: return shim.on_named(now, address, name_of(how >> 4));
        case 3: return shim.on_unnamed(now, address);
        case 4: return shim.on_socket(now, socket);
        default: return shim.on_socket_failed(now, socket, "none");
    }
}

// Sockets that the shim has asked for: each one is opened once and closed once.
class Sockets {
  public:
    void take(shim_udp::Outbox& out) {
        SLUICE_CHECK(out.actions.size() <= 3 * shim_udp::kFlowsMax);
        for (const auto& action : out.actions) {
            if (const auto* const open = std::get_if<shim_udp::OpenSocket>(&action))
                SLUICE_CHECK(open_.insert(open->socket.value).second);
            if (const auto* const close = std::get_if<shim_udp::CloseSocket>(&action))
                SLUICE_CHECK(open_.erase(close->socket.value) == 1);
        }
        out.clear();
    }
    std::size_t open() const { return open_.size(); }

  private:
    std::set<std::uint64_t> open_;
};

}  // namespace

bool shim_udp(std::span<const std::byte> bytes) {
    using namespace sluice::shim_udp;
    Outbox out;
    Shim shim({}, out);
    Instant now{1};
    shim.set_link(now, true);
    Sockets sockets;
    Script script(bytes);
    bool received = false;
    while (!script.at_end()) {
        const std::uint8_t op = script.byte() % 16;
        if (op < 7) {
            user_call<Shim, FlowHandle>(script, op, shim, now);
        } else if (op == 7) {
            static_cast<void>(shim.register_app(now, name_of(script.byte())));
        } else if (op < 12) {
            udp_answer(script, shim, now);
        } else {
            const SocketId socket{script.byte()};
            const Endpoint from{IpAddress::v4(0x0a000000u + script.byte() % 4), script.byte()};
            const Verdict verdict = shim.on_datagram(now, socket, from, Bytes(script.byte()));
            const bool dropped = verdict.kind == Verdict::Kind::drop;
            SLUICE_CHECK(dropped == (verdict.drop != Drop::none));
            if (verdict.kind == Verdict::Kind::data) {
                received = true;
                const auto target = shim.target_for(verdict.flow);
                SLUICE_CHECK(target.has_value());
                SLUICE_CHECK(target->to == from);
            }
        }
        sockets.take(out);
        SLUICE_CHECK(sockets.open() == shim.sockets());
    }
    end<Shim, FlowHandle>(shim, now);
    for (std::uint8_t n = 0; n < 4; ++n)
        static_cast<void>(shim.unregister_app(now, name_of(n)));
    sockets.take(out);
    SLUICE_CHECK(sockets.open() == 0 && shim.sockets() == 0);
    return received;
}

std::span<const Target> targets() noexcept {
    static constexpr Target kTargets[] = {
        {"shim_eth", shim_eth},
        {"shim_udp", shim_udp},
    };
    return kTargets;
}

}  // namespace sluice::fuzz
