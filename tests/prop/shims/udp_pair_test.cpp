#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "base/rng.hpp"
#include "rina/rlite_name.hpp"
#include "shim_udp/core/shim_udp.hpp"

// Two UDP shims on a network that loses, repeats and delays datagrams, with resolvers and sockets
// that are late, fail or do not answer. Held to: each allocation has exactly one end, no event is
// about a flow that is none, no socket is used that is closed, and nothing is left at the end.

using namespace sluice;
using namespace sluice::shim_udp;

namespace {

using Bytes = std::vector<std::byte>;

struct Datagram {
    Instant at;
    Endpoint from, to;
};

struct Side {
    Outbox out;
    Shim shim;
    std::set<std::uint32_t> pending, waiting, open;
    std::map<SocketId, Endpoint> sockets;
    explicit Side() : shim({}, out) {}
};

class World {
  public:
    explicit World(std::uint64_t seed)
        : rng_(seed), loss_(0.3 * static_cast<double>(rng_.below(3))) {
        for (int i : {0, 1}) {
            sides_[i].shim.set_link(now_, true);
            REQUIRE(sides_[i].shim.register_app(now_, name(i)));
            sides_[i].out.clear();
            sides_[i].shim.on_resolved(now_, name(i), address(i));
            const auto open = std::get<OpenSocket>(sides_[i].out.actions.at(0));
            sides_[i].out.clear();
            sides_[i].sockets[open.socket] = open.local;
            sides_[i].shim.on_socket(now_, open.socket);
            sides_[i].out.clear();
        }
    }

    void run() {
        for (int step = 0; step < 300; ++step) {
            act(static_cast<int>(rng_.below(2)));
            pass(Duration::milliseconds(static_cast<std::int64_t>(rng_.below(1000))));
        }
        settle();
    }
    unsigned allocated = 0, failed = 0, delivered = 0;

  private:
    static rina::AppName name(int side) {
        return *rina::parse_rlite_name(side == 0 ? "a" : "b");
    }
    static IpAddress address(int side) {
        return IpAddress::v4(0x0a000001u + static_cast<std::uint32_t>(side));
    }

    void act(int i) {
        Side& side = sides_[i];
        switch (rng_.below(6)) {
            case 0: {
                const auto flow = side.shim.allocate(now_, name(i), name(1 - i), 7);
                if (flow) side.pending.insert(flow->value);
                break;
            }
            case 1:
                if (!side.open.empty()) {
                    const std::uint32_t flow = *side.open.begin();
                    side.open.erase(flow);
                    REQUIRE(side.shim.deallocate(now_, FlowHandle{flow}));
                }
                break;
            default:
                for (const std::uint32_t flow : side.open) send(i, flow);
        }
        carry_out(i);
    }

    void send(int i, std::uint32_t flow) {
        const auto target = sides_[i].shim.target_for(FlowHandle{flow});
        REQUIRE(target);
        // No socket of ours that is closed.
        REQUIRE(sides_[i].sockets.contains(target->socket));
        for (std::uint64_t copies = rng_.chance(0.1) ? 2 : 1; copies > 0; --copies) {
            if (rng_.chance(loss_)) continue;
            const auto delay = static_cast<std::int64_t>(rng_.below(50'000));
            line_.push_back({now_ + Duration::microseconds(delay),
                             sides_[i].sockets[target->socket], target->to});
        }
    }

    void open_socket(int i, const OpenSocket& open) {
        Side& side = sides_[i];
        if (rng_.chance(0.1)) return;  // no answer
        if (rng_.chance(0.1)) return side.shim.on_socket_failed(now_, open.socket, "no luck");
        side.sockets[open.socket] = {address(i), ++last_port_};
        side.shim.on_socket(now_, open.socket);
    }

    void carry_out(int i) {
        Side& side = sides_[i];
        while (!side.out.empty()) {
            const std::vector<Action> actions = std::move(side.out.actions);
            side.out.clear();
            for (const Action& action : actions) carry_out(i, side, action);
        }
    }

    void carry_out(int i, Side& side, const Action& action) {
        if (const auto* find = std::get_if<Resolve>(&action)) {
            if (rng_.chance(0.8)) side.shim.on_resolved(now_, find->name, address(1 - i));
            else if (rng_.chance(0.5)) side.shim.on_unresolved(now_, find->name, "no luck");
        } else if (const auto* who = std::get_if<ResolveAddress>(&action)) {
            if (rng_.chance(0.8)) side.shim.on_named(now_, who->address, name(1 - i));
            else if (rng_.chance(0.5)) side.shim.on_unnamed(now_, who->address);
        } else if (const auto* open = std::get_if<OpenSocket>(&action)) {
            open_socket(i, *open);
        } else if (const auto* close = std::get_if<CloseSocket>(&action)) {
            side.sockets.erase(close->socket);
        } else if (const auto* up = std::get_if<FlowAllocated>(&action)) {
            REQUIRE(side.pending.erase(up->flow.value) == 1);
            side.open.insert(up->flow.value);
            ++allocated;
        } else if (const auto* no = std::get_if<FlowFailed>(&action)) {
            // Or one that nobody had heard of, for the sake of what is held.
            side.pending.erase(no->flow.value);
            side.waiting.erase(no->flow.value);
            REQUIRE_FALSE(side.open.contains(no->flow.value));
            REQUIRE_FALSE(no->text.empty());
            ++failed;
        } else if (const auto* asked = std::get_if<FlowRequested>(&action)) {
            REQUIRE(asked->local == name(i));
            const std::uint64_t what = rng_.below(4);
            if (what == 0) {
                REQUIRE(side.shim.refuse(now_, asked->flow));
            } else if (what == 1) {
                side.waiting.insert(asked->flow.value);
            } else {
                REQUIRE(side.shim.accept(now_, asked->flow));
                side.open.insert(asked->flow.value);
            }
        }
    }

    void receive(const Datagram& datagram) {
        const int to = datagram.to.address == address(0) ? 0 : 1;
        Side& side = sides_[to];
        for (const auto& [socket, local] : side.sockets) {
            if (local.port != datagram.to.port) continue;
            const Verdict verdict =
                side.shim.on_datagram(now_, socket, datagram.from, Bytes(20));
            if (verdict.kind == Verdict::Kind::data) {
                REQUIRE(side.open.contains(verdict.flow.value));
                ++delivered;
            }
            REQUIRE((verdict.kind == Verdict::Kind::drop) == (verdict.drop != Drop::none));
            break;
        }
        carry_out(to);
    }

    void pass(Duration span) {
        const Instant until = now_ + span;
        for (;;) {
            Instant next = Instant::never();
            for (const Side& side : sides_) next = earlier(next, side.shim.next_deadline());
            std::size_t first = line_.size();
            for (std::size_t i = 0; i < line_.size(); ++i)
                if (line_[i].at <= next && (first == line_.size() || line_[i].at < line_[first].at))
                    first = i;
            if (first != line_.size()) next = line_[first].at;
            if (next > until) break;
            now_ = std::max(now_, next);
            if (first != line_.size()) {
                const Datagram datagram = line_[first];
                line_.erase(line_.begin() + static_cast<std::ptrdiff_t>(first));
                receive(datagram);
            } else {
                for (int i : {0, 1}) {
                    sides_[i].shim.on_timeout(now_);
                    carry_out(i);
                    // A timer that has run out is gone, or time would stand still.
                    REQUIRE(sides_[i].shim.next_deadline() > now_);
                }
            }
        }
        now_ = until;
    }

    void settle() {
        pass(Duration::seconds(30));
        for (Side& side : sides_) {
            REQUIRE(side.pending.empty());
            REQUIRE(side.waiting.empty());
            for (const std::uint32_t flow : side.open)
                REQUIRE(side.shim.deallocate(now_, FlowHandle{flow}));
            side.open.clear();
        }
        pass(Duration::seconds(60));
        for (int i : {0, 1}) {
            carry_out(i);
            REQUIRE(sides_[i].shim.flows() == 0);
            REQUIRE(sides_[i].shim.sockets() == 1);
            REQUIRE(sides_[i].sockets.size() == 1);
            REQUIRE(sides_[i].shim.next_deadline().is_never());
        }
    }

    Rng rng_;
    double loss_;
    Instant now_{1};
    Side sides_[2];
    std::vector<Datagram> line_;
    std::uint16_t last_port_ = 10000;
};

}  // namespace

TEST_CASE("two UDP shims over a bad network: every allocation ends and nothing leaks") {
    unsigned allocated = 0, failed = 0, delivered = 0;
    for (std::uint64_t seed = 1; seed <= 150; ++seed) {
        INFO("seed " << seed);
        World world(seed);
        world.run();
        allocated += world.allocated;
        failed += world.failed;
        delivered += world.delivered;
    }
    // It was about something.
    CHECK(allocated > 1000);
    CHECK(failed > 100);
    CHECK(delivered > 5000);
}
