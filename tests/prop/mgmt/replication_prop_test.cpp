#include <rapidcheck.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <set>
#include <utility>
#include <vector>

#include "base/rng.hpp"
#include "normal_dif/core/mgmt/address_allocation.hpp"
#include "normal_dif/core/mgmt/dft.hpp"
#include "normal_dif/core/mgmt/lfdb.hpp"

using namespace sluice;
using namespace sluice::mgmt;
using rina::Address;

namespace {

std::string node_at(std::size_t i) { return "n" + std::to_string(i); }

// Nodes that are joined, with some more links than that takes.
std::vector<std::vector<std::size_t>> random_graph(Rng& rng, std::size_t nodes) {
    std::vector<std::set<std::size_t>> links(nodes);
    const auto join = [&](std::size_t a, std::size_t b) {
        if (a == b) return;
        links[a].insert(b);
        links[b].insert(a);
    };
    for (std::size_t i = 1; i < nodes; ++i) join(i, rng.below(i));
    for (std::size_t i = 0; i < nodes; ++i) join(rng.below(nodes), rng.below(nodes));
    std::vector<std::vector<std::size_t>> out;
    for (const auto& set : links) out.emplace_back(set.begin(), set.end());
    return out;
}

struct LfdbKind {
    using Table = Lfdb;
    using Object = rina::LowerFlow;
    static auto change(Lfdb& table, Instant now, Rng& rng, const std::vector<std::size_t>& links) {
        const std::string to = node_at(links[rng.below(links.size())]);
        const auto cost = static_cast<std::uint32_t>(rng.between(1, 3));
        return rng.chance(0.4) ? table.remove_neighbor(now, to)
                               : table.add_neighbor(now, to, cost);
    }
    static auto apply(Lfdb& table, Instant now, Action action, const std::vector<Object>& objects,
                      const std::string& sender) {
        return table.apply(now, action, rina::LowerFlowList{objects}, sender);
    }
    static const std::string& origin(const Object& object) { return object.local_node; }
    static void forget_age(Object& object) { object.age_s = 0; }
};

struct DftKind {
    using Table = Dft;
    using Object = rina::DftEntry;
    static auto change(Dft& table, Instant now, Rng& rng, const std::vector<std::size_t>&) {
        const rina::AppName name{"app" + std::to_string(rng.below(4)), "", "", ""};
        return rng.chance(0.4) ? table.remove(now, name) : table.add(now, name);
    }
    static auto apply(Dft& table, Instant now, Action action, const std::vector<Object>& objects,
                      const std::string& sender) {
        return table.apply(now, action, rina::DftSlice{objects}, sender);
    }
    static const std::string& origin(const Object& object) { return object.ipcp; }
    static void forget_age(Object&) {}
};

// The limit on how often an entry changes is for hostile members, and tests of few nodes reach it.
constexpr ReplicationLimits kLimits{.updates_per_entry_max = 1000};

// Members that flood over links which deliver in any order, and some messages twice.
template <typename Kind>
class World {
  public:
    using Object = typename Kind::Object;

    explicit World(std::uint64_t seed) : rng_(seed) {
        const std::size_t nodes = rng_.between(2, 12);
        links_ = random_graph(rng_, nodes);
        for (const auto& of_node : links_) directions_ += of_node.size();
        for (std::size_t i = 0; i < nodes; ++i) tables_.emplace_back(node_at(i), kLimits);
    }

    void change_some() {
        for (std::uint64_t i = rng_.between(1, 30); i > 0; --i) {
            const std::size_t node = rng_.below(tables_.size());
            send(node, Kind::change(tables_[node], now_, rng_, links_[node]), node);
            for (std::uint64_t n = rng_.below(20); n > 0 && !wire_.empty(); --n) deliver();
        }
    }
    void drain() {
        while (!wire_.empty()) deliver();
    }
    void tick() {
        now_ = now_ + kManagementTick;
        for (std::size_t i = 0; i < tables_.size(); ++i) send(i, tables_[i].tick(now_), i);
        drain();
    }
    // A node comes back without a memory; it and its neighbours tell each other everything.
    void restart_one() {
        const std::size_t node = rng_.below(tables_.size());
        tables_[node] = typename Kind::Table(node_at(node), kLimits);
        for (int i = 0; i < 3; ++i)
            send(node, Kind::change(tables_[node], now_, rng_, links_[node]), node);
        for (const std::size_t neighbor : links_[node]) {
            put(neighbor, node, Action::create, tables_[neighbor].snapshot(now_));
            put(node, neighbor, Action::create, tables_[node].snapshot(now_));
        }
        drain();
    }
    // All have what the owners of the entries have, and nothing else.
    void check_equal() const {
        std::vector<Object> truth;
        for (const auto& table : tables_)
            for (Object object : table.snapshot(now_))
                if (Kind::origin(object) == table.self()) truth.push_back(object);
        const std::vector<Object> expected = sorted(truth);
        for (const auto& table : tables_) RC_ASSERT(sorted(table.snapshot(now_)) == expected);
    }
    // Each version of an entry, and each removal, crosses each link at most once in a direction.
    void check_bounded() const { RC_ASSERT(sent_ <= versions_ * directions_); }

  private:
    struct Message {
        std::size_t from, to;
        Action action;
        std::vector<Object> objects;
    };

    static std::vector<Object> sorted(std::vector<Object> objects) {
        for (Object& object : objects) Kind::forget_age(object);
        std::sort(objects.begin(), objects.end(), [](const Object& a, const Object& b) {
            return key(a) < key(b);
        });
        return objects;
    }
    static auto key(const rina::LowerFlow& flow) {
        return std::pair(flow.local_node, flow.remote_node);
    }
    static auto key(const rina::DftEntry& entry) { return DftTraits::key(entry); }

    void put(std::size_t from, std::size_t to, Action action, const std::vector<Object>& objects) {
        if (!objects.empty()) wire_.push_back({from, to, action, objects});
    }
    void send(std::size_t from, const Changes<Object>& changes, std::size_t except) {
        RC_ASSERT(changes.refused.total() == changes.refused.of(Refusal::about_us));
        for (const std::size_t to : links_[from]) {
            put(from, to, Action::create, changes.create_all);
            put(from, to, Action::remove, changes.remove_all);
            sent_ += changes.create_all.size() + changes.remove_all.size();
            if (to == except) continue;
            put(from, to, Action::create, changes.create);
            put(from, to, Action::remove, changes.remove);
            sent_ += changes.create.size() + changes.remove.size();
        }
        versions_ += changes.create_all.size() + changes.remove_all.size();
    }
    void deliver() {
        const std::size_t at = rng_.below(wire_.size());
        const Message message = wire_[at];
        if (rng_.chance(0.8)) {
            wire_[at] = std::move(wire_.back());
            wire_.pop_back();
        }
        send(message.to, Kind::apply(tables_[message.to], now_, message.action, message.objects,
                                     node_at(message.from)), message.from);
    }

    Rng rng_;
    Instant now_ = Instant::zero() + Duration::seconds(1000);
    std::vector<std::vector<std::size_t>> links_;
    std::size_t directions_ = 0;
    std::vector<typename Kind::Table> tables_;
    std::vector<Message> wire_;
    std::size_t sent_ = 0, versions_ = 0;
};

template <typename Kind>
void converges(std::uint64_t seed) {
    World<Kind> world(seed);
    world.change_some();
    world.drain();
    world.check_equal();
    world.check_bounded();
    for (int round = 0; round < 3; ++round) {
        world.tick();
        world.tick();
        world.restart_one();
        world.check_equal();
        world.change_some();
        world.drain();
        world.check_equal();
    }
    for (int i = 0; i < 200; ++i) world.tick();
    world.check_equal();
}

}  // namespace

TEST_CASE("link states converge, whatever the order of messages", "[prop]") {
    CHECK(rc::check([] { converges<LfdbKind>(*rc::gen::arbitrary<std::uint64_t>()); }));
}

TEST_CASE("directories converge, whatever the order of messages", "[prop]") {
    CHECK(rc::check([] { converges<DftKind>(*rc::gen::arbitrary<std::uint64_t>()); }));
}

TEST_CASE("a node that is gone is forgotten everywhere", "[prop]") {
    CHECK(rc::check([] {
        Lfdb a("a");
        a.apply(Instant::zero(), Action::create, {{{"b", "c", 1, 1, true, 0}}}, "b");
        const auto seconds = *rc::gen::inRange(0, 3000);
        for (int t = 10; t <= seconds; t += 10) a.tick(Instant::zero() + Duration::seconds(t));
        RC_ASSERT((a.size() == 1) == (seconds < 910));
    }));
}

namespace {

// Two versions of a node's entry at once, in any order: it ends, if not always with the newer one.
std::size_t chase(std::uint64_t seed) {
    Rng rng(seed);
    const std::size_t nodes = rng.between(3, 10);
    const auto links = random_graph(rng, nodes);
    std::vector<NeighborTable> tables;
    for (std::size_t i = 0; i < nodes; ++i) tables.emplace_back(node_at(i));
    struct Message {
        std::size_t from, to;
        rina::NeighborCandidate candidate;
    };
    std::vector<Message> wire;
    const Instant now = Instant::zero() + Duration::seconds(1000);
    for (std::uint64_t address = 5; address < 8; ++address)
        for (int i = 0; i < 2; ++i)
            wire.push_back({0, rng.below(nodes), {"x", "", Address{address}, {}}});
    std::size_t delivered = 0;
    while (!wire.empty() && delivered < 100'000) {
        const std::size_t at = rng.below(wire.size());
        const Message message = wire[at];
        wire[at] = wire.back();
        wire.pop_back();
        ++delivered;
        const auto out = tables[message.to].apply(now, Action::create, {{message.candidate}},
                                                  node_at(message.from));
        for (const std::size_t to : links[message.to])
            if (to != message.from)
                for (const auto& candidate : out.create)
                    wire.push_back({message.to, to, candidate});
    }
    return delivered;
}

}  // namespace

TEST_CASE("versions of a neighbour's entry do not circulate for ever", "[prop]") {
    CHECK(rc::check([] { RC_ASSERT(chase(*rc::gen::arbitrary<std::uint64_t>()) < 10'000u); }));
}

namespace {

struct AddressMessage {
    Instant at;
    std::size_t from, to;
    Action action;
    rina::AddrAllocRequest request;
};

// All enroll somebody at about the same time.
class AddressWorld {
  public:
    explicit AddressWorld(std::uint64_t seed) : rng_(seed) {
        const std::size_t nodes = rng_.between(2, 8);
        links_ = random_graph(rng_, nodes);
        for (std::size_t i = 0; i < nodes; ++i) {
            allocators_.emplace_back(node_at(i), AddressConfig{}, rng_.fork());
            members_.emplace_back(node_at(i));
            members_.back().set_own(Address{100 + i}, {});
        }
    }
    std::vector<Address> run() {
        for (std::size_t i = 0; i < allocators_.size(); ++i)
            for (std::uint64_t n = rng_.below(4); n > 0; --n) begin(i);
        for (; now_ < Instant::zero() + Duration::seconds(300);
             now_ = now_ + Duration::milliseconds(10)) {
            for (std::size_t i = wire_.size(); i-- > 0;) deliver(i);
            for (std::size_t i = 0; i < allocators_.size(); ++i)
                if (allocators_[i].next_deadline() <= now_)
                    take(i, allocators_[i].on_timeout(now_, members_[i]), i);
        }
        RC_ASSERT(got_.size() == begun_);
        return got_;
    }

  private:
    void begin(std::size_t node) {
        AddressAllocator::Output out;
        allocators_[node].begin(now_, members_[node], out);
        ++begun_;
        take(node, out, node);
    }
    void put(std::size_t from, std::size_t to, Action action, const rina::AddrAllocRequest& r) {
        const auto delay = Duration::milliseconds(static_cast<std::int64_t>(rng_.between(1, 300)));
        wire_.push_back({now_ + delay, from, to, action, r});
    }
    void take(std::size_t node, const AddressAllocator::Output& out, std::size_t sender) {
        for (const auto& done : out.done) got_.push_back(done.address);
        for (const std::size_t to : links_[node]) {
            for (const auto& r : out.claims.create_all) put(node, to, Action::create, r);
            if (to != sender)
                for (const auto& r : out.claims.create) put(node, to, Action::create, r);
        }
        for (const auto& r : out.nacks)
            for (std::size_t to = 0; to < allocators_.size(); ++to)
                if (node_at(to) == r.requestor) put(node, to, Action::remove, r);
    }
    void deliver(std::size_t at) {
        if (wire_[at].at > now_) return;
        const AddressMessage m = wire_[at];
        wire_[at] = wire_.back();
        wire_.pop_back();
        take(m.to, allocators_[m.to].apply_claim(now_, m.action, m.request, members_[m.to],
                                                 node_at(m.from)), m.from);
    }

    Rng rng_;
    Instant now_ = Instant::zero();
    std::vector<std::vector<std::size_t>> links_;
    std::vector<AddressAllocator> allocators_;
    std::vector<NeighborTable> members_;
    std::vector<AddressMessage> wire_;
    std::vector<Address> got_;
    std::size_t begun_ = 0;
};

}  // namespace

TEST_CASE("no two get one address while messages are faster than objections may be", "[prop]") {
    CHECK(rc::check([] {
        const std::vector<Address> got = AddressWorld(*rc::gen::arbitrary<std::uint64_t>()).run();
        RC_ASSERT(std::set<Address>(got.begin(), got.end()).size() == got.size());
        for (const Address address : got) RC_ASSERT(address.value > 1);
    }));
}
