#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "dataplane/lcore_loop.hpp"
#include "dataplane/mempool.hpp"
#include "dataplane/plan.hpp"
#include "dataplane/punt.hpp"
#include "dataplane/stage.hpp"

namespace sluice::dp {

struct StageStats {
    std::string name, kind;
    LcoreId lcore{};
    std::uint64_t packets_in = 0, bursts_in = 0, packets_out = 0;
    double cycles_per_packet = 0;  // exclusive, from the sampled iterations
    std::uint64_t sampled_cycles = 0, sampled_packets = 0;
    std::vector<std::pair<CounterDesc, std::uint64_t>> own;
    std::array<std::uint64_t, kDropReasonCount> drops{};
};

struct LcoreStats {
    LcoreId id{};
    Idle idle = Idle::adaptive;
    std::uint64_t iterations = 0, busy_iterations = 0, busy_cycles = 0, idle_cycles = 0,
                  sleep_cycles = 0, sleeps = 0;
    std::array<std::uint64_t, kBurstHistogram> burst_histogram{};
    struct Stalls {
        std::uint64_t count = 0, ns = 0, longest_ns = 0;
    };
    std::array<Stalls, kStallKinds> stalls{};  // by StallKind
};

// Carries plans out: owns the worker loops, the stages and the rings between them. One a process;
// control thread only.
class Runtime {
  public:
    using Stages = std::map<std::string, std::unique_ptr<Stage>, std::less<>>;

    // Starts the loops on the lcores of the placement; EAL must be up, and these lcores free.
    static Result<std::unique_ptr<Runtime>> create(const Placement& placement,
                                                   IdleSettings idle = {});
    ~Runtime();
    Runtime(const Runtime&) = delete;
    Runtime& operator=(const Runtime&) = delete;

    // Puts a plan in place of the one before. `stages` has the new ones; those that both plans
    // have keep their object, state and counters. Forwarding, if it was on, is drained, switched
    // and started again.
    Result<> load(Plan plan, const KindTable& kinds, Stages stages);
    const Plan& plan() const noexcept { return plan_; }
    Stage* stage(std::string_view name) const noexcept;

    void start();
    // Sources rest, rings are emptied (for at most `patience`), then stages are told to stop.
    void stop(Duration patience = Duration::milliseconds(500));
    bool running() const noexcept { return running_; }

    // To the lcore the stage is on. False: the mailbox is full (or there is no such stage).
    bool post(const Mail& mail);
    // Returns when every mail posted so far has been read, and no lcore is still in the iteration
    // in which it read it: what the mails took away may be freed.
    void settle_mails();
    Punt& punt() noexcept { return *punt_; }
    Qsbr& qsbr() noexcept { return qsbr_; }
    // Lets go of what no lcore can hold any more; called now and then by the control loop.
    void reclaim();

    std::vector<StageStats> stage_stats() const;
    std::vector<LcoreStats> lcore_stats() const;
    void clear_stats();

  private:
    struct Placed {
        std::unique_ptr<Stage> stage;
        std::unique_ptr<StageCounters> counters;
        StageStats cleared;
        KindInfo kind;
        std::string kind_name;
        LcoreId lcore{};
    };

    Runtime() = default;
    Result<> launch(const Placement& placement, IdleSettings idle);
    Result<> make_rings(const Plan& plan, std::vector<rte_ring*>& rings);
    void publish_lists(const std::vector<rte_ring*>& rings);
    std::unique_ptr<RunList> list_for(const PlannedLcore& lcore,
                                      const std::vector<rte_ring*>& rings);
    void set_forwarding(Forwarding state);
    void drain(Duration patience);
    void free_rings(std::vector<rte_ring*>& rings, const Plan& plan);
    LcoreLoop* loop(LcoreId id) const noexcept;
    StageStats raw_stats(const std::string& name, const Placed& placed) const;

    Qsbr qsbr_;
    std::unique_ptr<Punt> punt_;
    std::vector<std::unique_ptr<LcoreLoop>> loops_;
    std::size_t launched_ = 0;  // of the loops, the first so many
    std::map<std::string, Placed, std::less<>> placed_;
    std::vector<rte_ring*> rings_;
    std::vector<LcoreStats> cleared_lcores_;
    Plan plan_;
    bool running_ = false;
    unsigned generation_ = 0;
};

}  // namespace sluice::dp
