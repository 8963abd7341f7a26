// How the layer management of a DIF scales: IPC processes joined by links that deliver each message
// after a fixed delay, in virtual time, all in one process. For each topology and size, what it
// takes until every member has the same databases and shortest routes: after the start of the
// whole DIF (enrollments along a breadth-first tree, as parallel as that allows, with the other
// links as soon as both ends are members), an idle minute, an application registered, a link lost,
// and the link back. Of large DIFs only some members are compared entry by entry, and routes to
// some; the sizes of all tables are looked at.
#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rng.hpp"
#include "normal_dif/core/ipcp/ipcp.hpp"

namespace {

using namespace sluice;
using namespace sluice::mgmt;
using rmt::N1PortId;
using Edges = std::vector<std::pair<std::size_t, std::size_t>>;

constexpr std::size_t kSampleMax = 64;  // members that are compared entry by entry
constexpr Duration kCheckEvery = Duration::milliseconds(250);
constexpr std::uint32_t kFar = std::numeric_limits<std::uint32_t>::max();

struct Options {
    bool quick = false;
    std::string json;
    std::string only;  // topology
    std::size_t nodes = 0;
    std::size_t nodes_max = 1000;
    Duration delay = Duration::milliseconds(1);
    double cpu_s_max = 600;         // for one event
    Duration gather{};
    Duration virtual_max = Duration::seconds(4 * 3600);
    double rss_gib_max = 14;
};

// Others may use the same core.
double cpu_s() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

double rss_bytes() {
    std::ifstream statm("/proc/self/statm");
    double all = 0, resident = 0;
    statm >> all >> resident;
    return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

// ---- topologies --------------------------------------------------------------------------------

struct Topology {
    std::string name;
    std::size_t nodes = 0;
    Edges edges;
};

Topology ring(std::size_t nodes) {
    Topology t{"ring", nodes, {}};
    for (std::size_t i = 0; i < nodes; ++i) t.edges.emplace_back(i, (i + 1) % nodes);
    return t;
}

Topology tree(std::size_t nodes) {
    Topology t{"tree", nodes, {}};
    for (std::size_t i = 1; i < nodes; ++i) t.edges.emplace_back((i - 1) / 4, i);
    return t;
}

Topology random_graph(std::size_t nodes) {
    Topology t{"random", nodes, {}};
    Rng rng(nodes);
    std::set<std::pair<std::size_t, std::size_t>> links;
    for (std::size_t i = 1; i < nodes; ++i) links.emplace(rng.below(i), i);
    while (links.size() < 2 * nodes) {
        const auto [low, high] = std::minmax({rng.below(nodes), rng.below(nodes)});
        if (low != high) links.emplace(low, high);
    }
    t.edges.assign(links.begin(), links.end());
    return t;
}

// The switches of Al-Fares, Loukissas and Vahdat, SIGCOMM 2008: the largest of not more than
// `nodes`, and at least 20.
Topology fat_tree(std::size_t nodes) {
    std::size_t ports = 4;
    while (5 * (ports + 2) * (ports + 2) / 4 <= nodes) ports += 2;
    const std::size_t half = ports / 2, core = ports * ports;
    Topology t{"fat-tree", core + half * half, {}};
    for (std::size_t pod = 0; pod < ports; ++pod)
        for (std::size_t a = 0; a < half; ++a) {
            const std::size_t aggregation = pod * ports + half + a;
            for (std::size_t i = 0; i < half; ++i) {
                t.edges.emplace_back(pod * ports + i, aggregation);
                t.edges.emplace_back(aggregation, core + a * half + i);
            }
        }
    return t;
}

// ---- the DIF -----------------------------------------------------------------------------------

class World {
  public:
    struct Row {
        std::string event;
        std::uint64_t messages = 0, bytes = 0;
        double virtual_s = 0, cpu_s = 0, rss_per_node = 0;
        std::string limit;  // what was reached before the event was over
    };

    World(const Topology& topology, const Options& options)
        : options_(options), topology_(topology), nodes_(topology.nodes) {
        malloc_trim(0);
        rss_before_ = rss_bytes();
        for (std::size_t l = 0; l < topology.edges.size(); ++l) {
            const auto [a, b] = topology.edges[l];
            links_.push_back({a, b});
            nodes_[a].links.push_back(l);
            nodes_[b].links.push_back(l);
        }
        for (std::size_t i = 0; i < nodes_.size(); ++i) make(i);
        plan_tree();
    }

    Row start() {
        lfdb_wanted_ = 2 * links_.size();
        return until_converged("start", [&] { joined(0); });
    }
    Row idle(Duration time) {
        return measured("idle_60s", [&](Row& row) { row.limit = run(now_ + time); });
    }
    Row register_application() {
        apps_wanted_ = 1;
        return until_converged("register", [&] {
            nodes_.back().ipcp->register_application(now_, {"server", {}, {}, {}});
            settle(nodes_.size() - 1);
        });
    }
    Row cut() {
        broken_ = links_.size() - 1;
        const bool leaf = topology_.name == "tree";
        // Nobody can tell the others that the leaf does not see its neighbour any more.
        lfdb_wanted_ = 2 * links_.size() - (leaf ? 1 : 2);
        return until_converged("link_down", [&] { set_down(*broken_); });
    }
    Row mend() {
        links_[*broken_].up = true;
        broken_.reset();
        lfdb_wanted_ = 2 * links_.size();
        return until_converged("link_up", [] {});
    }

  private:
    struct Link {
        std::size_t a = 0, b = 0;
        bool up = true;
    };
    struct Flow {
        std::size_t link = 0, peer = 0;
        N1PortId peer_port{};
        bool open = false;
    };
    struct Node {
        std::unique_ptr<Ipcp> ipcp;
        std::vector<std::size_t> links;
        std::vector<Flow> flows;  // by port
        Instant armed = Instant::never();
        bool in = false;       // a member, and its children were told
        bool settled = false;  // its tables are of the sizes that are waited for
        std::size_t parent_link = 0;
        std::vector<std::size_t> children;
    };
    struct Event {
        Instant at;
        std::size_t node = 0;
        N1PortId port{};
        rina::Pci pci;
        rina::Bytes payload;
        std::function<void()> act;  // instead of a message
    };
    using Timer = std::pair<Instant, std::size_t>;

    static std::string name(std::size_t i) { return fmt::format("{:05}.IPCP", i); }
    static std::string dif(std::size_t link) { return "l" + std::to_string(link); }

    void make(std::size_t i) {
        IpcpConfig c;
        c.name = name(i);
        c.dif = "n.DIF";
        c.first = i == 0;
        c.seed = i + 1;
        c.shared = &shared_;
        c.gather = options_.gather;
        for (const std::size_t l : nodes_[i].links) c.lower_difs.push_back(dif(l));
        auto made = Ipcp::create(now_, std::move(c));
        if (!made) {
            fmt::print(stderr, "convergence: {}\n", made.error().message);
            std::exit(EXIT_FAILURE);
        }
        nodes_[i].ipcp = std::move(*made);
    }
    void plan_tree() {
        std::vector<bool> seen(nodes_.size());
        std::deque<std::size_t> next{0};
        seen[0] = true;
        while (!next.empty()) {
            const std::size_t at = next.front();
            next.pop_front();
            for (const std::size_t l : nodes_[at].links) {
                const std::size_t other = far_end(l, at);
                if (seen[other]) continue;
                seen[other] = true;
                nodes_[other].parent_link = l;
                nodes_[at].children.push_back(other);
                next.push_back(other);
            }
        }
    }
    std::size_t far_end(std::size_t link, std::size_t at) const {
        return links_[link].a == at ? links_[link].b : links_[link].a;
    }

    // A new member: its children in the tree may join, and its other links be used.
    void joined(std::size_t i) {
        nodes_[i].in = true;
        for (const std::size_t child : nodes_[i].children)
            call(child, nodes_[child].parent_link);
        for (const std::size_t l : nodes_[i].links) {
            const std::size_t other = far_end(l, i);
            const bool of_tree = (i != 0 && nodes_[i].parent_link == l) ||
                                 (other != 0 && nodes_[other].parent_link == l);
            if (!of_tree && nodes_[other].in) call(i, l);
        }
    }
    void call(std::size_t i, std::size_t link) {
        if (!nodes_[i].ipcp->enroll(now_, dif(link), name(far_end(link, i)))) std::abort();
        settle(i);
    }

    void set_down(std::size_t link) {
        links_[link].up = false;
        for (const std::size_t i : {links_[link].a, links_[link].b})
            for (std::size_t port = 0; port < nodes_[i].flows.size(); ++port) {
                Flow& flow = nodes_[i].flows[port];
                if (!flow.open || flow.link != link) continue;
                flow.open = false;
                nodes_[i].ipcp->flow_down(now_, N1PortId{static_cast<std::uint16_t>(port)});
                settle(i);
            }
    }

    // ---- measuring ----

    template <typename Work>
    Row measured(std::string event, Work&& work) {
        Row row;
        row.event = std::move(event);
        const std::uint64_t messages = messages_, bytes = bytes_;
        const Instant begin = now_;
        checking_s_ = 0;
        began_s_ = cpu_s();
        last_news_ = now_;
        work(row);
        row.cpu_s = spent_s();
        row.messages = messages_ - messages;
        row.bytes = bytes_ - bytes;
        const Instant end = row.event == "idle_60s" ? now_ : last_news_;
        row.virtual_s = static_cast<double>((end - begin).ns) / 1e9;
        malloc_trim(0);
        row.rss_per_node = (rss_bytes() - rss_before_) / static_cast<double>(nodes_.size());
        return row;
    }
    template <typename Begin>
    Row until_converged(std::string event, Begin&& begin) {
        return measured(std::move(event), [&](Row& row) {
            begin();
            settled_ = 0;
            for (Node& node : nodes_) {
                node.settled = false;
                note(node);
            }
            for (const Instant end = now_ + options_.virtual_max;;) {
                row.limit = run(now_ + kCheckEvery);
                if (row.limit.empty() && now_ > end) row.limit = "4 h of virtual time";
                if (!row.limit.empty()) return;
                if (settled_ < nodes_.size()) continue;
                const double before = cpu_s();
                const bool good = is_converged();
                checking_s_ += cpu_s() - before;
                if (good) return;
            }
        });
    }
    double spent_s() const { return cpu_s() - began_s_ - checking_s_; }
    // What limit there is no going beyond.
    std::string exceeded() const {
        if (spent_s() > options_.cpu_s_max)
            return fmt::format("{} s of CPU time", options_.cpu_s_max);
        if (rss_bytes() > options_.rss_gib_max * (1 << 30))
            return fmt::format("{} GiB of memory", options_.rss_gib_max);
        return {};
    }

    void note(Node& node) {
        const bool good = node.ipcp->lfdb().size() == lfdb_wanted_ &&
                          node.ipcp->members().size() == nodes_.size() - 1 &&
                          node.ipcp->dft().size() == apps_wanted_;
        if (good == node.settled) return;
        node.settled = good;
        settled_ += good ? 1 : std::size_t(-1);
        last_news_ = now_;
    }

    std::vector<std::size_t> sample() const {
        std::vector<std::size_t> some;
        const std::size_t step = std::max<std::size_t>(1, nodes_.size() / kSampleMax);
        for (std::size_t i = 0; i < nodes_.size(); i += step) some.push_back(i);
        return some;
    }
    std::uint64_t digest(const Ipcp& ipcp) const {
        const std::hash<std::string> hash;
        std::uint64_t sum = 0;
        ipcp.lfdb().for_each([&](const rina::LowerFlow& f) {
            Rng mix(hash(f.local_node) * 31 + hash(f.remote_node) + f.cost * 7 + f.is_up);
            sum += mix.below(std::numeric_limits<std::uint64_t>::max());
        });
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            const auto address = ipcp.members().address_of(name(i));
            Rng mix(i * 1'000'003 + (address ? address->value : 0));
            sum += mix.below(std::numeric_limits<std::uint64_t>::max());
        }
        return sum;
    }
    std::vector<std::uint32_t> hops_to(std::size_t to) const {
        std::vector<std::uint32_t> hops(nodes_.size(), kFar);
        std::deque<std::size_t> next{to};
        hops[to] = 0;
        while (!next.empty()) {
            const std::size_t at = next.front();
            next.pop_front();
            for (const std::size_t l : nodes_[at].links) {
                const std::size_t other = far_end(l, at);
                if (!links_[l].up || hops[other] != kFar) continue;
                hops[other] = hops[at] + 1;
                next.push_back(other);
            }
        }
        return hops;
    }
    const rmt::Route* route(std::size_t at, rina::Address to) const {
        const auto& routes = nodes_[at].ipcp->routes();
        const auto found = std::lower_bound(
            routes.begin(), routes.end(), to,
            [](const rmt::Route& r, rina::Address a) { return r.destination < a; });
        return found == routes.end() || found->destination != to ? nullptr : &*found;
    }
    bool is_converged() const {
        const std::vector<std::size_t> some = sample();
        if (!broken_) {
            const std::uint64_t first = digest(*nodes_[some.front()].ipcp);
            for (const std::size_t i : some)
                if (digest(*nodes_[i].ipcp) != first) return false;
        }
        for (const std::size_t to : some) {
            const std::vector<std::uint32_t> hops = hops_to(to);
            for (std::size_t at = 0; at < nodes_.size(); ++at) {
                if (at == to) continue;
                const rmt::Route* const found = route(at, nodes_[to].ipcp->address());
                if ((found != nullptr) != (hops[at] != kFar)) return false;
                if (found == nullptr) continue;
                for (const rmt::NextHop& hop : found->hops.ports)
                    if (hops[nodes_[at].flows[hop.port.value].peer] + 1 != hops[at]) return false;
            }
        }
        return true;
    }

    // ---- events ----

    // Empty, or which limit was reached.
    std::string run(Instant until) {
        for (std::uint64_t n = 0;; ++n) {
            if (n % 4096 == 0) {
                if (std::string limit = exceeded(); !limit.empty()) return limit;
            }
            const Instant message = events_.empty() ? Instant::never() : events_.front().at;
            const Instant timer = timers_.empty() ? Instant::never() : timers_.top().first;
            const Instant next = std::min(message, timer);
            if (next > until) break;
            now_ = std::max(now_, next);
            if (message <= timer) {
                const Event event = std::move(events_.front());
                events_.pop_front();
                take(event);
                continue;
            }
            const std::size_t i = timers_.top().second;
            timers_.pop();
            if (nodes_[i].armed != timer) continue;
            nodes_[i].armed = Instant::never();
            nodes_[i].ipcp->on_timeout(now_);
            settle(i);
        }
        now_ = until;
        return {};
    }
    void take(const Event& event) {
        if (event.act) return event.act();
        Node& node = nodes_[event.node];
        if (!node.flows[event.port.value].open) return;
        if (event.pci.destination == rina::kThisHop ||
            event.pci.destination == node.ipcp->address())
            node.ipcp->received(now_, event.port, event.pci, event.payload);
        else
            relay(event.node, event.pci, event.payload);
        settle(event.node);
    }
    // Carries out what a node wants, and sees when it wants to be called.
    void settle(std::size_t i) {
        Node& node = nodes_[i];
        for (IpcpAction& action : node.ipcp->take_actions()) carry_out(i, action);
        if (!node.in && i != 0 && node.ipcp->is_member())
            after([this, i] {
                if (!nodes_[i].in) joined(i);
            });
        note(node);
        const Instant next = node.ipcp->next_deadline();
        if (next == node.armed || next == Instant::never()) return;
        node.armed = next;
        timers_.emplace(next, i);
    }
    void carry_out(std::size_t i, IpcpAction& action) {
        if (auto* s = std::get_if<SendToNeighbor>(&action)) {
            send(i, s->port, s->pci, std::move(s->payload));
        } else if (auto* m = std::get_if<SendToMember>(&action)) {
            relay(i, m->pci, m->payload);
        } else if (auto* a = std::get_if<AllocateLowerFlow>(&action)) {
            allocate(i, std::stoul(a->lower_dif.substr(1)), *a);
        } else if (auto* r = std::get_if<ReleaseLowerFlow>(&action)) {
            release(i, r->port);
        } else if (std::holds_alternative<PublishRoutes>(action)) {
            last_news_ = now_;
        }
    }
    void after(std::function<void()> act) {
        events_.push_back({now_ + options_.delay, 0, {}, {}, {}, std::move(act)});
    }
    void send(std::size_t from, N1PortId port, const rina::Pci& pci, rina::Bytes payload) {
        const Flow& flow = nodes_[from].flows[port.value];
        if (!flow.open) return;
        ++messages_;
        bytes_ += pci.length;
        events_.push_back({now_ + options_.delay, flow.peer, flow.peer_port, pci,
                           std::move(payload), {}});
    }
    void relay(std::size_t at, rina::Pci pci, const rina::Bytes& payload) {
        if (pci.ttl-- == 0) return;
        if (const rmt::Route* const found = route(at, pci.destination))
            send(at, found->hops.ports.front().port, pci, payload);
    }
    void allocate(std::size_t i, std::size_t l, const AllocateLowerFlow& a) {
        const std::size_t peer = far_end(l, i);
        after([this, i, l, peer, a] {
            if (!links_[l].up) {
                nodes_[i].ipcp->flow_failed(now_, a.lower_dif, a.peer);
                return settle(i);
            }
            const N1PortId mine{static_cast<std::uint16_t>(nodes_[i].flows.size())};
            const N1PortId theirs{static_cast<std::uint16_t>(nodes_[peer].flows.size())};
            nodes_[i].flows.push_back({l, peer, theirs, true});
            nodes_[peer].flows.push_back({l, i, mine, true});
            nodes_[peer].ipcp->flow_accepted(now_, theirs, a.lower_dif);
            nodes_[i].ipcp->flow_up(now_, mine, a.lower_dif, a.peer);
            settle(peer);
            settle(i);
        });
    }
    void release(std::size_t i, N1PortId port) {
        Flow& flow = nodes_[i].flows[port.value];
        if (!flow.open) return;
        flow.open = false;
        const Flow to = flow;
        after([this, to] {
            Flow& back = nodes_[to.peer].flows[to.peer_port.value];
            if (!back.open) return;
            back.open = false;
            nodes_[to.peer].ipcp->flow_down(now_, to.peer_port);
            settle(to.peer);
        });
    }

    const Options& options_;
    const Topology& topology_;
    SharedValues shared_;
    std::vector<Node> nodes_;
    std::vector<Link> links_;
    std::deque<Event> events_;  // all take the same time, so they come in order
    std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
    Instant now_{1'000'000'000};
    Instant last_news_{};  // when tables or routes changed last
    std::size_t settled_ = 0, lfdb_wanted_ = 0, apps_wanted_ = 0;
    std::optional<std::size_t> broken_;
    std::uint64_t messages_ = 0, bytes_ = 0;
    double rss_before_ = 0;
    double began_s_ = 0;
    double checking_s_ = 0;
};

// ---- all of it ---------------------------------------------------------------------------------

class Report {
  public:
    // False if it stopped at a limit: larger ones will not do better.
    bool measure(const Topology& topology, const Options& options) {
        if (const double s = expected_s(topology); s > options.cpu_s_max) {
            World::Row row;
            row.event = "start";
            row.limit = fmt::format("not tried, at least {:.0f} s of CPU time expected", s);
            print(topology, row);
            return false;
        }
        World world(topology, options);
        const auto add = [&](const World::Row& row) {
            if (row.event == "start") before_ = {topology.name, topology.nodes, row.cpu_s};
            print(topology, row);
            return row.limit.empty();
        };
        return add(world.start()) && add(world.idle(Duration::seconds(60))) &&
               add(world.register_application()) && add(world.cut()) && add(world.mend());
    }
    bool write(const std::string& file) const {
        std::ofstream out(file);
        out << "[\n";
        for (std::size_t i = 0; i < rows_.size(); ++i)
            out << "  " << rows_[i] << (i + 1 < rows_.size() ? ",\n" : "\n");
        out << "]\n";
        return out.good();
    }

  private:
    struct Start {
        std::string topology;
        std::size_t nodes = 0;
        double cpu_s = 0;
    };

    // Every node is told of every other one: at least with the square of the nodes.
    double expected_s(const Topology& t) const {
        if (before_.topology != t.name) return 0;
        const double growth = static_cast<double>(t.nodes) / static_cast<double>(before_.nodes);
        return before_.cpu_s * growth * growth;
    }
    void print(const Topology& t, const World::Row& r) {
        fmt::print("{:<8} {:>5} nodes {:>5} links  {:<9} {:>10} messages {:>12} bytes "
                   "{:>8.3f} s virtual {:>7.2f} s CPU {:>8.0f} bytes/node{}\n",
                   t.name, t.nodes, t.edges.size(), r.event, r.messages, r.bytes, r.virtual_s,
                   r.cpu_s, r.rss_per_node, r.limit.empty() ? "" : "  stopped: " + r.limit);
        std::fflush(stdout);
        rows_.push_back(fmt::format(
            R"({{"topology": "{}", "nodes": {}, "links": {}, "event": "{}", "messages": {}, )"
            R"("bytes": {}, "virtual_s": {:.6f}, "cpu_s": {:.3f}, )"
            R"("rss_bytes_per_node": {:.0f}, "limit": "{}"}})",
            t.name, t.nodes, t.edges.size(), r.event, r.messages, r.bytes, r.virtual_s, r.cpu_s,
            r.rss_per_node, r.limit));
    }

    Start before_;
    std::vector<std::string> rows_;
};

std::optional<Options> parse(int argc, char** argv) {
    Options o;
    for (int i = 1; i < argc; ++i) {
        const std::string_view key = argv[i];
        if (key == "--quick") {
            o.quick = true;
            continue;
        }
        if (++i == argc) return std::nullopt;
        if (key == "--json")
            o.json = argv[i];
        else if (key == "--topology")
            o.only = argv[i];
        else if (key == "--nodes")
            o.nodes = std::strtoul(argv[i], nullptr, 10);
        else if (key == "--nodes-max")
            o.nodes_max = std::strtoul(argv[i], nullptr, 10);
        else if (key == "--delay-us")
            o.delay = Duration::microseconds(std::strtol(argv[i], nullptr, 10));
        else if (key == "--gather-ms")
            o.gather = Duration::milliseconds(std::strtol(argv[i], nullptr, 10));
        else if (key == "--cpu-max-s")
            o.cpu_s_max = std::strtod(argv[i], nullptr);
        else if (key == "--rss-max-gib")
            o.rss_gib_max = std::strtod(argv[i], nullptr);
        else
            return std::nullopt;
    }
    return o;
}

}  // namespace

int main(int argc, char** argv) {
    const std::optional<Options> options = parse(argc, argv);
    if (!options) {
        fmt::print(stderr, "usage: convergence [--quick] [--json FILE] [--topology NAME] "
                           "[--nodes N] [--nodes-max N] [--delay-us N] [--gather-ms N] "
                           "[--cpu-max-s N] [--rss-max-gib N]\n");
        return EXIT_FAILURE;
    }
    std::vector<std::size_t> sizes;
    const std::size_t nodes_max = options->quick ? 300 : options->nodes_max;
    for (const std::size_t nodes : {10, 30, 100, 300, 1000, 3000, 10000})
        if (nodes <= nodes_max) sizes.push_back(nodes);
    if (options->nodes != 0) sizes = {options->nodes};
    Report report;
    for (const auto& make : {ring, tree, fat_tree, random_graph}) {
        std::size_t before = 0;
        for (const std::size_t nodes : sizes) {
            const Topology topology = make(nodes);
            if (!options->only.empty() && topology.name != options->only) continue;
            if (std::exchange(before, topology.nodes) == topology.nodes) continue;
            if (!report.measure(topology, *options)) break;
        }
    }
    if (!options->json.empty() && !report.write(options->json)) {
        fmt::print(stderr, "convergence: cannot write '{}'\n", options->json);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
