#include <catch2/catch.hpp>
#include <memory>
#include <queue>

#include "base/rng.hpp"
#include "node.hpp"

// Two members and a network between them that loses, doubles and reorders, applications that come
// and go at random, and members that start anew. Whatever happens: every allocation ends, no id is
// used twice or leaks, and when all is quiet, both ends know of the same flows.

using namespace sluice;
using namespace sluice::mgmt;
using namespace sluice::test;

namespace {

constexpr Address kAddresses[2] = {Address{1}, Address{3}};

class Network {
  public:
    Network(std::uint64_t seed, double loss, bool plain) : rng_(seed), loss_(loss), plain_(plain) {
        dif_.addresses = {{"0.IPCP", kAddresses[0]}, {"1.IPCP", kAddresses[1]}};
        dif_.applications = {{"server", {"0.IPCP", "1.IPCP"}}, {"gone", {}}};
        for (std::size_t i = 0; i < 2; ++i) start(i);
    }

    void run(Duration span, bool busy) {
        const Instant end = now_ + span;
        Instant next_event = now_;
        while (now_ < end) {
            Instant next = busy ? next_event : end;
            if (!queue_.empty()) next = earlier(next, queue_.top().at);
            for (auto& node : nodes_) next = earlier(next, node->allocator.next_deadline());
            now_ = std::min(std::max(next, now_), end);
            for (std::size_t i = 0; i < 2; ++i) {
                nodes_[i]->allocator.on_timeout(now_, nodes_[i]->out);
                carry_out(i);
            }
            while (!queue_.empty() && queue_.top().at <= now_) deliver();
            if (busy && now_ >= next_event) {
                something_happens();
                next_event = now_ + Duration::milliseconds(
                                        static_cast<std::int64_t>(rng_.between(1, 200)));
            }
        }
    }
    void stop_losing() { loss_ = 0; }
    void restart(std::size_t i) {
        // The other one sees it before it hears from the new life.
        queue_ = {};
        start(i);
        Node& other = *nodes_[1 - i];
        other.allocator.on_member_gone(now_, fmt::format("{}.IPCP", i), kAddresses[i],
                                       other.out);
        carry_out(1 - i);
    }
    // Users let go of all that they have.
    void close_all() {
        for (std::size_t i = 0; i < 2; ++i) {
            const auto held = held_[i];
            for (const auto& [port, state] : held) {
                CHECK(nodes_[i]->allocator.deallocate(now_, PortId{port}, nodes_[i]->out));
                held_[i].erase(port);
            }
            carry_out(i);
        }
    }
    void check_agreement() {
        for (std::size_t i = 0; i < 2; ++i)
            nodes_[i]->allocator.for_each([&](const FlowInfo& flow) {
                if (flow.state != FlowState::allocated) return;
                const std::size_t other = flow.peer == kAddresses[i] ? i : 1 - i;
                const auto peer = nodes_[other]->allocator.find(
                    PortId{static_cast<std::uint32_t>(flow.peer_port)});
                REQUIRE(peer);
                CHECK(peer->state == FlowState::allocated);
                CHECK(peer->peer_port == flow.port.value);
                CHECK(peer->cep == flow.peer_cep);
                CHECK(peer->peer_cep == flow.cep);
                CHECK(peer->extended == flow.extended);
                CHECK(peer->qos == flow.qos);
                CHECK(terms_[i].at(flow.port.value) == terms_[other].at(peer->port.value));
                ++agreed_;
            });
    }
    void check_nothing_left() {
        for (auto& node : nodes_) {
            CHECK(node->allocator.flows() == 0);
            CHECK(node->allocator.names() == 0);
            CHECK(node->ports.in_use() == 0);
            CHECK(node->ceps.in_use() == 0);
            CHECK(node->allocator.unanswered() == 0);
            CHECK(node->allocator.next_deadline().is_never());
        }
        CHECK(held_[0].empty());
        CHECK(held_[1].empty());
        CHECK(bound_[0].empty());
        CHECK(bound_[1].empty());
    }
    std::size_t agreed() const { return agreed_; }
    std::uint64_t allocated() const {
        return nodes_[0]->allocator.stats().allocated + nodes_[1]->allocator.stats().allocated;
    }
    const std::string& log() const { return log_; }

  private:
    struct Flying {
        Instant at{};
        std::uint64_t order = 0;
        std::size_t to = 0;
        std::size_t from = 0;
        CdapMessage message;
        bool operator<(const Flying& o) const {
            return std::pair(at, order) > std::pair(o.at, o.order);
        }
    };
    enum class Held { waiting, ready, requested };

    void start(std::size_t i) {
        NodeOptions options;
        options.seed = rng_.next();
        options.config.extensions.offered = !plain_;
        options.ids = 300;
        options.admission =
            *make_admission("user", std::vector<policy::Param>{{"flows", "40"}});
        nodes_[i] = std::make_unique<Node>(dif_, fmt::format("{}.IPCP", i), options);
        held_[i].clear();
        bound_[i].clear();
    }

    void carry_out(std::size_t i) {
        std::vector<FlowAction> actions = std::move(nodes_[i]->out.actions);
        nodes_[i]->out.clear();
        for (const FlowAction& action : actions)
            std::visit([&](const auto& a) { on(i, a); }, action);
    }
    void on(std::size_t i, const SendFlowMessage& send) {
        const std::size_t to = send.to == kAddresses[0] ? 0 : 1;
        REQUIRE(rina::check(send.message));
        log_ += fmt::format("{} {} {} {}\n", now_.ns, i, rina::to_string(send.message.op),
                            send.message.obj_name);
        for (int copies = rng_.chance(loss_) ? 0 : rng_.chance(0.1) ? 2 : 1; copies > 0; --copies)
            queue_.push({now_ + Duration::microseconds(static_cast<std::int64_t>(
                                    rng_.between(100, rng_.chance(0.05) ? 2'000'000 : 50'000))),
                         ++order_, to, i, send.message});
    }
    void on(std::size_t i, const Bind& bind) {
        REQUIRE(bound_[i].insert(bind.cep.value).second);
        terms_[i][bind.port.value] = bind.terms;
    }
    void on(std::size_t i, const SetPeer& set) {
        REQUIRE(bound_[i].count(set.cep.value) == 1);
        terms_[i][set.port.value] = set.terms;
    }
    void on(std::size_t i, const Drain& drain) { REQUIRE(bound_[i].count(drain.cep.value) == 1); }
    void on(std::size_t i, const Shut& shut) { REQUIRE(bound_[i].count(shut.cep.value) == 1); }
    void on(std::size_t i, const Unbind& unbind) {
        REQUIRE(bound_[i].erase(unbind.cep.value) == 1);
    }
    void on(std::size_t i, const FlowRequested& requested) {
        REQUIRE(held_[i].emplace(requested.port.value, Held::requested).second);
    }
    void on(std::size_t i, const FlowAllocated& allocated) {
        // Exactly one end to each allocation.
        REQUIRE(held_[i].at(allocated.port.value) != Held::ready);
        held_[i][allocated.port.value] = Held::ready;
    }
    void on(std::size_t i, const FlowFailed& failed) {
        REQUIRE(held_[i].at(failed.port.value) != Held::ready);
        held_[i].erase(failed.port.value);
    }
    void on(std::size_t i, const FlowDeallocated& gone) {
        REQUIRE(held_[i].at(gone.port.value) == Held::ready);
        REQUIRE(nodes_[i]->allocator.deallocate(now_, gone.port, nodes_[i]->out));
        held_[i].erase(gone.port.value);
        carry_out(i);
    }

    void deliver() {
        const Flying flying = queue_.top();
        queue_.pop();
        Node& node = *nodes_[flying.to];
        node.allocator.on_message(now_, kAddresses[flying.from], flying.message, node.out);
        carry_out(flying.to);
    }

    void something_happens() {
        const std::size_t i = rng_.below(2);
        FlowAllocator& allocator = nodes_[i]->allocator;
        FlowOutbox& out = nodes_[i]->out;
        const auto some = [&](Held state) -> std::optional<PortId> {
            std::vector<std::uint32_t> ports;
            for (const auto& [port, held] : held_[i])
                if (held == state) ports.push_back(port);
            if (ports.empty()) return std::nullopt;
            return PortId{ports[rng_.below(ports.size())]};
        };
        const std::uint64_t what = rng_.below(100);
        if (what < 40) {
            FlowSpec spec;
            spec.max_sdu_gap = rng_.chance(0.5) ? 0 : -1;
            spec.avg_bandwidth_bps = rng_.below(2) * 1000;
            const auto port = allocator.allocate(now_, kClient, kServer, spec,
                                                 static_cast<std::uint32_t>(rng_.next()), out);
            if (port) REQUIRE(held_[i].emplace(port->value, Held::waiting).second);
        } else if (what < 75) {
            if (const auto port = some(Held::requested)) {
                if (rng_.chance(0.1)) {
                    REQUIRE(allocator.refuse(now_, *port, out));
                    held_[i].erase(port->value);
                } else {
                    REQUIRE(allocator.accept(now_, *port, 0, out));
                }
            }
        } else if (what < 98) {
            if (const auto port = some(what < 80 ? Held::waiting : Held::ready)) {
                REQUIRE(allocator.deallocate(now_, *port, out));
                held_[i].erase(port->value);
            }
        } else {
            allocator.on_unregister(now_, kServer, out);
        }
        carry_out(i);
    }

    Rng rng_;
    double loss_;
    bool plain_;
    Dif dif_;
    Instant now_ = at_ms(0);
    std::unique_ptr<Node> nodes_[2];
    std::map<std::uint32_t, Held> held_[2];
    std::map<std::uint32_t, FlowTerms> terms_[2];
    std::set<std::uint32_t> bound_[2];
    std::priority_queue<Flying> queue_;
    std::uint64_t order_ = 0;
    std::size_t agreed_ = 0;
    std::string log_;
};

// Longer than all repetitions and all rests.
constexpr Duration kQuiet = Duration::seconds(200);

}  // namespace

TEST_CASE("two members agree on their flows, whatever the network does") {
    std::size_t agreed = 0;
    std::uint64_t allocated = 0;
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        INFO("seed " << seed);
        Network net(seed, static_cast<double>(seed % 4) * 0.1, false);
        for (int round = 0; round < 3; ++round) {
            net.run(Duration::seconds(20), true);
            if (seed % 3 == 0) net.restart(seed % 2);
        }
        net.stop_losing();
        net.run(kQuiet, false);
        net.check_agreement();
        net.close_all();
        net.run(kQuiet, false);
        net.check_nothing_left();
        agreed += net.agreed();
        allocated += net.allocated();
    }
    // The stories had something to tell.
    CHECK(agreed > 1000);
    CHECK(allocated > 5000);
}

TEST_CASE("as rlite does it, it takes a network that loses nothing") {
    for (std::uint64_t seed = 100; seed < 110; ++seed) {
        INFO("seed " << seed);
        Network net(seed, 0, true);
        net.run(Duration::seconds(30), true);
        net.run(kQuiet, false);
        net.close_all();
        net.run(kQuiet, false);
        net.check_nothing_left();
    }
}

TEST_CASE("the same seed tells the same story") {
    const auto story = [](std::uint64_t seed) {
        Network net(seed, 0.2, false);
        net.run(Duration::seconds(20), true);
        net.restart(0);
        net.run(Duration::seconds(20), true);
        return net.log();
    };
    CHECK(story(5) == story(5));
    CHECK(story(5) != story(6));
}

TEST_CASE("sixty thousand flows, and a million where CEP-ids are wide") {
    Dif dif{{{"a.IPCP", Address{1}}, {"b.IPCP", Address{2}}}, {{"server", {"b.IPCP"}}}};
    Directory directory(dif, "a.IPCP");
    for (const bool wide : {false, true}) {
        FlowAllocatorConfig config = Node::named({}, "a.IPCP");
        // A tenth of the million here: what counts is that nothing grows faster than the flows.
        const std::size_t flows = wide ? 100'000 : 60'000;
        config.format = wide ? rina::kWideFormat : rina::kDefaultFormat;
        config.flows_max = flows;
        IdPool ports = IdPool::of_width(4, Duration::seconds(5));
        IdPool ceps = IdPool::of_width(config.format.cep, Duration::seconds(5));
        FlowAllocator allocator(config, {}, {}, ports, ceps, directory, Rng(1));
        FlowOutbox out;
        for (std::size_t i = 0; i < flows; ++i) {
            if (!allocator.allocate(at_ms(0), kClient, kServer, {}, 0, out)) FAIL("flow " << i);
            out.clear();
        }
        CHECK_FALSE(allocator.allocate(at_ms(0), kClient, kServer, {}, 0, out));
        CHECK(ceps.in_use() == flows);
        CHECK(allocator.next_deadline() == at_ms(5000));
        allocator.on_timeout(at_ms(5000), out);
        CHECK(allocator.flows() == 0);
        CHECK(ports.in_use() + ceps.in_use() == 0);
    }
}
