#include "world.hpp"

#include <fmt/format.h>

#include "normal_dif/core/faults.hpp"
#include "rina/cdap.hpp"
#include "shim_eth_segment.hpp"

namespace sluice::sim {

std::string ipcp_name(unsigned level, std::size_t node) {
    return fmt::format("{}{:04}.IPCP", static_cast<char>('a' + level), node);
}

World::World(const Scenario& scenario, bool prints)
    : scenario_(scenario), env_(Rng(scenario.seed ^ 0x736c75696365ull).next(), prints) {
    start_ = env_.now();
    faults::reset();
    nodes_.resize(scenario_.nodes);
    make_topology();
    for (std::size_t n = 0; n < nodes_.size(); ++n) start_node(n);
}

// From the top down.
World::~World() {
    for (Node& node : nodes_)
        while (!node.levels.empty()) node.levels.pop_back();
}

std::vector<std::pair<Medium*, std::size_t>> World::media_of(std::size_t n) const {
    std::vector<std::pair<Medium*, std::size_t>> out;
    const auto add = [&](Medium* medium, std::size_t station) {
        if (std::find(out.begin(), out.end(), std::pair(medium, station)) == out.end())
            out.push_back({medium, station});
    };
    for (const Link& link : links_) {
        if (link.a == n) add(link.medium, link.at_a);
        if (link.b == n) add(link.medium, link.at_b);
    }
    return out;
}

void World::start_node(std::size_t n) {
    Node& node = nodes_[n];
    node.index = n;
    ++node.life;
    node.is_up = true;
    node.upper_asked.assign(scenario_.levels, Instant{});
    node.asked_at = Instant{};
    for (const auto& [medium, station] : media_of(n)) medium->power_on(station);
    for (unsigned level = 0; level < scenario_.levels; ++level) {
        IpcProcessConfig c;
        c.ipcp.name = ipcp_name(level, n);
        c.ipcp.dif = fmt::format("{}.DIF", static_cast<char>('a' + level));
        // Where there is nobody to join, there is nothing to lose by beginning the DIF again.
        bool has_members = false;
        for (const Node& other : nodes_)
            has_members = has_members ||
                          (other.index != n && other.is_up && other.levels.size() > level &&
                           other.levels[level]->ipcp().is_member());
        c.ipcp.first = n == 0 && !has_members;
        c.ipcp.start = static_cast<std::uint32_t>(node.life);
        c.ipcp.seed = scenario_.seed * 1009 + n * 31 + level * 7 + node.life;
        c.ipcp.timers.keepalive = Duration::seconds(5);
        if (scenario_.wide) c.ipcp.format = rina::kWideFormat;
        c.scheduler = scenario_.scheduler;
        c.protection = scenario_.protection;
        equip(c, n);
        if (level == 0)
            for (const auto& [medium, station] : media_of(n))
                c.lowers.push_back(&medium->end(station));
        else
            c.lowers.push_back(node.levels.back().get());
        node.levels.push_back(std::make_unique<IpcProcess>(env_, std::move(c)));
        if (env_.verdicts.failed()) return;
    }
    node.apps = std::make_unique<Apps>(*this, n);
    node.top().register_name(*node.apps, {fmt::format("app.{}", n), {}, {}, {}});
}

void World::crash_node(std::size_t n, bool comes_back) {
    Node& node = nodes_[n];
    if (!node.is_up) return;
    env_.trace.note(env_.now(), "crash", n);
    // The links of it may notice, or not.
    const bool silently = env_.rng.chance(0.5);
    for (const auto& [medium, station] : media_of(n)) medium->power_off(station, silently);
    for (auto& c : connections_)
        for (Connection::End& end : c->ends)
            if (end.node == n && end.life == node.life && end.state != Connection::State::none)
                end.state = Connection::State::over;
    node.is_up = false;
    for (auto& level : node.levels) level->forget(*node.apps);
    while (!node.levels.empty()) node.levels.pop_back();
    if (!comes_back) return;
    env_.clock.after(Duration::milliseconds(static_cast<std::int64_t>(env_.rng.between(10, 9000))),
                     [this, n] { start_node(n); });
}

// ---- the operator, who wants all nodes in the DIF ----

void World::supervise() {
    // A DIF whose last member has crashed is begun again.
    for (unsigned level = 0; level < scenario_.levels; ++level)
        if (nodes_[0].is_up && std::none_of(nodes_.begin(), nodes_.end(), [&](const Node& node) {
                return node.levels.size() > level && node.levels[level]->ipcp().is_member();
            }))
            crash_node(0);
    for (Node& node : nodes_)
        if (node.is_up) supervise_node(node);
    for (Link& link : links_) {
        Node &a = nodes_[link.a], &b = nodes_[link.b];
        if (!a.is_up || !b.is_up || !link.is_up() ||
            !a.levels[0]->ipcp().is_member() || !b.levels[0]->ipcp().is_member() ||
            env_.now() < link.asked_at + Duration::seconds(40))
            continue;
        bool has = false;
        for (const mgmt::Enrollment::View& v : a.levels[0]->ipcp().enrollment().adjacencies()) {
            const std::string* const lower = a.levels[0]->lower_of(v.port);
            has = has || (lower != nullptr && *lower == link.medium->dif() &&
                          (!link.is_shared || v.peer == ipcp_name(0, link.b)));
        }
        if (has) continue;
        link.asked_at = env_.now();
        a.levels[0]->enroll(link.medium->dif(), ipcp_name(0, link.b));
    }
    messages_at_ = env_.messages;
    env_.clock.after(Duration::seconds(1), [this] { supervise(); });
}

void World::supervise_node(Node& node) {
    constexpr Duration kPatience = Duration::seconds(12);
    rmt::N1PortSet all_up;
    all_up.set_all(true);
    IpcProcess& lowest = *node.levels[0];
    if (!lowest.ipcp().is_member() && (node.asked_at == Instant{} ||
                                       env_.now() >= node.asked_at + kPatience)) {
        std::vector<std::pair<Link*, std::size_t>> ways;
        for (Link& link : links_) {
            if (link.a != node.index && link.b != node.index) continue;
            const std::size_t peer = link.a == node.index ? link.b : link.a;
            if (nodes_[peer].is_up && link.is_up() &&
                nodes_[peer].levels[0]->ipcp().is_member())
                ways.push_back({&link, peer});
        }
        if (!ways.empty()) {
            const auto [link, peer] = ways[env_.rng.below(ways.size())];
            node.asked_at = env_.now();
            // By the enroller's name, or by that of the DIF.
            const bool by_dif = env_.rng.chance(0.3) &&
                                link->medium->has_dif_name(link->a == peer ? link->at_a
                                                                           : link->at_b);
            lowest.enroll(link->medium->dif(), by_dif ? "a.DIF" : ipcp_name(0, peer));
        }
    }
    for (unsigned level = 1; level < node.levels.size(); ++level) {
        IpcProcess& upper = *node.levels[level];
        // Or one that was left alone, or with others that have no way to the first.
        const bool is_cut_off =
            node.index != 0 && nodes_[0].is_up && nodes_[0].levels.size() > level &&
            nodes_[0].levels[level]->ipcp().is_member() &&
            upper.data().pft().route(
                {.destination = nodes_[0].levels[level]->ipcp().address()}, all_up).status !=
                rmt::RouteStatus::found;
        if ((upper.ipcp().is_member() && !is_cut_off) ||
            !node.levels[level - 1]->ipcp().is_member() ||
            (node.upper_asked[level] != Instant{} &&
             env_.now() < node.upper_asked[level] + kPatience))
            continue;
        // Any that is a member; of a line, the one before.
        std::vector<std::size_t> peers;
        for (const Node& other : nodes_)
            if (other.index != node.index && other.is_up && other.levels.size() > level &&
                other.levels[level]->ipcp().is_member())
                peers.push_back(other.index);
        if (peers.empty()) continue;
        node.upper_asked[level] = env_.now();
        const std::size_t peer = is_cut_off ? 0 : peers[env_.rng.below(peers.size())];
        upper.enroll(node.levels[level - 1]->dif(), ipcp_name(level, peer));
    }
}

// ---- trouble and work ----

// What shrinking leaves out is drawn all the same, so that the rest stays as it was.
void World::plan(Duration from, Duration to, std::function<void()> act) {
    const Instant when =
        start_ + from +
        Duration{static_cast<std::int64_t>(env_.rng.below(static_cast<std::uint64_t>(
            std::max<std::int64_t>((to - from).ns, 1))))};
    const std::size_t index = planned_++;
    if (!scenario_.keep.empty() && (index >= scenario_.keep.size() || !scenario_.keep[index]))
        return;
    env_.clock.at(when, std::move(act));
}

void World::cut(std::size_t link, bool silently, Duration how_long) {
    env_.trace.note(env_.now(), silently ? "silent cut" : "cut", link);
    const Link& l = links_[link];
    l.medium->cut(l.at_a, l.at_b, silently);
    if (!silently) watch_cut(how_long);
    env_.clock.after(how_long, [this, link] {
        env_.trace.note(env_.now(), "mend", link);
        const Link& it = links_[link];
        it.medium->mend(it.at_a, it.at_b);
    });
}

void World::plan_trouble() {
    const Duration end{static_cast<std::int64_t>(scenario_.safety_s * 1e9)};
    const Duration begin = Duration::seconds(5);
    const auto for_a_while = [this] {
        return Duration::milliseconds(static_cast<std::int64_t>(env_.rng.between(100, 30'000)));
    };
    for (unsigned i = 0; i < scenario_.cuts + scenario_.silent_cuts; ++i)
        plan(begin, end, [this, link = env_.rng.below(links_.size()), d = for_a_while(),
                          silently = i >= scenario_.cuts] { cut(link, silently, d); });
    for (unsigned i = 0; i < scenario_.crashes; ++i) {
        const std::size_t n = nodes_.size() > 1 ? env_.rng.between(1, nodes_.size() - 1) : 0;
        plan(begin, end, [this, n] { crash_node(n); });
    }
    if (scenario_.crash_first) plan(begin, end, [this] { crash_node(0); });
    for (unsigned i = 0; i < scenario_.partitions; ++i) {
        std::vector<bool> half(nodes_.size());
        for (std::size_t n = 0; n < half.size(); ++n) half[n] = env_.rng.chance(0.5);
        plan(begin, end, [this, half, d = for_a_while(), silently = env_.rng.chance(0.5)] {
            for (std::size_t l = 0; l < links_.size(); ++l)
                if (half[links_[l].a] != half[links_[l].b]) cut(l, silently, d);
        });
    }
    for (unsigned i = 0; i < scenario_.slow_readers; ++i)
        plan(begin, end, [this, n = env_.rng.below(nodes_.size())] {
            if (nodes_[n].is_up) nodes_[n].top().set_reads_slowly(true);
        });
    plan_rarer_trouble(begin, end);
    // Some are noticed only when keepalives stay away, and must be over when the trouble is.
    for (unsigned i = 0; i < scenario_.disturbances; ++i)
        plan(begin, end / 2, [this, m = env_.rng.below(media_.size())] { media_[m]->disturb(); });
    plan_tunings(begin, end);
    if (scenario_.hostile)
        for (unsigned i = 0; i < 300; ++i) plan(begin, end, [this] { attack(); });
}

void World::plan_work() {
    const Duration end{static_cast<std::int64_t>(scenario_.safety_s * 1e9)};
    for (unsigned i = 0; i < scenario_.flows; ++i) {
        const std::size_t from = env_.rng.below(nodes_.size());
        const std::size_t to = env_.rng.below(nodes_.size());
        const bool reliable = env_.rng.chance(scenario_.reliable);
        const bool leaves = env_.rng.chance(scenario_.closes_early);
        const Duration stays =
            Duration::milliseconds(static_cast<std::int64_t>(env_.rng.between(1, 5000)));
        plan(end / 3, end, [this, from, to, reliable, leaves, stays] {
            const auto id = static_cast<std::uint32_t>(connections_.size());
            open_flow(from, to, reliable, scenario_.sdus);
            if (leaves && id < connections_.size())
                env_.clock.after(stays, [this, id] {
                    if (connections_[id]->ends[0].state == Connection::State::open) leave(id, 0);
                });
        });
    }
}

namespace {

// Told to a neighbour, to be passed on.
template <typename Object>
rina::CdapMessage told(rina::OpCode op, rina::RibName about, Rng& rng, const Object& object) {
    rina::CdapMessage m;
    m.op = op;
    m.obj_class = about.obj_class;
    m.obj_name = about.obj_name;
    m.invoke_id = static_cast<std::int32_t>(rng.between(1, 1u << 30));
    if constexpr (!std::is_same_v<Object, std::monostate>) m.value = rina::value_of(object);
    return m;
}

// Another one's name on a message about a flow.
rina::CdapMessage false_deletion(Rng& rng, rina::Address own, rina::Address target) {
    rina::AData data;
    data.source = target;
    data.destination = target;
    data.message.op = rina::OpCode::remove;
    data.message.obj_class = rina::rib::kFlow.obj_class;
    data.message.obj_name = fmt::format("{}/{}", rina::rib::kFlow.obj_name, rng.below(8));
    if (rng.chance(0.5)) data.source = own;
    rina::CdapMessage m;
    m.op = rina::OpCode::write;
    m.obj_class = rina::rib::kAData.obj_class;
    m.obj_name = rina::rib::kAData.obj_name;
    m.value = rina::value_of(data);
    return m;
}

}  // namespace

// What its neighbours are to believe and to pass on.
rina::CdapMessage World::lie(std::uint64_t kind, const Node& villain, const Node& victim) {
    using rina::OpCode;
    switch (kind) {
        case 2:  // link states of others
        case 3: {
            rina::LowerFlow link;
            link.local_node = ipcp_name(0, victim.index);
            link.remote_node = ipcp_name(0, env_.rng.below(nodes_.size() + 2));
            link.cost = 1;
            link.sequence = static_cast<std::uint32_t>(env_.rng.below(1000));
            return told(env_.rng.chance(0.5) ? OpCode::create : OpCode::remove,
                        rina::rib::kRouting, env_.rng, rina::LowerFlowList{{link}});
        }
        case 4: {  // names by the dozen
            rina::DftSlice slice;
            for (int i = 0; i < 10; ++i)
                slice.entries.push_back({{fmt::format("x{}", env_.rng.below(10'000)), {}, {}, {}},
                                         ipcp_name(0, villain.index),
                                         env_.rng.below(50)});
            return told(OpCode::create, rina::rib::kDft, env_.rng, slice);
        }
        case 6: {  // that somebody has begun anew, or moved
            rina::NeighborCandidate member;
            member.process = ipcp_name(0, victim.index);
            member.address = rina::Address{env_.rng.between(1, 20)};
            member.version = (victim.life + env_.rng.below(3)) << 32 | env_.rng.below(4);
            return told(OpCode::create, rina::rib::kNeighbors, env_.rng,
                        rina::NeighborCandidateList{{member}});
        }
        default:  // objects without a value, as crash other implementations
            return told(OpCode::create, rina::rib::kDft, env_.rng, std::monostate());
    }
}

Bytes World::forge(Node& villain) {
    const rina::Address own = villain.levels[0]->ipcp().address();
    const Node& victim = nodes_[env_.rng.below(nodes_.size())];
    const rina::PciFormat format = scenario_.wide ? rina::kWideFormat : rina::kDefaultFormat;
    rina::Pci pci;
    pci.type = static_cast<std::uint8_t>(rina::PduType::management);
    pci.source = own;
    pci.destination = victim.is_up ? victim.levels[0]->ipcp().address() : rina::Address{1};
    Bytes payload;
    const std::uint64_t kind = env_.rng.below(9);
    switch (kind) {
        case 0:  // data for the connection-ids of others
            pci.type = static_cast<std::uint8_t>(rina::PduType::data);
            pci.destination_cep = rina::CepId{static_cast<std::uint32_t>(env_.rng.below(8))};
            pci.source_cep = rina::CepId{static_cast<std::uint32_t>(env_.rng.below(8))};
            pci.sequence = env_.rng.below(100);
            payload.resize(100);
            break;
        case 1: payload = rina::encode(false_deletion(env_.rng, own, pci.destination)); break;
        case 7: return villain.levels[0]->last_frame();  // what came, back
        case 8: {
            Bytes noise(env_.rng.between(0, 120));
            for (std::byte& b : noise) b = static_cast<std::byte>(env_.rng.next());
            return noise;
        }
        default:
            payload = rina::encode(lie(kind, villain, victim));
            pci.destination = rina::kThisHop;
            break;
    }
    pci.length = static_cast<std::uint32_t>(format.bytes() + payload.size());
    Bytes out(pci.length);
    rina::write(pci, format, out.data());
    std::copy(payload.begin(), payload.end(), out.begin() + static_cast<long>(format.bytes()));
    return out;
}

void World::attack() {
    Node& villain = nodes_.back();
    if (!villain.is_up) return;
    if (scenario_.impostor && is_at_edge(villain.index)) return villain.levels[0]->inject(pose());
    villain.levels[0]->inject(env_.rng.chance(0.3) ? forge_malformed(villain) : forge(villain));
}

void World::calm() {
    env_.trace.note(env_.now(), "trouble ends");
    for (const Link& link : links_) link.medium->mend(link.at_a, link.at_b);
    for (const auto& medium : media_) medium->set_config(config_of(false));
    for (Node& node : nodes_)
        if (node.is_up) node.top().set_reads_slowly(false);
}

void World::run_until(Instant end) {
    // So many events a second of virtual time for each node would be a storm.
    const std::uint64_t most = env_.clock.steps() + 50'000'000;
    while (!env_.verdicts.failed() && env_.clock.step(end)) {
        if (env_.clock.steps() > most) env_.verdicts.fail("storm", "events without end");
        if (faults::has_crashed) env_.verdicts.fail("crash", "a node would not have survived this");
        check_storm();
    }
}

std::optional<std::pair<std::string, std::string>> World::run() {
    constexpr Duration kNoticed = Duration::seconds(30);
    plan_trouble();
    plan_work();
    supervise();
    run_until(start_ + Duration{static_cast<std::int64_t>(scenario_.safety_s * 1e9)});
    // Who crashed last is back.
    if (!env_.verdicts.failed()) calm();
    const Instant quiet = env_.now();
    const Instant limit = quiet + Duration{static_cast<std::int64_t>(scenario_.liveness_s * 1e9)};
    std::string why;
    const auto converge = [&] {
        while (!env_.verdicts.failed() && env_.now() < limit) {
            run_until(env_.now() + Duration::seconds(5));
            if (!env_.verdicts.failed() && is_converged(&why)) break;
        }
    };
    converge();
    totals.converged_s = (env_.now() - quiet).to_seconds();
    // A flow of a lower DIF to who was cut off silently looks well until keepalives stay away.
    const bool is_unnoticed = scenario_.crashes + scenario_.silent_cuts > 0;
    if (scenario_.levels > 1 && is_unnoticed && !env_.verdicts.failed()) {
        run_until(env_.now() + kNoticed);
        converge();
    }
    if (!env_.verdicts.failed() && !is_converged(&why)) env_.verdicts.fail("convergence", why);
    // Whatever happened before, new flows are possible now.
    const std::size_t before = connections_.size();
    for (std::size_t i = 0; i < std::min<std::size_t>(nodes_.size(), 4); ++i)
        if (!env_.verdicts.failed())
            open_flow(i, (i + 1) % nodes_.size(), i % 2 == 0, std::min(scenario_.sdus, 20u));
    run_until(env_.now() + Duration::seconds(60));
    // A hostile member may have lied about its own name.
    const auto is_villains = [&](std::size_t from) {
        return scenario_.hostile && from + 2 >= nodes_.size();
    };
    for (std::size_t i = before; i < connections_.size() && !env_.verdicts.failed(); ++i)
        if (connections_[i]->ends[0].state != Connection::State::open &&
            !is_villains(connections_[i]->ends[0].node))
            env_.verdicts.fail("liveness", fmt::format("no flow when all is well: {}",
                                                       connections_[i]->failure));
    if (!env_.verdicts.failed()) check_flows();
    for (const auto& c : connections_)
        for (std::size_t side = 0; side < 2 && !env_.verdicts.failed(); ++side)
            if (c->ends[side].state == Connection::State::open) leave(c->id, side);
    run_until(env_.now() + Duration::seconds(40));
    // Neighbours compare tables from time to time, and what they say may wait for credit just now.
    for (int i = 0; i < 20 && !env_.verdicts.failed() && env_.buffers.live() != env_.under_way; ++i)
        run_until(env_.now() + Duration::milliseconds(500));
    if (!env_.verdicts.failed()) check_rest();
    for (const Node& node : nodes_)
        for (const auto& level : node.levels) totals.messages += level->ipcp().messages_sent();
    totals.steps = env_.clock.steps();
    // What floods comes to an end. A quiet DIF has keepalives and digests.
    const double each = static_cast<double>(totals.messages) /
                        static_cast<double>(nodes_.size() * nodes_.size() * scenario_.levels);
    if (!env_.verdicts.failed() && each > 1000)
        env_.verdicts.fail("storm", fmt::format("{} messages", totals.messages));
    if (!env_.verdicts.failed() && scenario_.departs) check_departure();
    env_.trace.note(env_.now(), "end", totals.delivered, totals.steps);
    if (!env_.verdicts.failed()) return std::nullopt;
    return env_.verdicts.first();
}

}  // namespace sluice::sim
