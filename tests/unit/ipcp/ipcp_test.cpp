#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "normal_dif/core/ipcp/ipcp.hpp"

namespace sluice::mgmt {
namespace {

using rina::Address;
using rmt::N1PortId;

// IPC processes joined by links, in virtual time. A link is a lower DIF with two members.
class World {
  public:
    struct Link {
        std::size_t a = 0, b = 0;
        bool up = true;
        double loss = 0;
    };
    struct Node {
        std::unique_ptr<Ipcp> ipcp;
        // Flows: port to (link, the other node, its port).
        struct Flow {
            std::size_t link = 0, peer = 0;
            N1PortId peer_port{};
        };
        std::map<N1PortId, Flow> flows;
        std::uint16_t next_port = 0;
        std::vector<std::string> events;
        std::vector<std::string> flow_log;
        std::map<N1PortId, rina::Address> sources;  // that may come, by port
        rina::Address source_from(std::size_t peer) const {
            for (const auto& [port, flow] : flows)
                if (flow.peer == peer) return sources.at(port);
            return {};
        }
    };

    World(std::size_t size, const std::vector<std::pair<std::size_t, std::size_t>>& edges,
          std::uint64_t seed = 1, Duration gather = {}, SharedValues* shared = nullptr)
        : rng_(seed) {
        for (const auto& [a, b] : edges) links.push_back({a, b});
        for (std::size_t i = 0; i < size; ++i) {
            IpcpConfig c;
            c.name = name(i);
            c.dif = "n.DIF";
            c.first = i == 0;
            c.seed = seed * 1000 + i;
            c.gather = gather;
            if (gather.ns != 0 || shared != nullptr) c.sync = {};  // messages are counted
            c.shared = shared;
            for (std::size_t l = 0; l < links.size(); ++l)
                if (links[l].a == i || links[l].b == i) c.lower_difs.push_back(dif(l));
            auto made = Ipcp::create(now, c);
            REQUIRE(made);
            nodes.emplace_back();
            nodes.back().ipcp = std::move(*made);
        }
    }
    static std::string name(std::size_t i) { return fmt::format("{:03}.IPCP", i); }
    static std::string dif(std::size_t link) { return "l" + std::to_string(link); }

    Ipcp& operator[](std::size_t i) { return *nodes[i].ipcp; }

    void run(Duration d) {
        const Instant until = now + d;
        for (;;) {
            for (std::size_t i = 0; i < nodes.size(); ++i) carry_out(i);
            Instant next = queue_.empty() ? Instant::never() : queue_.begin()->first;
            for (const Node& n : nodes) next = std::min(next, n.ipcp->next_deadline());
            if (next > until) break;
            now = std::max(now, next);
            while (!queue_.empty() && queue_.begin()->first <= now) {
                auto act = std::move(queue_.begin()->second);
                queue_.erase(queue_.begin());
                act();
            }
            for (Node& n : nodes)
                if (n.ipcp->next_deadline() <= now) n.ipcp->on_timeout(now);
        }
        now = until;
    }

    // Everybody joins through a neighbour that is a member.
    void join_all() {
        std::set<std::size_t> members{0};
        for (bool more = true; more;) {
            more = false;
            for (std::size_t l = 0; l < links.size(); ++l) {
                std::size_t in = links[l].a, out = links[l].b;
                if (members.contains(out)) std::swap(in, out);
                if (!members.contains(in) || members.contains(out)) continue;
                REQUIRE((*this)[out].enroll(now, dif(l), name(in)));
                run(Duration::seconds(8));
                REQUIRE((*this)[out].is_member());
                members.insert(out);
                used.insert(l);
                more = true;
            }
        }
        REQUIRE(members.size() == nodes.size());
        for (std::size_t l = 0; l < links.size(); ++l)
            if (!used.contains(l)) REQUIRE((*this)[links[l].a].enroll(now, dif(l),
                                                                      name(links[l].b)));
        run(Duration::seconds(20));
    }
    void cut(std::size_t link) {
        links[link].up = false;
        for (std::size_t i = 0; i < nodes.size(); ++i)
            for (auto at = nodes[i].flows.begin(); at != nodes[i].flows.end();) {
                if (at->second.link != link) {
                    ++at;
                    continue;
                }
                const N1PortId port = at->first;
                at = nodes[i].flows.erase(at);
                nodes[i].ipcp->flow_down(now, port);
            }
    }

    // The hops from one node to another by their routes; none if it is not reached.
    std::optional<unsigned> hops(std::size_t from, std::size_t to) {
        const Address wanted = (*this)[to].address();
        for (unsigned n = 0; n <= nodes.size(); ++n) {
            if (from == to) return n;
            const N1PortId* port = nullptr;
            for (const rmt::Route& r : (*this)[from].routes())
                if (r.destination == wanted) port = &r.hops.ports.front().port;
            if (port == nullptr || !nodes[from].flows.contains(*port)) return std::nullopt;
            from = nodes[from].flows[*port].peer;
        }
        return std::nullopt;
    }
    void check_converged() {
        std::set<std::uint64_t> addresses;
        for (const Node& n : nodes) addresses.insert(n.ipcp->address().value);
        CHECK(addresses.size() == nodes.size());
        const auto links_of = [](const Ipcp& i) {
            std::vector<std::pair<std::string, std::string>> out;
            i.lfdb().for_each([&](const rina::LowerFlow& f) {
                out.emplace_back(f.local_node, f.remote_node);
            });
            return out;
        };
        const auto apps_of = [](const Ipcp& i) {
            std::vector<std::string> out;
            i.dft().for_each([&](const rina::DftEntry& e) {
                out.push_back(e.application.to_string() + "@" + e.ipcp);
            });
            return out;
        };
        for (std::size_t i = 0; i < nodes.size(); ++i) {
            CHECK(links_of((*this)[i]) == links_of((*this)[0]));
            CHECK(apps_of((*this)[i]) == apps_of((*this)[0]));
            for (std::size_t j = 0; j < nodes.size(); ++j) {
                INFO("from " << i << " to " << j);
                CHECK(hops(i, j));
            }
        }
    }

    Instant now{1'000'000'000};
    std::vector<Node> nodes;
    std::vector<Link> links;
    std::set<std::size_t> used;
    double loss = 0;
    std::uint64_t delivered = 0;

  private:
    static constexpr Duration kDelay = Duration::milliseconds(1);

    void after(Duration d, std::function<void()> act) {
        queue_.emplace(now + d, std::move(act));
    }

    void carry_out(std::size_t i) {
        // An answer to one action may bring others.
        for (auto list = nodes[i].ipcp->take_actions(); !list.empty();
             list = nodes[i].ipcp->take_actions())
            for (IpcpAction& action : list) carry_out(i, action);
    }
    void carry_out(std::size_t i, IpcpAction& action) {
        if (auto* s = std::get_if<SendToNeighbor>(&action)) {
            deliver(i, s->port, s->pci, std::move(s->payload));
        } else if (auto* m = std::get_if<SendToMember>(&action)) {
            relay(i, m->pci, std::move(m->payload));
        } else if (auto* a = std::get_if<AllocateLowerFlow>(&action)) {
            allocate(i, *a);
        } else if (auto* r = std::get_if<ReleaseLowerFlow>(&action)) {
            release(i, r->port);
        } else if (auto* o = std::get_if<AllowSource>(&action)) {
            nodes[i].sources[o->port] = o->source;
        } else if (auto* q = std::get_if<FlowRequested>(&action)) {
            REQUIRE(nodes[i].ipcp->accept_flow(now, q->port, 0));
            nodes[i].flow_log.push_back("requested by " + q->remote.to_string());
        } else if (std::holds_alternative<Bind>(action)) {
            nodes[i].flow_log.push_back("bind");
        } else if (std::holds_alternative<SetPeer>(action)) {
            nodes[i].flow_log.push_back("set peer");
        } else if (std::holds_alternative<FlowAllocated>(action)) {
            nodes[i].flow_log.push_back("allocated");
        } else if (std::holds_alternative<FlowDeallocated>(action)) {
            nodes[i].flow_log.push_back("deallocated");
        } else if (auto* f = std::get_if<FlowFailed>(&action)) {
            nodes[i].flow_log.push_back("failed: " + f->text);
        } else if (auto* e = std::get_if<NeighborEvent>(&action)) {
            nodes[i].events.push_back((e->up ? "up " : "down ") + e->neighbor +
                                      (e->why.empty() ? "" : ": " + e->why));
        }
    }
    void deliver(std::size_t from, N1PortId port, rina::Pci pci, rina::Bytes payload) {
        const auto flow = nodes[from].flows.find(port);
        if (flow == nodes[from].flows.end() || !links[flow->second.link].up) return;
        if (rng_.chance(loss)) return;
        const Node::Flow to = flow->second;
        after(kDelay, [this, to, pci, payload = std::move(payload)] {
            const auto back = nodes[to.peer].flows.find(to.peer_port);
            if (back == nodes[to.peer].flows.end() || !links[to.link].up) return;
            ++delivered;
            if (pci.destination == rina::kThisHop ||
                pci.destination == nodes[to.peer].ipcp->address())
                nodes[to.peer].ipcp->received(now, to.peer_port, pci, payload);
            else
                relay(to.peer, pci, payload);
        });
    }
    void relay(std::size_t at, rina::Pci pci, rina::Bytes payload) {
        if (pci.destination == nodes[at].ipcp->address())
            return after(kDelay, [this, at, pci, payload = std::move(payload)] {
                nodes[at].ipcp->received(now, rmt::kNoN1Port, pci, payload);
            });
        if (pci.ttl-- == 0) return;
        for (const rmt::Route& r : nodes[at].ipcp->routes())
            if (r.destination == pci.destination)
                return deliver(at, r.hops.ports.front().port, pci, std::move(payload));
    }
    void allocate(std::size_t i, const AllocateLowerFlow& a) {
        const auto l = static_cast<std::size_t>(std::stoul(a.lower_dif.substr(1)));
        const std::size_t peer = links[l].a == i ? links[l].b : links[l].a;
        const bool known = name(peer) == a.peer || a.peer == "n.DIF";
        after(kDelay, [this, i, l, peer, a, known] {
            if (!links[l].up || !known)
                return nodes[i].ipcp->flow_failed(now, a.lower_dif, a.peer);
            const N1PortId mine{nodes[i].next_port++};
            const N1PortId theirs{nodes[peer].next_port++};
            nodes[i].flows[mine] = {l, peer, theirs};
            nodes[peer].flows[theirs] = {l, i, mine};
            nodes[peer].ipcp->flow_accepted(now, theirs, a.lower_dif);
            nodes[i].ipcp->flow_up(now, mine, a.lower_dif, a.peer);
        });
    }
    void release(std::size_t i, N1PortId port) {
        const auto flow = nodes[i].flows.find(port);
        if (flow == nodes[i].flows.end()) return;
        const Node::Flow to = flow->second;
        nodes[i].flows.erase(flow);
        after(kDelay * 2, [this, to] {
            if (nodes[to.peer].flows.erase(to.peer_port) != 0)
                nodes[to.peer].ipcp->flow_down(now, to.peer_port);
        });
    }

    Rng rng_;
    std::multimap<Instant, std::function<void()>> queue_;
};

rina::AppName app(const std::string& text) { return rina::AppName{text, {}, {}, {}}; }

TEST_CASE("invoke ids begin again before they would be negative") {
    constexpr std::int32_t kLast = std::numeric_limits<std::int32_t>::max();
    CHECK(next_invoke_id_after(1) == 2);
    CHECK(next_invoke_id_after(kLast - 1) == kLast);
    CHECK(next_invoke_id_after(kLast) == 1);
}

TEST_CASE("Two nodes are a DIF", "[ipcp]") {
    World w(2, {{0, 1}});
    w.join_all();
    w[0].register_application(w.now, app("server"));
    w.run(Duration::seconds(1));
    CHECK(w[1].dft().pick(app("server"), 0) == World::name(0));
    w.check_converged();
    CHECK(w[0].address() == Address{1});
    CHECK(w[1].members().address_of(World::name(0)) == Address{1});
    w[0].unregister_application(w.now, app("server"));
    w.run(Duration::seconds(1));
    CHECK(w[1].dft().size() == 0);
}

TEST_CASE("A line, where what the ends say goes through the middle", "[ipcp]") {
    World w(5, {{0, 1}, {1, 2}, {2, 3}, {3, 4}});
    w.join_all();
    w[4].register_application(w.now, app("far"));
    w.run(Duration::seconds(1));
    w.check_converged();
    CHECK(w.hops(0, 4) == 4u);
    CHECK(w[0].dft().pick(app("far"), 7) == World::name(4));
}

TEST_CASE("A flow across a line, and one that stays at home", "[ipcp]") {
    using Log = std::vector<std::string>;
    World w(4, {{0, 1}, {1, 2}, {2, 3}});
    CHECK(w[3].allocate_flow(w.now, app("client"), app("server"), {}, 1).error().code == ENOTCONN);
    w.join_all();
    w[3].register_application(w.now, app("server"));
    w.run(Duration::seconds(1));
    for (const std::size_t from : {std::size_t{0}, std::size_t{3}}) {
        for (World::Node& n : w.nodes) n.flow_log.clear();
        const auto port = w[from].allocate_flow(w.now, app("client"), app("server"), {}, 1);
        REQUIRE(port);
        w.run(Duration::seconds(1));
        if (from == 0) {
            CHECK(w.nodes[3].flow_log == Log{"requested by client", "bind", "allocated"});
            CHECK(w.nodes[0].flow_log == Log{"bind", "set peer", "allocated"});
        } else {
            CHECK(w.nodes[3].flow_log == Log{"bind", "requested by client", "bind", "allocated",
                                             "set peer", "allocated"});
        }
        CHECK(w.nodes[1].flow_log.empty());
        REQUIRE(w[from].deallocate_flow(w.now, *port));
        w.run(Duration::seconds(10));
        CHECK(w.nodes[3].flow_log.back() == "deallocated");
        // The server has not let go of its ends.
        CHECK(w[from].flows().flows() == (from == 0 ? 0 : 2));
    }
    CHECK(w[0].allocate_flow(w.now, app("client"), app("nobody"), {}, 1).error().code == ENOENT);
}

TEST_CASE("What claims to be our own message is not", "[ipcp]") {
    World w(2, {{0, 1}});
    w.join_all();
    const auto before = w[0].drops(IpcpDrop::forged_source);
    rina::AData data;
    data.source = data.destination = w[0].address();
    data.message.op = rina::OpCode::remove;
    data.message.obj_class = rina::rib::kFlow.obj_class;
    data.message.obj_name = rina::rib::kFlow.obj_name;
    rina::CdapMessage outer;
    outer.op = rina::OpCode::write;
    outer.obj_class = rina::rib::kAData.obj_class;
    outer.obj_name = rina::rib::kAData.obj_name;
    outer.value = rina::value_of(data);
    rina::Pci pci;
    pci.source = pci.destination = w[0].address();
    w[0].received(w.now, w.nodes[0].flows.begin()->first, pci, rina::encode(outer));
    CHECK(w[0].drops(IpcpDrop::forged_source) == before + 1);
}

TEST_CASE("From a neighbour at the edge comes nothing but its own", "[ipcp]") {
    World w(4, {{0, 1}, {1, 2}, {2, 3}, {3, 1}});
    w.join_all();
    const auto address = [&](std::size_t i) { return w[i].address(); };
    // To 1, node 0 is at the edge; to 0, 1 leads on; in the ring all do.
    CHECK(w.nodes[1].source_from(0) == address(0));
    CHECK(w.nodes[0].source_from(1) == rmt::kAnySource);
    CHECK(w.nodes[1].source_from(2) == rmt::kAnySource);
    w.cut(2);  // 2 - 3
    w.run(Duration::seconds(20));
    CHECK(w.nodes[1].source_from(2) == address(2));
    CHECK(w.nodes[1].source_from(3) == address(3));
    CHECK(w.nodes[2].source_from(1) == rmt::kAnySource);

    REQUIRE(w[1].set_parameter(w.now, "routing", "check_sources", "0"));
    w.run(Duration::milliseconds(1));
    CHECK(w.nodes[1].source_from(0) == rmt::kAnySource);
    REQUIRE(w[1].set_parameter(w.now, "routing", "check_sources", "1"));
    w.run(Duration::milliseconds(1));
    CHECK(w.nodes[1].source_from(0) == address(0));
}

TEST_CASE("From who is no neighbour yet, or any more, comes nothing", "[ipcp]") {
    World w(2, {{0, 1}});
    REQUIRE(w[1].enroll(w.now, World::dif(0), World::name(0)));
    bool was_closed = false;
    for (int i = 0; i < 100 && !w[1].is_member(); ++i) {
        w.run(Duration::milliseconds(100));
        for (const auto& [port, source] : w.nodes[0].sources)
            was_closed = was_closed || source == rmt::kNoSource;
    }
    CHECK(was_closed);
    w.run(Duration::seconds(1));
    CHECK(w.nodes[0].source_from(1) == w[1].address());
    CHECK(w.nodes[1].source_from(0) == w[0].address());
    const N1PortId port = w.nodes[0].flows.begin()->first;
    REQUIRE(w[0].disconnect(w.now, World::name(1)));
    w.run(Duration::milliseconds(1));
    CHECK(w.nodes[0].sources.at(port) == rmt::kNoSource);
}

TEST_CASE("A ring loses a link and goes round the other way, and back", "[ipcp]") {
    World w(6, {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 0}});
    w.join_all();
    w.check_converged();
    CHECK(w.hops(0, 5) == 1u);
    w.cut(5);
    w.run(Duration::seconds(5));
    CHECK(w.hops(0, 5) == 5u);
    w.check_converged();
    // They call each other again by themselves.
    w.links[5].up = true;
    w.run(Duration::seconds(30));
    CHECK(w.hops(0, 5) == 1u);
    w.check_converged();
}

TEST_CASE("A partition, and what both parts learned meanwhile", "[ipcp]") {
    World w(4, {{0, 1}, {1, 2}, {2, 3}});
    w.join_all();
    w.cut(1);
    w[0].register_application(w.now, app("left"));
    w[3].register_application(w.now, app("right"));
    w.run(Duration::seconds(60));
    CHECK_FALSE(w.hops(0, 3));
    CHECK(w[0].dft().pick(app("right"), 0).empty());
    w.links[1].up = true;
    w.run(Duration::seconds(60));
    w.check_converged();
    CHECK(w[0].dft().pick(app("right"), 0) == World::name(3));
    CHECK(w[3].dft().pick(app("left"), 0) == World::name(0));
}

TEST_CASE("A neighbour that was dismissed is not called back", "[ipcp]") {
    World w(2, {{0, 1}});
    w.join_all();
    REQUIRE(w[1].disconnect(w.now, World::name(0)));
    w.run(Duration::seconds(120));
    CHECK(w[0].enrollment().adjacencies().empty());
    CHECK(w.nodes[0].events.back() == "down 001.IPCP: released by the peer");
    CHECK_FALSE(w[1].disconnect(w.now, World::name(0)));
}

TEST_CASE("A node that died silently is noticed", "[ipcp]") {
    World w(3, {{0, 1}, {1, 2}});
    w.join_all();
    w.links[1].loss = 1;
    w.links[1].up = false;  // and nobody is told
    w.run(Duration::seconds(120));
    CHECK_THAT(w.nodes[1].events.back(),
               Catch::Contains("002.IPCP") || Catch::Contains("no flow"));
    CHECK_FALSE(w.hops(0, 2));
    w.links[1].up = true;
    w.run(Duration::seconds(60));
    w.check_converged();
}

TEST_CASE("Random graphs converge, also where messages are lost", "[ipcp]") {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        INFO("seed " << seed);
        Rng rng(seed);
        const std::size_t n = rng.between(3, 12);
        std::vector<std::pair<std::size_t, std::size_t>> edges;
        for (std::size_t i = 1; i < n; ++i) edges.emplace_back(rng.below(i), i);
        for (std::size_t i = 0; i < n / 2; ++i) {
            const std::size_t a = rng.below(n), b = rng.below(n);
            const std::pair<std::size_t, std::size_t> edge = std::minmax(a, b);
            if (a != b && std::find(edges.begin(), edges.end(), edge) == edges.end())
                edges.push_back(edge);
        }
        World w(n, edges, seed);
        w.join_all();
        for (std::size_t i = 0; i < n; i += 2)
            w[i].register_application(w.now, app("app" + std::to_string(i)));
        w.loss = 0.05;
        const std::size_t down = rng.below(edges.size());
        w.cut(down);
        w.run(Duration::seconds(60));
        w.links[down].up = true;
        w.run(Duration::seconds(120));
        w.loss = 0;
        w.run(Duration::seconds(900));
        w.check_converged();
        for (std::size_t i = 0; i < n; ++i) {
            CHECK(w[i].drops(IpcpDrop::not_cdap) == 0);
            CHECK(w[i].drops(IpcpDrop::not_valid) == 0);
            CHECK(w[i].drops(IpcpDrop::unknown_object) == 0);
        }
    }
}

TEST_CASE("News that is gathered takes fewer messages to the same end", "[ipcp]") {
    const auto messages = [](Duration gather) {
        SharedValues shared;
        World w(16, {{0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}, {1, 6}, {1, 7}, {1, 8}, {2, 9},
                     {2, 10}, {2, 11}, {3, 12}, {3, 13}, {4, 14}, {4, 15}, {5, 15}, {6, 14}},
                3, gather, &shared);
        w.join_all();
        // Both at once, so that one message can tell of them.
        const std::uint64_t before = w.delivered;
        for (int i = 0; i < 5; ++i)
            w[9].register_application(w.now, app("app" + std::to_string(i)));
        w[9].unregister_application(w.now, app("app0"));
        w.run(Duration::seconds(5));
        const std::uint64_t spent = w.delivered - before;
        w.cut(16);
        w.run(Duration::seconds(5));
        w.check_converged();
        w.links[16].up = true;
        w.run(Duration::seconds(30));
        w.check_converged();
        CHECK(w[0].dft().size() == 4);
        return spent;
    };
    CHECK(messages(Duration::milliseconds(20)) * 2 < messages(Duration{}));
}

TEST_CASE("The same seed gives the same messages", "[ipcp]") {
    const auto digest = [] {
        World w(4, {{0, 1}, {1, 2}, {2, 3}, {3, 0}}, 7);
        w.join_all();
        w.loss = 0.1;
        w.run(Duration::seconds(300));
        std::uint64_t sum = w.delivered;
        for (std::size_t i = 0; i < 4; ++i)
            sum = sum * 1'000'003 + w[i].messages_sent() * 31 + w[i].address().value;
        return sum;
    };
    CHECK(digest() == digest());
}

// ---- bad input ----

struct Victim {
    World w{2, {{0, 1}}};
    Victim() { w.join_all(); }
    void send(const rina::CdapMessage& m, Address source, Address destination) {
        rina::Pci pci;
        pci.type = static_cast<std::uint8_t>(rina::PduType::management);
        pci.source = source;
        pci.destination = destination;
        w[0].received(w.now, N1PortId{0}, pci, rina::encode(m));
    }
};

TEST_CASE("Messages that crash rlite's daemon are refused, and counted", "[ipcp]") {
    Victim v;
    rina::CdapMessage m;
    m.invoke_id = 900;
    m.version = 1;
    SECTION("an entry without a value") {
        m.op = rina::OpCode::create;
        for (const rina::RibName object : {rina::rib::kDft, rina::rib::kRouting}) {
            ++m.invoke_id;
            m.obj_class = object.obj_class;
            m.obj_name = object.obj_name;
            v.send(m, Address{2}, rina::kThisHop);
        }
        CHECK(v.w[0].drops(IpcpDrop::bad_object) == 2);
    }
    SECTION("A_DATA from address 0, and with another's address") {
        rina::CdapMessage inner;
        inner.op = rina::OpCode::remove;
        inner.invoke_id = 3;
        inner.obj_class = "flow";
        inner.obj_name = "/mgmt/flowalloc/flows";
        for (const std::uint64_t claimed : {0, 1, 77}) {
            rina::CdapMessage outer;
            outer.op = rina::OpCode::write;
            outer.obj_class = "a_data";
            outer.obj_name = "/a_data";
            outer.value =
                rina::value_of(rina::AData{Address{claimed}, v.w[0].address(), inner});
            v.send(outer, v.w[1].address(), v.w[0].address());
        }
        CHECK(v.w[0].drops(IpcpDrop::forged_source) == 3);
    }
    SECTION("a keepalive inside A_DATA") {
        rina::CdapMessage inner;
        inner.op = rina::OpCode::read;
        inner.invoke_id = 3;
        inner.obj_class = "keepalive";
        inner.obj_name = "/mgmt/keepalive";
        rina::CdapMessage outer;
        outer.op = rina::OpCode::write;
        outer.obj_class = "a_data";
        outer.obj_name = "/a_data";
        outer.value =
            rina::value_of(rina::AData{v.w[1].address(), v.w[0].address(), inner});
        v.send(outer, v.w[1].address(), v.w[0].address());
        CHECK(v.w[0].drops(IpcpDrop::unknown_object) == 1);
    }
    SECTION("bytes that are no message") {
        rina::Pci pci;
        const std::byte junk[] = {std::byte{0xff}, std::byte{0xff}, std::byte{0x7f}};
        v.w[0].received(v.w.now, N1PortId{0}, pci, junk);
        v.w[0].received(v.w.now, N1PortId{0}, pci, {});
        CHECK(v.w[0].drops(IpcpDrop::not_cdap) + v.w[0].drops(IpcpDrop::not_valid) == 2);
    }
    v.w.run(Duration::seconds(100));
    v.w.check_converged();
}

TEST_CASE("Configurations that cannot be are refused", "[ipcp]") {
    const auto error = [](auto change) {
        IpcpConfig c;
        c.name = "a.IPCP";
        c.dif = "n.DIF";
        change(c);
        const auto made = Ipcp::create(Instant{1}, c);
        REQUIRE_FALSE(made);
        return made.error().message;
    };
    CHECK_THAT(error([](IpcpConfig& c) { c.name.clear(); }), Catch::Contains("no name"));
    CHECK_THAT(error([](IpcpConfig& c) { c.dif = c.name; }), Catch::Contains("both called"));
    CHECK_THAT(error([](IpcpConfig& c) { c.address = Address{0}; }), Catch::Contains("address 0"));
    CHECK_THAT(error([](IpcpConfig& c) { c.address = Address{1ull << 40}; }),
               Catch::Contains("expected 1 to"));
    CHECK_THAT(error([](IpcpConfig& c) { c.routing = "rip"; }), Catch::Contains("rip"));
    CHECK_THAT(error([](IpcpConfig& c) { c.format.cep = 3; }), Catch::Contains("3"));
}

}  // namespace
}  // namespace sluice::mgmt
