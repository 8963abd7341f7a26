#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/check.hpp"
#include "dif_targets.hpp"
#include "flow_model.hpp"
#include "mutations.hpp"
#include "normal_dif/core/ipcp/ipcp.hpp"
#include "script.hpp"

namespace sluice::fuzz {

namespace {

using namespace sluice::mgmt;
using rina::Address;
using rina::CdapMessage;
using rmt::N1PortId;

using Bytes = rina::Bytes;

constexpr std::size_t kNodes = 3;
constexpr std::size_t kFlowsMax = 8, kMemoriesMax = 16;

// Each two of the three IPC processes share a lower DIF, which is named after both.
std::string lower_dif(std::size_t a, std::size_t b) {
    return "l" + std::to_string(std::min(a, b)) + std::to_string(std::max(a, b));
}

// What a run is about, of its first byte.
constexpr std::uint8_t kNoSync = 8, kStarts = 32, kShared = 64, kHonest = 128;

IpcpConfig config_of(std::size_t index, std::uint8_t how) {
    IpcpConfig config;
    config.name = ipcp_of(static_cast<std::uint8_t>(index));
    config.dif = "n.DIF";
    config.first = index == 0;
    config.seed = index + 1;
    for (std::size_t other = 0; other < kNodes; ++other)
        if (other != index) config.lower_difs.push_back(lower_dif(index, other));
    if ((how & 1) != 0) {
        config.auth.policy = "psk";
        config.auth.secret = std::string(64, 'a');
        // The nonces of a run are those of the next one, too.
        config.auth.entropy = [counter = std::uint8_t{0},
                               index](std::span<std::byte> to) mutable {
            ++counter;
            for (std::byte& b : to) b = static_cast<std::byte>(counter * 3 + index);
            return true;
        };
    }
    if ((how & 2) != 0) config.addresses.policy = AddressPolicy::static_;
    if ((how & 2) != 0) config.address = Address{index + 1};
    if ((how & 4) != 0) config.gather = Duration::milliseconds(200);
    if ((how & kNoSync) != 0) config.sync = {};
    if ((how & 16) != 0) config.format = rina::kWideFormat;
    config.flows.flows_max = kFlowsMax;
    config.flows.half_open_max = 3;
    config.flows.memories_max = kMemoriesMax;
    return config;
}

class World {
  public:
    explicit World(std::uint8_t how) : how_(how) {
        for (std::size_t i = 0; i < kNodes; ++i) start(i);
    }
    void step(Script& script);
    void end();
    bool is_fruitful() const { return joined_ != 0; }

  private:
    struct Packet {
        std::size_t to = 0;
        N1PortId port{};
        rina::Pci pci;
        Bytes payload;
    };
    struct Flow {
        std::size_t peer = 0;
        N1PortId peer_port{};
    };
    struct Node {
        std::unique_ptr<Ipcp> ipcp;
        std::map<N1PortId, Flow> flows;
        std::uint16_t next_port = 0;
        FlowModel model;
    };

    void start(std::size_t i);
    void connect(std::size_t from, std::size_t to, const std::string& peer);
    void disconnect(std::size_t i, N1PortId port);
    void take(std::size_t i);
    void carry(std::size_t i, IpcpAction& action);
    void send(Packet packet);
    void to_member(std::size_t from, SendToMember& action);
    void give(const Packet& packet);
    void settle(int packets);
    void pass(Duration d);
    void pass_long(Duration d);
    Instant next_deadline();

    void network(Script& script, std::uint8_t op);
    void forge(Script& script, std::uint8_t op);
    CdapMessage table_message(Script& script);
    void user(Script& script, std::uint8_t op);
    void operate(Script& script);
    void tune(Script& script);
    void check_agreement();

    std::uint8_t how_;
    SharedValues shared_;
    std::uint32_t starts_ = 0;
    bool is_tuned_ = false;
    std::array<Node, kNodes> nodes_;
    std::deque<Packet> wire_;
    std::deque<Packet> said_;
    Instant now_{1'000'000'000};
    std::size_t joined_ = 0;
};

void World::start(std::size_t i) {
    Node& node = nodes_[i];
    while (!node.flows.empty()) disconnect(i, node.flows.begin()->first);
    node.ipcp.reset();
    IpcpConfig config = config_of(i, how_);
    if ((how_ & kStarts) != 0) config.start = ++starts_;
    if ((how_ & kShared) != 0) config.shared = &shared_;
    auto made = Ipcp::create(now_, std::move(config));
    SLUICE_CHECK(made.has_value());
    node.ipcp = std::move(*made);
    node.model = {};
}

void World::connect(std::size_t from, std::size_t to, const std::string& peer) {
    Node &a = nodes_[from], &b = nodes_[to];
    const N1PortId pa{a.next_port++}, pb{b.next_port++};
    a.flows[pa] = {to, pb};
    b.flows[pb] = {from, pa};
    b.ipcp->flow_accepted(now_, pb, lower_dif(from, to));
    a.ipcp->flow_up(now_, pa, lower_dif(from, to), peer);
}

void World::disconnect(std::size_t i, N1PortId port) {
    const auto at = nodes_[i].flows.find(port);
    if (at == nodes_[i].flows.end()) return;
    const Flow flow = at->second;
    nodes_[i].flows.erase(at);
    if (nodes_[i].ipcp) nodes_[i].ipcp->flow_down(now_, port);
    disconnect(flow.peer, flow.peer_port);
}

void World::send(Packet packet) {
    SLUICE_CHECK(packet.payload.size() <= 16384);
    const auto message = rina::decode_cdap(packet.payload);
    SLUICE_CHECK(message.has_value() && rina::check(*message).has_value());
    said_.push_back(packet);
    if (said_.size() > 48) said_.pop_front();
    wire_.push_back(std::move(packet));
    if (wire_.size() > 400) wire_.pop_front();
}

// By the routes of all that are on the way.
void World::to_member(std::size_t from, SendToMember& action) {
    std::size_t at = from;
    N1PortId arrival = rmt::kNoN1Port;
    for (int hops = 0; hops < 4; ++hops) {
        if (nodes_[at].ipcp->address() == action.pci.destination)
            return send({at, arrival, action.pci, std::move(action.payload)});
        const std::vector<rmt::Route>& routes = nodes_[at].ipcp->routes();
        const auto route = std::find_if(routes.begin(), routes.end(), [&](const rmt::Route& r) {
            return r.destination == action.pci.destination && !r.hops.ports.empty();
        });
        if (route == routes.end()) return;
        const auto flow = nodes_[at].flows.find(route->hops.ports.front().port);
        if (flow == nodes_[at].flows.end()) return;
        at = flow->second.peer;
        arrival = flow->second.peer_port;
    }
}

void World::carry(std::size_t i, IpcpAction& action) {
    Node& node = nodes_[i];
    if (auto* const s = std::get_if<SendToNeighbor>(&action)) {
        const auto flow = node.flows.find(s->port);
        if (flow == node.flows.end()) return;
        return send({flow->second.peer, flow->second.peer_port, s->pci, std::move(s->payload)});
    }
    if (auto* const s = std::get_if<SendToMember>(&action)) return to_member(i, *s);
    if (const auto* const r = std::get_if<ReleaseLowerFlow>(&action))
        return disconnect(i, r->port);
    if (const auto* const a = std::get_if<AllocateLowerFlow>(&action)) {
        for (std::size_t other = 0; other < kNodes; ++other)
            if (other != i && lower_dif(i, other) == a->lower_dif && wire_.size() < 200 &&
                node.flows.size() < 8)
                return connect(i, other, a->peer);
        return node.ipcp->flow_failed(now_, a->lower_dif, a->peer);
    }
    if (const auto* const c = std::get_if<AddressChanged>(&action))
        SLUICE_CHECK(c->address != Address{});
    std::visit([&](const auto& one) { node.model.take(one); }, action);
}

void World::take(std::size_t i) {
    for (int rounds = 0; rounds < 8; ++rounds) {
        std::vector<IpcpAction> actions = nodes_[i].ipcp->take_actions();
        if (actions.empty()) break;
        // One message does not make many.
        SLUICE_CHECK(actions.size() <= 400);
        for (IpcpAction& action : actions) carry(i, action);
    }
    const Ipcp& ipcp = *nodes_[i].ipcp;
    SLUICE_CHECK(ipcp.enrollment().adjacencies().size() <= nodes_[i].flows.size());
    SLUICE_CHECK(ipcp.flows().flows() <= kFlowsMax);
    SLUICE_CHECK(ipcp.flows().unanswered() <= kMemoriesMax);
    SLUICE_CHECK(!ipcp.is_member() || ipcp.address() != Address{});
    SLUICE_CHECK(nodes_[i].model.bound() <= kFlowsMax);
}

void World::give(const Packet& packet) {
    const bool was = nodes_[packet.to].ipcp->is_member();
    nodes_[packet.to].ipcp->received(now_, packet.port, packet.pci, packet.payload);
    if (!was && nodes_[packet.to].ipcp->is_member()) ++joined_;
    for (std::size_t i = 0; i < kNodes; ++i) take(i);
}

void World::settle(int packets) {
    for (int i = 0; i < packets && !wire_.empty(); ++i) {
        const Packet next = std::move(wire_.front());
        wire_.pop_front();
        give(next);
    }
}

Instant World::next_deadline() {
    Instant next = Instant::never();
    for (Node& node : nodes_) next = std::min(next, node.ipcp->next_deadline());
    return next;
}

// A deadline that has passed does not stay.
void World::pass(Duration d) {
    now_ = now_ + d;
    for (std::size_t i = 0; i < kNodes; ++i) {
        for (int rounds = 0; nodes_[i].ipcp->next_deadline() <= now_; ++rounds) {
            SLUICE_CHECK(rounds < 8);
            nodes_[i].ipcp->on_timeout(now_);
            take(i);
        }
    }
    for (std::size_t i = 0; i < kNodes; ++i) take(i);
}

void World::pass_long(Duration d) {
    const Instant until = now_ + d;
    for (int i = 0; i < 200 && now_ < until; ++i) {
        settle(60);
        const Instant next = std::min(next_deadline(), until);
        pass(std::max(next - now_, Duration{}));
    }
}

void World::network(Script& script, std::uint8_t op) {
    if (op == 1) return settle(60);
    if (wire_.empty()) return;
    const auto at = wire_.begin() + static_cast<long>(script.byte() % std::min<std::size_t>(
                                                                         wire_.size(), 4));
    Packet packet = *at;
    if (op != 2) wire_.erase(at);
    if (op == 3) return;
    if (op == 4 && (how_ & kHonest) == 0) {
        auto message = rina::decode_cdap(packet.payload);
        if (!message) return;
        mutate(script, *message);
        packet.payload = rina::encode(*message);
    }
    give(packet);
}

// An entry or two about whom it likes.
CdapMessage World::table_message(Script& script) {
    const std::uint8_t how = script.byte();
    CdapMessage m;
    m.op = (how & 1) != 0 ? rina::OpCode::remove : rina::OpCode::create;
    m.invoke_id = 1000 + script.byte();
    rina::RibName name = rina::rib::kNeighbors;
    const std::size_t count = 1 + (how >> 6);
    rina::NeighborCandidateList candidates;
    rina::LowerFlowList flows;
    rina::DftSlice slice;
    rina::AddrAllocEntries entries;
    for (std::size_t i = 0; i < count; ++i) {
        const std::string who = ipcp_of(script.byte());
        const std::uint64_t number = script.number();
        const std::uint8_t more = script.byte();
        candidates.candidates.push_back(
            {who, (more & 1) != 0 ? "1" : "", Address{number}, {"l01"}});
        flows.flows.push_back({who, ipcp_of(more), more, static_cast<std::uint32_t>(number),
                               (more & 8) != 0, more});
        slice.entries.push_back({app_of(more), who, number});
        entries.entries.push_back({who, Address{number}});
    }
    switch (how >> 1 & 7) {
        case 0: m.value = rina::value_of(candidates); break;
        case 1: name = rina::rib::kRouting; m.value = rina::value_of(flows); break;
        case 2: name = rina::rib::kDft; m.value = rina::value_of(slice); break;
        case 3: name = rina::rib::kAddresses; m.value = rina::value_of(entries); break;
        case 4:
            name = rina::rib::kAddressClaim;
            m.value = rina::value_of(entries.entries.front());
            break;
        case 5: {
            const auto piece = script.piece(64);
            name = kDigestObject;
            m.op = rina::OpCode::write;
            m.value = Bytes(piece.begin(), piece.end());
            break;
        }
        default: name = rina::rib::kRoutingPolicy; m.value = std::string("none");
    }
    m.obj_class = name.obj_class;
    m.obj_name = name.obj_name;
    return m;
}

void World::forge(Script& script, std::uint8_t op) {
    Packet packet;
    const std::uint8_t how = script.byte();
    if ((how_ & kHonest) != 0) return;
    packet.to = how % kNodes;
    Node& node = nodes_[packet.to];
    packet.port = N1PortId{static_cast<std::uint16_t>(how / 4 % 8)};
    if (op == 5 && !said_.empty()) {
        packet = said_[how % said_.size()];
        auto message = rina::decode_cdap(packet.payload);
        SLUICE_CHECK(message.has_value());
        for (int i = script.byte() % 4; i > 0; --i) mutate(script, *message);
        packet.payload = rina::encode(*message);
        if ((how & 0x80) != 0) packet.pci.source = Address{script.number()};
    } else if (op == 6) {
        packet.payload = rina::encode(table_message(script));
    } else {
        const auto piece = script.piece(script.word() % 512);
        packet.payload.assign(piece.begin(), piece.end());
        if ((how & 0x80) != 0) packet.pci.destination = node.ipcp->address();
        if ((how & 0x80) != 0) packet.pci.source = Address{script.byte()};
    }
    packet.pci.type = static_cast<std::uint8_t>(rina::PduType::management);
    give(packet);
}

void World::user(Script& script, std::uint8_t op) {
    const std::uint8_t how = script.byte();
    const std::size_t i = how % kNodes;
    Node& node = nodes_[i];
    const auto port = node.model.pick(how / 4);
    if (op == 8) {
        FlowSpec spec;
        spec.max_sdu_gap = (how & 0x40) != 0 ? 0 : -1;
        const auto made = node.ipcp->allocate_flow(now_, app_of(0), app_of(1), spec, how);
        if (made) node.model.asked(*made);
    } else if (op == 9 && port) {
        if (how < 0xc0)
            static_cast<void>(node.ipcp->accept_flow(now_, *port, 3));
        else if (node.ipcp->refuse_flow(now_, *port))
            node.model.refused(*port);
    } else if (op == 10 && port) {
        SLUICE_CHECK(node.ipcp->deallocate_flow(now_, *port).has_value());
        node.model.deallocated(*port);
    } else if (op == 11) {
        if ((how & 0x80) == 0)
            node.ipcp->register_application(now_, app_of(how / 4));
        else
            node.ipcp->unregister_application(now_, app_of(how / 4));
    }
    take(i);
}

void World::operate(Script& script) {
    const std::uint8_t how = script.byte();
    const std::size_t i = how % kNodes, other = (i + 1 + how / 4 % 2) % kNodes;
    Node& node = nodes_[i];
    switch (how >> 4) {
        case 0:
        case 1:
        case 2:
        case 3:
            static_cast<void>(node.ipcp->enroll(now_, lower_dif(i, other),
                                                ipcp_of(static_cast<std::uint8_t>(other))));
            break;
        case 4:
            static_cast<void>(node.ipcp->enroll(now_, lower_dif(i, other),
                                                (how & 8) != 0 ? "n.DIF"
                                                               : ipcp_of(script.byte())));
            break;
        case 5:
        case 6:
            static_cast<void>(node.ipcp->disconnect(
                now_, ipcp_of(static_cast<std::uint8_t>(other))));
            break;
        case 7: node.ipcp->set_enroller((how & 8) != 0); break;
        case 8: start(i); break;
        case 9:
        case 10:
            if (!node.flows.empty()) disconnect(i, node.flows.begin()->first);
            break;
        case 11: connect(i, other, ipcp_of(script.byte() % 5)); break;
        case 12: return tune(script);
        default: pass_long(Duration::seconds(how >> 4));
    }
    for (std::size_t n = 0; n < kNodes; ++n) take(n);
}

// An operator sets what there is to be set, to what goes and to what does not.
void World::tune(Script& script) {
    const std::size_t i = script.byte() % kNodes;
    Ipcp& ipcp = *nodes_[i].ipcp;
    const auto before = ipcp.parameters();
    const policy::ParameterView& one = before[script.word() % before.size()];
    // These are what we check the flow allocator's tables against.
    if (one.name == "flows_max" || one.name == "memories_max") return;
    const std::uint8_t how = script.byte();
    std::string value;
    if (how % 4 == 0) value = one.value;
    if (how % 4 == 1) value = std::to_string(script.number());
    if (how % 4 == 2)
        for (const std::byte b : script.piece(how / 4 % 16)) value += std::to_integer<char>(b);
    const auto made = ipcp.set_parameter(now_, one.component, one.name, value);
    is_tuned_ = true;
    const auto after = ipcp.parameters();
    const auto is_same = [](const auto& a, const auto& b) {
        return a.component == b.component && a.name == b.name && a.value == b.value;
    };
    // What does not go changes nothing, and what is goes, if anything does.
    if (!made) {
        SLUICE_CHECK(!made.error().message.empty());
        SLUICE_CHECK(std::equal(before.begin(), before.end(), after.begin(), after.end(), is_same));
        SLUICE_CHECK(how % 4 != 0 || !one.is_live);
    }
    take(i);
}

void World::step(Script& script) {
    const std::uint8_t op = script.byte() % 16;
    if (op < 5) return network(script, op);
    if (op < 8) return forge(script, op);
    if (op < 12) return user(script, op);
    if (op == 12) return pass(Duration::milliseconds(script.byte() * 20));
    if (op == 13) {
        const Instant next = next_deadline();
        if (!next.is_never()) pass(std::max(next - now_, Duration{}));
        return;
    }
    operate(script);
}

// Who was never lied to agrees with its neighbours in the end, whatever was lost on the way.
void World::check_agreement() {
    if ((how_ & kHonest) == 0 || (how_ & kNoSync) != 0 || is_tuned_) return;
    const Instant until = now_ + Duration::seconds(150);
    for (int i = 0; i < 2000 && now_ < until; ++i) {
        settle(400);
        pass(std::max(std::min(next_deadline(), until) - now_, Duration{}));
    }
    for (std::size_t i = 0; i < kNodes; ++i) {
        const Ipcp& ipcp = *nodes_[i].ipcp;
        for (const auto& [port, flow] : nodes_[i].flows) {
            const Ipcp& peer = *nodes_[flow.peer].ipcp;
            if (!ipcp.enrollment().is_up(port) || !peer.enrollment().is_up(flow.peer_port))
                continue;
            for (std::uint8_t app = 0; app < 8; ++app)
                SLUICE_CHECK(ipcp.dft().find(app_of(app)) == peer.dft().find(app_of(app)));
            for (std::uint8_t who = 0; who < kNodes; ++who)
                SLUICE_CHECK(ipcp.members().address_of(ipcp_of(who)) ==
                             peer.members().address_of(ipcp_of(who)));
        }
    }
}

// Alone, and without users, each forgets about all flows.
void World::end() {
    check_agreement();
    for (std::size_t i = 0; i < kNodes; ++i) {
        Node& node = nodes_[i];
        while (!node.flows.empty()) disconnect(i, node.flows.begin()->first);
        while (const auto port = node.model.pick(0)) {
            SLUICE_CHECK(node.ipcp->deallocate_flow(now_, *port).has_value());
            node.model.deallocated(*port);
        }
    }
    wire_.clear();
    for (std::size_t i = 0; i < kNodes; ++i) take(i);
    // Deletions are repeated for over a minute, each twice as long after the one before.
    for (int i = 0; i < 16; ++i) {
        for (std::size_t n = 0; n < kNodes; ++n)
            while (!nodes_[n].flows.empty()) disconnect(n, nodes_[n].flows.begin()->first);
        wire_.clear();
        pass(Duration::seconds(is_tuned_ ? 1000 : 10));
    }
    for (Node& node : nodes_) {
        SLUICE_CHECK(node.ipcp->flows().flows() == 0);
        SLUICE_CHECK(node.model.empty());
    }
}

}  // namespace

bool ipcp(std::span<const std::byte> bytes) {
    Script script(bytes);
    World world(script.byte());
    while (!script.at_end()) world.step(script);
    world.end();
    return world.is_fruitful();
}

}  // namespace sluice::fuzz
