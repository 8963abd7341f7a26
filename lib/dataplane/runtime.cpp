#include "dataplane/runtime.hpp"

#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

#include "base/check.hpp"
#include "base/log.hpp"

namespace sluice::dp {
namespace {

constexpr unsigned kPuntCapacity = 4096;

int run_loop(void* loop) {
    static_cast<LcoreLoop*>(loop)->run();
    return 0;
}

}  // namespace

Result<std::unique_ptr<Runtime>> Runtime::create(const Placement& placement, IdleSettings idle) {
    std::unique_ptr<Runtime> runtime(new Runtime());
    SLUICE_TRY(runtime->punt_, Punt::create("punt", kPuntCapacity));
    SLUICE_TRY_VOID(runtime->launch(placement, idle));
    return runtime;
}

Result<> Runtime::launch(const Placement& placement, IdleSettings idle) {
    for (LcoreId id : placement.workers) {
        if (rte_lcore_is_enabled(id.value) == 0)
            return fail(EINVAL, "lcore {} is not one of EAL's (-l, --lcores)", id.value);
        if (id.value == rte_get_main_lcore())
            return fail(EINVAL, "lcore {} runs the control thread, the dataplane needs another",
                        id.value);
        IdleSettings own = idle;
        const auto exception = placement.idle_of.find(id);
        own.policy = exception == placement.idle_of.end() ? placement.idle : exception->second;
        auto loop = std::make_unique<LcoreLoop>(id, qsbr_, own);
        SLUICE_TRY_VOID(loop->init());
        loops_.push_back(std::move(loop));
    }
    for (auto& loop : loops_) {
        const int status = rte_eal_remote_launch(&run_loop, loop.get(), loop->id().value);
        if (status != 0)
            return fail(-status, "lcore {} cannot be started: {}", loop->id().value,
                        rte_strerror(-status));
        ++launched_;
    }
    return {};
}

Runtime::~Runtime() {
    stop();
    for (auto& loop : loops_) loop->quit();
    // Only ours: an lcore that could not be launched may be running for somebody else.
    for (std::size_t i = 0; i < launched_; ++i) {
        rte_eal_wait_lcore(loops_[i]->id().value);
        SLUICE_CHECK(loops_[i]->ended());
    }
    free_rings(rings_, plan_);
    loops_.clear();
}

Stage* Runtime::stage(std::string_view name) const noexcept {
    const auto found = placed_.find(name);
    return found == placed_.end() ? nullptr : found->second.stage.get();
}

LcoreLoop* Runtime::loop(LcoreId id) const noexcept {
    for (const auto& l : loops_)
        if (l->id() == id) return l.get();
    return nullptr;
}

Result<> Runtime::make_rings(const Plan& plan, std::vector<rte_ring*>& rings) {
    ++generation_;
    for (const PlannedRing& planned : plan.rings) {
        // Names must differ from those of the plan before, which is still in use.
        const std::string name = fmt::format("e{}.{}", generation_, rings.size());
        const unsigned flags = RING_F_SC_DEQ | (planned.multi_producer ? 0u : RING_F_SP_ENQ);
        rte_ring* ring = rte_ring_create(name.c_str(), planned.capacity, SOCKET_ID_ANY,
                                         flags | RING_F_EXACT_SZ);
        if (ring == nullptr) {
            const int code = rte_errno;
            for (rte_ring* made : rings) rte_ring_free(made);
            return fail(code, "no memory for the ring of {} packets to {}: {}", planned.capacity,
                        planned.name, rte_strerror(code));
        }
        rings.push_back(ring);
    }
    return {};
}

Result<> Runtime::load(Plan plan, const KindTable& kinds, Stages stages) {
    for (const NodeSpec& node : plan.graph.nodes)
        if (stages.find(node.name) == stages.end() && placed_.find(node.name) == placed_.end())
            return fail(EINVAL, "stage '{}' of the plan was not made", node.name);
    for (const PlannedLcore& lcore : plan.lcores)
        if (loop(lcore.id) == nullptr)
            return fail(EINVAL, "the plan uses lcore {}, which has no loop", lcore.id.value);
    std::vector<rte_ring*> rings;
    SLUICE_TRY_VOID(make_rings(plan, rings));
    const bool was_running = running_;
    stop();
    std::map<std::string, Placed, std::less<>> before = std::move(placed_);
    placed_.clear();
    for (const NodeSpec& node : plan.graph.nodes) {
        auto kind = kinds.find(node.kind + ":" + node.name);
        if (kind == kinds.end()) kind = kinds.find(node.kind);
        SLUICE_CHECK(kind != kinds.end());
        Placed placed;
        const auto fresh = stages.find(node.name);
        if (fresh != stages.end()) {
            placed.stage = std::move(fresh->second);
            placed.counters = std::make_unique<StageCounters>();
        } else {
            placed = std::move(before.find(node.name)->second);
        }
        placed.kind = kind->second;
        placed.kind_name = node.kind;
        placed.lcore = plan.placed.find(node.name)->second;
        placed_.emplace(node.name, std::move(placed));
    }
    const Plan old = std::move(plan_);
    plan_ = std::move(plan);
    publish_lists(rings);
    // From here no lcore uses the plan before: its rings and stages can go.
    qsbr_.synchronize();
    reclaim();
    free_rings(rings_, old);
    rings_ = std::move(rings);
    if (was_running) start();
    return {};
}

std::unique_ptr<RunList> Runtime::list_for(const PlannedLcore& lcore,
                                           const std::vector<rte_ring*>& rings) {
    auto list = std::make_unique<RunList>();
    std::map<std::string, Slot*, std::less<>> slots;
    for (const std::string& name : lcore.nodes) {
        const Placed& placed = placed_.find(name)->second;
        auto slot = std::make_unique<Slot>();
        slot->stage = placed.stage.get();
        slot->counters = placed.counters.get();
        slot->outlet_count = placed.kind.outlets;
        list->outlets.push_back(std::make_unique<Outlet[]>(placed.kind.outlets));
        slot->outlets = list->outlets.back().get();
        slots[name] = slot.get();
        list->slots.push_back(std::move(slot));
    }
    for (const PlannedEdge& edge : plan_.edges) {
        const auto from = slots.find(edge.spec.from);
        if (from == slots.end()) continue;
        Outlet& outlet = from->second->outlets[edge.spec.outlet];
        outlet.backpressure = edge.spec.backpressure;
        outlet.inlet = static_cast<std::uint16_t>(edge.spec.inlet);
        if (edge.via == PlannedEdge::Via::direct) {
            outlet.via = Outlet::Via::direct;
            outlet.next = slots.find(edge.spec.to)->second;
        } else {
            outlet.via = Outlet::Via::ring;
            outlet.ring = rings[edge.ring];
            LcoreLoop* consumer = loop(plan_.rings[edge.ring].consumer);
            const bool sleeps = consumer->idle().policy == Idle::adaptive;
            outlet.waker = sleeps && consumer->id() != lcore.id ? &consumer->waker() : nullptr;
        }
    }
    for (const PlannedEntry& planned : lcore.run) {
        Entry entry;
        entry.slot = slots.find(planned.node)->second;
        if (planned.from_ring) {
            entry.ring = rings[planned.ring];
            entry.inlet = static_cast<std::uint16_t>(plan_.rings[planned.ring].inlet);
            for (const PlannedEdge& edge : plan_.edges)
                if (edge.via == PlannedEdge::Via::ring && edge.ring == planned.ring &&
                    edge.spec.backpressure != Backpressure::drop_tail)
                    entry.lossless = true;
        }
        for (std::size_t i : planned.hold_edges) {
            const EdgeSpec& spec = plan_.edges[i].spec;
            entry.holds.emplace_back(slots.find(spec.from)->second, spec.outlet);
        }
        list->entries.push_back(std::move(entry));
    }
    return list;
}

void Runtime::publish_lists(const std::vector<rte_ring*>& rings) {
    for (auto& l : loops_) {
        const PlannedLcore* lcore = plan_.lcore(l->id());
        l->publish(lcore == nullptr ? std::make_unique<RunList>() : list_for(*lcore, rings));
    }
    set_forwarding(Forwarding::stopped);
}

// Returns when every loop has answered. There is no giving up: what follows frees what a loop that
// has not answered may be using.
void Runtime::set_forwarding(Forwarding state) {
    for (auto& l : loops_) l->forward(state);
    for (auto& l : loops_) {
        auto complain = std::chrono::steady_clock::now() + std::chrono::seconds(5);
        while (!l->settled()) {
            std::this_thread::sleep_for(std::chrono::microseconds(50));
            if (std::chrono::steady_clock::now() < complain) continue;
            log::error("dataplane", "lcore {} does not come round; waiting for it",
                       l->id().value);
            complain += std::chrono::seconds(5);
        }
    }
}

// A loop that has found its rings empty may be fed by one that answers later. All is empty once no
// loop has done anything from one round of answers to the next.
void Runtime::drain(Duration patience) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(patience.ns);
    for (std::uint64_t before = ~0ull;;) {
        for (auto& l : loops_) l->forward(Forwarding::draining);
        std::uint64_t work = 0;
        for (auto& l : loops_) {
            while (!l->settled()) {
                if (std::chrono::steady_clock::now() >= end) return;
                std::this_thread::sleep_for(std::chrono::microseconds(50));
            }
            work += l->counters().busy_iterations.get();
        }
        if (work == before) return;
        before = work;
    }
}

void Runtime::start() {
    if (running_) return;
    set_forwarding(Forwarding::running);
    running_ = true;
}

void Runtime::stop(Duration patience) {
    if (!running_) return;
    drain(patience);
    set_forwarding(Forwarding::stopped);
    // If patience ran out, one lcore may have fed another that had stopped: ask once more.
    set_forwarding(Forwarding::stopped);
    running_ = false;
}

// Only when no loop uses them. What a mail has made a stage emit while forwarding was stopped may
// still be inside.
void Runtime::free_rings(std::vector<rte_ring*>& rings, const Plan& plan) {
    for (std::size_t i = 0; i < rings.size(); ++i) {
        void* packet = nullptr;
        while (rte_ring_sc_dequeue(rings[i], &packet) == 0) {
            rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
            const auto to = placed_.find(plan.rings[i].to);
            if (to != placed_.end())
                to->second.counters->drops[static_cast<std::size_t>(DropReason::edge_removed)].add(
                    1);
        }
        rte_ring_free(rings[i]);
    }
    rings.clear();
}

bool Runtime::post(const Mail& mail) {
    for (const auto& [name, placed] : placed_)
        if (placed.stage.get() == mail.to) {
            LcoreLoop* l = loop(placed.lcore);
            return l != nullptr && l->post(mail);
        }
    return false;
}

void Runtime::settle_mails() {
    for (auto& l : loops_)
        while (!l->mails_read()) std::this_thread::sleep_for(std::chrono::microseconds(50));
    qsbr_.synchronize();
}

void Runtime::reclaim() {
    for (auto& l : loops_) l->reclaim();
}

StageStats Runtime::raw_stats(const std::string& name, const Placed& placed) const {
    StageStats s;
    const StageCounters& c = *placed.counters;
    s.name = name;
    s.kind = placed.kind_name;
    s.lcore = placed.lcore;
    s.packets_in = c.packets_in.get();
    s.bursts_in = c.bursts_in.get();
    s.packets_out = c.packets_out.get();
    s.sampled_cycles = c.sampled_cycles.get();
    s.sampled_packets = c.sampled_packets.get();
    for (std::size_t i = 0; i < placed.kind.counters.size(); ++i)
        s.own.emplace_back(placed.kind.counters[i], c.own[i].get());
    for (std::size_t i = 0; i < kDropReasonCount; ++i) s.drops[i] = c.drops[i].get();
    return s;
}

std::vector<StageStats> Runtime::stage_stats() const {
    std::vector<StageStats> out;
    for (const auto& [name, placed] : placed_) {
        StageStats s = raw_stats(name, placed);
        const StageStats& base = placed.cleared;
        s.packets_in -= base.packets_in;
        s.bursts_in -= base.bursts_in;
        s.packets_out -= base.packets_out;
        s.sampled_cycles -= base.sampled_cycles;
        s.sampled_packets -= base.sampled_packets;
        if (s.sampled_packets != 0)
            s.cycles_per_packet =
                static_cast<double>(s.sampled_cycles) / static_cast<double>(s.sampled_packets);
        // A plan may have given the instance more or fewer counters since.
        for (std::size_t i = 0; i < std::min(base.own.size(), s.own.size()); ++i)
            s.own[i].second -= base.own[i].second;
        for (std::size_t i = 0; i < kDropReasonCount; ++i) s.drops[i] -= base.drops[i];
        out.push_back(std::move(s));
    }
    return out;
}

std::vector<LcoreStats> Runtime::lcore_stats() const {
    std::vector<LcoreStats> out;
    for (std::size_t at = 0; at < loops_.size(); ++at) {
        const LcoreCounters& c = loops_[at]->counters();
        LcoreStats s;
        s.id = loops_[at]->id();
        s.idle = loops_[at]->idle().policy;
        s.iterations = c.iterations.get();
        s.busy_iterations = c.busy_iterations.get();
        s.busy_cycles = c.busy_cycles.get();
        s.idle_cycles = c.idle_cycles.get();
        s.sleep_cycles = c.sleep_cycles.get();
        s.sleeps = c.sleeps.get();
        for (unsigned i = 0; i < kBurstHistogram; ++i)
            s.burst_histogram[i] = c.burst_histogram[i].get();
        for (std::size_t i = 0; i < kStallKinds; ++i) {
            const StallCounters& stalls = loops_[at]->stalls().counters()[i];
            s.stalls[i] = {stalls.count.get(), stalls.ns.get(), stalls.longest_ns.get()};
        }
        if (at < cleared_lcores_.size()) {
            const LcoreStats& base = cleared_lcores_[at];
            s.iterations -= base.iterations;
            s.busy_iterations -= base.busy_iterations;
            s.busy_cycles -= base.busy_cycles;
            s.idle_cycles -= base.idle_cycles;
            s.sleep_cycles -= base.sleep_cycles;
            s.sleeps -= base.sleeps;
            for (unsigned i = 0; i < kBurstHistogram; ++i)
                s.burst_histogram[i] -= base.burst_histogram[i];
            for (std::size_t i = 0; i < kStallKinds; ++i) {
                s.stalls[i].count -= base.stalls[i].count;
                s.stalls[i].ns -= base.stalls[i].ns;
            }
        }
        out.push_back(s);
    }
    return out;
}

void Runtime::clear_stats() {
    for (auto& [name, placed] : placed_) placed.cleared = raw_stats(name, placed);
    cleared_lcores_.clear();
    cleared_lcores_ = lcore_stats();
}

}  // namespace sluice::dp
