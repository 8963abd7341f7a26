#include "world.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "hostile.hpp"

namespace sluice::sim {

using rina::AppName;
using rina::vmpi::Profile;
using shim_hv::DeviceState;
using shim_hv::FlowState;

namespace {

constexpr Instant kStart = Instant{Duration::seconds(1).ns};
constexpr std::uint64_t kStepsMax = 3000000;

}  // namespace

World::World(const Options& options, Trace& trace)
    : options_(options), trace_(trace), rng_(options.seed) {
    now_ = kStart;
    for (std::uint32_t n = 0; n < 2; ++n) {
        nodes_[n].index = n;
        rings_[n].capacity = rings_[n].buffers_free = options.ring_frames;
        rings_[n].model = link_model::LinkModel(options.trouble);
        start_node(n);
    }
}

void World::at(Instant when, Action action) {
    queue_.emplace(std::pair{std::max(when, now_).ns, next_event_++}, std::move(action));
}

Instant World::random_instant(Instant from, Instant to) {
    return Instant{static_cast<std::int64_t>(
        rng_.between(static_cast<std::uint64_t>(from.ns), static_cast<std::uint64_t>(to.ns)))};
}

void World::run_until(Instant end) {
    while (!verdicts_.failed()) {
        Instant next = queue_.empty() ? Instant::never() : Instant{queue_.begin()->first.first};
        std::uint32_t due = 2;  // a node's timer comes before an event of the same instant
        for (std::uint32_t n = 0; n < 2; ++n) {
            const SimNode& node = nodes_[n];
            const Instant deadline = std::max(
                now_, earlier(node.shim->next_deadline(), node.data->next_deadline()));
            if (deadline < next || (deadline == next && due == 2)) {
                next = deadline;
                due = n;
            }
        }
        if (next > end) break;
        if (++steps_ > kStepsMax)
            return verdicts_.fail("livelock", fmt::format("{} steps and no end", steps_));
        now_ = next;
        if (due < 2) {
            enter(due);
            if (nodes_[due].shim->next_deadline() <= now_) {
                nodes_[due].shim->on_timeout(now_, nodes_[due].out);
                carry_out(due);
            }
            poll_lcore(due);
            continue;
        }
        const Action action = std::move(queue_.begin()->second);
        queue_.erase(queue_.begin());
        action();
    }
    now_ = std::max(now_, end);
}

void World::start_node(std::uint32_t n) {
    SimNode& node = nodes_[n];
    shim_hv::Params params;
    params.profile = options_.profile;
    params.role = options_.roles[n];
    params.max_channels = options_.max_channels[n];
    params.max_sdu_rx = options_.max_sdu[n];
    params.max_sdu_tx = options_.profile == Profile::irati ? options_.max_sdu[n] : 65000;
    params.credit_unit = options_.credit_unit[n];
    params.window = options_.window;
    params.max_pending = kMaxPending;
    params.seed = rng_.next();
    enter(n);
    node.shim = std::make_unique<shim_hv::ShimHv>(params);
    node.data = std::make_unique<shim_hv::VmpiData>(shim_hv::VmpiData::Params{
        params.profile, params.max_channels, params.max_sdu_rx, params.max_sdu_tx,
        params.min_frame_tx});
    node.out.clear();
    node.flows.clear();
    node.names = {"sink", "slow", "staller", "refuser", "ignorer"};
    for (const std::string& name : node.names)
        if (!node.shim->register_app(*AppName::parse(name)))
            verdicts_.fail("names", "a name could not be registered");
}

// ---- trouble -----------------------------------------------------------------------------------

void World::take_link_down() {
    trace_.note(now_, "link down");
    link_is_up_ = false;
    ++link_changes_;
    for (std::uint32_t n = 0; n < 2; ++n) {
        SimRing& ring = rings_[n];
        ++ring.epoch;
        ring.backlog.clear();
        for (SimFrame& frame : ring.waiting) {
            give_back(n, frame, false);
            lose(frame);
        }
        ring.waiting.clear();
        enter(n);
        nodes_[n].shim->link_down(now_, nodes_[n].out);
        carry_out(n);
    }
}

void World::bring_link_up(Duration delay) {
    after(delay, [this, change = link_changes_] {
        if (change != link_changes_) return;
        trace_.note(now_, "link up");
        link_is_up_ = true;
        for (std::uint32_t n = 0; n < 2; ++n) {
            enter(n);
            nodes_[n].shim->link_up(now_, nodes_[n].out);
            carry_out(n);
        }
    });
}

void World::restart_node(std::uint32_t n) {
    trace_.note(now_, "restart", n, options_.restart_is_silent);
    if (!options_.restart_is_silent) take_link_down();
    for (auto& connection : connections_)
        for (std::uint32_t side = 0; side < 2; ++side)
            if (connection->ends[side].node == n) close(*connection, side);
    ++nodes_[n].life;
    start_node(n);
    if (!options_.restart_is_silent)
        return bring_link_up(Duration::milliseconds(static_cast<std::int64_t>(rng_.below(500))));
    if (!link_is_up_) return;
    nodes_[n].shim->link_up(now_, nodes_[n].out);
    carry_out(n);
}

void World::stall(std::uint32_t n, Duration duration) {
    trace_.note(now_, "stall", n, static_cast<std::uint64_t>(duration.ns));
    if (nodes_[n].stalled) return;
    nodes_[n].stalled = true;
    after(duration, [this, n] { unstall(n); });
}

void World::unstall(std::uint32_t n) {
    nodes_[n].stalled = false;
    std::deque<SimFrame> waiting = std::exchange(rings_[1 - n].waiting, {});
    for (SimFrame& frame : waiting) receive(n, std::move(frame));
}

void World::inject_garbage(std::uint32_t to) {
    SimRing& ring = rings_[1 - to];
    SimFrame frame;
    // The lower of the two limits: what is above it is above both.
    frame.bytes = make_garbage(rng_, options_.profile,
                               std::max(options_.max_channels[0], options_.max_channels[1]),
                               ring.samples);
    if (ring.buffers_free == 0 || !link_is_up_) return;
    --ring.buffers_free;
    ++ring.under_way;
    frame.ring_epoch = ring.epoch;
    arrive(1 - to, std::move(frame));
}

void World::plan_trouble() {
    const Instant end = kStart + options_.safety;
    const bool irati = options_.profile == Profile::irati;
    const auto node = [this] { return static_cast<std::uint32_t>(rng_.below(2)); };
    for (std::uint32_t i = 0; i < options_.stalls; ++i)
        at(random_instant(kStart, end), [this, n = node(), irati] {
            stall(n, Duration::milliseconds(
                         static_cast<std::int64_t>(rng_.between(1, irati ? 150 : 3000))));
        });
    for (std::uint32_t i = 0; i < options_.restarts; ++i)
        at(random_instant(kStart, end), [this, n = node()] { restart_node(n); });
    for (std::uint32_t i = 0; i < options_.flaps; ++i)
        at(random_instant(kStart, end), [this] {
            take_link_down();
            bring_link_up(Duration::milliseconds(static_cast<std::int64_t>(rng_.between(1, 2000))));
        });
    for (std::uint32_t i = 0; i < options_.garbage_frames; ++i)
        at(random_instant(kStart, end), [this, n = node()] { inject_garbage(n); });
}

void World::plan_work() {
    const Instant end = kStart + options_.safety;
    constexpr const char* kDestinations[] = {"sink",    "sink", "sink",    "sink",    "slow",
                                             "staller", "slow", "refuser", "ignorer", "ghost"};
    for (std::uint32_t i = 0; i < options_.allocations; ++i) {
        const Instant when = random_instant(kStart + Duration::milliseconds(200), end);
        const auto first = static_cast<std::uint32_t>(rng_.below(2));
        // Both ends at the same instant, often: that is where numbering collides.
        const std::uint32_t count = rng_.chance(0.3) ? 2 : 1;
        for (std::uint32_t k = 0; k < count; ++k)
            at(when, [this, n = (first + k) % 2, name = kDestinations[rng_.below(10)]] {
                start_allocation(n, name);
            });
    }
    if (!rng_.chance(0.3)) return;
    const auto n = static_cast<std::uint32_t>(rng_.below(2));
    at(random_instant(kStart, end), [this, n] {
        if (nodes_[n].names.erase("sink") == 0) return;
        enter(n);
        if (!nodes_[n].shim->unregister_app(now_, *AppName::parse("sink"), nodes_[n].out))
            verdicts_.fail("names", "a name could not be unregistered");
        carry_out(n);
        after(Duration::milliseconds(500), [this, n] {
            if (nodes_[n].names.insert("sink").second)
                static_cast<void>(nodes_[n].shim->register_app(*AppName::parse("sink")));
        });
    });
}

// ---- phases ------------------------------------------------------------------------------------

void World::end_trouble() {
    trace_.note(now_, "trouble ends");
    trouble_ = false;
    // Both directions before anybody moves: what a node that looks again sends is sent in peace.
    for (SimRing& ring : rings_) ring.model.set_config({});
    for (std::uint32_t n = 0; n < 2; ++n)
        if (nodes_[n].stalled) unstall(n);
    if (!link_is_up_) bring_link_up({});
}

// One flow of each end's asking stays; the others are hung up, so that channels become free.
void World::thin_out() {
    bool kept[2] = {false, false};
    for (auto& connection : connections_) {
        const Endpoint& asked = connection->ends[0];
        if (asked.state != Endpoint::State::open) continue;
        if (kept[asked.node])
            hang_up(connection->id, 0);
        else
            kept[asked.node] = true;
    }
}

void World::check_convergence() {
    using Use = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>;
    std::set<Use> uses[2];
    for (std::uint32_t n = 0; n < 2; ++n) {
        const shim_hv::DeviceInfo info = nodes_[n].shim->info();
        if (info.state != DeviceState::up)
            return verdicts_.fail("liveness",
                                  fmt::format("node {} is {}", n, to_string(info.state)));
        for (const shim_hv::FlowInfo& flow : info.flows) {
            if (flow.state != FlowState::allocated)
                return verdicts_.fail("liveness", fmt::format("node {}: flow on channel {} is {} "
                                                              "for ever",
                                                              n, flow.channel,
                                                              to_string(flow.state)));
            uses[n].insert({flow.channel, flow.generation, flow.transaction});
            if (!nodes_[n].data->entry(flow.channel).bound)
                return verdicts_.fail("agreement", fmt::format("node {}: channel {} has a flow but "
                                                               "is not bound",
                                                               n, flow.channel));
        }
        std::size_t bound = 0;
        for (std::uint32_t channel = 1; channel <= nodes_[n].data->max_channels(); ++channel)
            bound += nodes_[n].data->entry(channel).bound ? 1 : 0;
        if (bound != uses[n].size())
            return verdicts_.fail("agreement", fmt::format("node {}: {} channels are bound for {} "
                                                           "flows",
                                                           n, bound, uses[n].size()));
    }
    if (uses[0] != uses[1])
        return verdicts_.fail("agreement", fmt::format("the two ends have {} and {} flows, or not "
                                                       "the same",
                                                       uses[0].size(), uses[1].size()));
    for (const auto& connection : connections_) {
        const auto& [asked, was_asked] = connection->ends;
        if (asked.state == Endpoint::State::pending)
            return verdicts_.fail("liveness", fmt::format("allocation {} to {} never ended",
                                                          connection->id, connection->destination));
        const bool a = asked.state == Endpoint::State::open;
        if (a != (was_asked.state == Endpoint::State::open))
            return verdicts_.fail("agreement", fmt::format("connection {} is open at one end only",
                                                           connection->id));
    }
}

void World::check_rest() {
    std::size_t held = 0;
    for (const auto& connection : connections_)
        for (std::uint32_t side = 0; side < 2; ++side) {
            const Endpoint& end = connection->ends[side];
            held += end.held.size() + end.inbox.size();
            const bool both_open = connection->ends[0].state == Endpoint::State::open &&
                                   connection->ends[1].state == Endpoint::State::open;
            if (!both_open) continue;
            delivery_.check_complete({connection->id, side});
            if (!end.held.empty())
                verdicts_.fail("complete", fmt::format("connection {} side {}: {} SDUs were never "
                                                       "sent",
                                                       connection->id, side, end.held.size()));
        }
    ledger_.check_held(held);
    for (const SimRing& ring : rings_)
        ring_checker_.check_rest(ring.capacity, ring.buffers_free, ring.under_way);
}

std::optional<Failure> World::run() {
    trace_.note(now_, "start", options_.seed);
    bring_link_up({});
    plan_trouble();
    plan_work();
    run_until(kStart + options_.safety);
    if (!verdicts_.failed()) end_trouble();
    const Instant quiet = now_;
    run_until(quiet + Duration::seconds(25));
    if (!verdicts_.failed()) thin_out();
    run_until(quiet + Duration::seconds(40));
    if (!verdicts_.failed()) check_convergence();

    // Whatever happened before, a new flow is possible in each direction and carries data, while
    // readers that have stopped are still not reading.
    std::uint32_t fresh[2] = {};
    for (std::uint32_t n = 0; n < 2 && !verdicts_.failed(); ++n)
        fresh[n] = start_allocation(n, "sink");
    run_until(now_ + Duration::seconds(5));
    for (std::uint32_t n = 0; n < 2 && !verdicts_.failed(); ++n) {
        Connection& connection = connection_of(fresh[n]);
        for (std::uint32_t side = 0; side < 2; ++side) {
            if (connection.ends[side].state != Endpoint::State::open)
                verdicts_.fail("liveness", fmt::format("no flow from node {} when all is well", n));
            for (const std::uint32_t size : {10u, 1000u, connection.ends[side].limit})
                if (!verdicts_.failed()) write_sdu(connection, side, size);
        }
    }
    run_until(now_ + Duration::seconds(5));
    for (std::uint32_t n = 0; n < 2 && !verdicts_.failed(); ++n)
        for (std::uint32_t side = 0; side < 2; ++side)
            delivery_.check_complete({fresh[n], side});
    for (auto& connection : connections_)
        for (std::uint32_t side = 0; side < 2 && !verdicts_.failed(); ++side) {
            connection->ends[side].reads_slowly = false;
            read_all(*connection, side);
        }
    run_until(now_ + Duration::seconds(20));
    if (!verdicts_.failed()) check_convergence();
    if (!verdicts_.failed()) check_rest();
    trace_.note(now_, "end", delivered_, steps_, ledger_.created());
    return verdicts_.first();
}

}  // namespace sluice::sim
