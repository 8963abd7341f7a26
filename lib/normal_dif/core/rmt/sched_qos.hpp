#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.hpp"
#include "normal_dif/core/rmt/cube_heap.hpp"
#include "normal_dif/core/rmt/sched_queue.hpp"

namespace sluice::rmt {

// Schedules QoS cubes by what they promise.
//
//   rate    Up to its guaranteed rate (with some burst) a cube's PDUs have a deadline: when they
//           conform to the rate, plus the delay of the cube's class. Of these PDUs the one with
//           the earliest deadline goes first (rate-controlled EDF; Georgiadis et al., INFOCOM
//           1996). If rates, bursts and delays fit the link, each is sent by its deadline plus the
//           time of the longest PDU.
//   weight  What is left of the link is shared by weight among all cubes that have something to
//           send (start-time fair queueing; Goyal et al., SIGCOMM 1996); it does not count against
//           guarantees. At least a sixteenth of what is sent is shared so, also when more has been
//           guaranteed than there is: every cube has a weight, and none starves.
//   loss    Cubes have memory of their own, and share the rest: the lower the loss class, the
//           fuller it may be when a PDU still gets in. Class 0 may fill it.
//
// O(log cubes) a PDU.
struct QosCube {
    rina::QosId id{};
    std::uint64_t rate_bps = 0;  // 0: no guarantee
    std::uint32_t burst_bytes = 10000;
    std::uint32_t weight = 1;       // 1..kWeightMax
    std::uint8_t delay_class = 0;   // below kDelayClasses, 0 the most urgent
    std::uint8_t loss_class = 0;    // below kLossClasses, 0 the most careful
};

class QosScheduler {
  public:
    static constexpr std::size_t kCubesMax = 64, kDelayClasses = 8, kLossClasses = 4;
    static constexpr std::uint32_t kWeightMax = 1000;
    static constexpr std::uint64_t kShareOf = 16;  // the sixteenth

    struct Params {
        std::vector<QosCube> cubes;
        std::size_t otherwise = 0;  // index of the cube for QoS-ids that no cube has
        std::array<Duration, kDelayClasses> delays = {
            Duration::microseconds(200), Duration::microseconds(500), Duration::milliseconds(1),
            Duration::milliseconds(2),   Duration::milliseconds(5),   Duration::milliseconds(10),
            Duration::milliseconds(20),  Duration::milliseconds(50)};
        std::uint64_t shared_bytes = 131072;  // of memory, besides
        std::uint64_t own_bytes = 16384;      // of each cube
        std::uint32_t pdus_max = 1024;        // of each cube
        std::uint64_t mark_above_bytes = std::numeric_limits<std::uint64_t>::max();
        std::uint64_t link_bps = 0;  // 0: not known, guarantees are not checked against it
    };
    // EINVAL: what cannot be, or guarantees that the link cannot hold.
    static Result<QosScheduler> make(const Params& params);

    Enqueue enqueue(Instant now, const SchedItem& item) noexcept;
    std::size_t dequeue(Instant now, std::uint64_t budget, std::span<SchedItem> out) noexcept;

    Backlog backlog() const noexcept { return backlog_; }
    std::size_t queues() const noexcept { return cubes_.size(); }
    Backlog queue_backlog(std::size_t cube) const noexcept { return cubes_[cube].queue.backlog(); }
    const QueueStats& stats(std::size_t cube) const noexcept { return cubes_[cube].queue.stats(); }
    rina::QosId id(std::size_t cube) const noexcept { return cubes_[cube].id; }
    // Sent as guaranteed, rather than from the share.
    std::uint64_t bytes_guaranteed(std::size_t cube) const noexcept {
        return cubes_[cube].bytes_guaranteed;
    }

  private:
    using Heap = CubeHeap<kCubesMax>;

    struct Cube {
        PduQueue queue;
        rina::QosId id;
        Duration delay;
        Duration burst;
        // Nanoseconds and units of virtual time for a byte, with 20 bits of fraction.
        std::uint64_t ns_per_byte = 0;  // 0: no guarantee
        std::uint64_t share_per_byte = 0;
        std::uint64_t room_bytes = 0;  // how full the shared memory may be for its PDUs
        // When a PDU would conform if there were no burst ("theoretical arrival time" of the
        // generic cell rate algorithm, ITU-T I.371).
        Instant conforms{};
        Instant eligible{};         // the first PDU, of a cube with a guarantee
        std::uint64_t share_at = 0;  // virtual time
        std::uint64_t bytes_guaranteed = 0;
    };

    explicit QosScheduler(const Params& params);
    Cube& cube_of(rina::QosId id) noexcept {
        return cubes_[id.value < index_.size() ? index_[id.value] : otherwise_];
    }
    std::uint64_t beyond_own(std::uint64_t bytes) const noexcept {
        return bytes > own_bytes_ ? bytes - own_bytes_ : 0;
    }
    bool is_share_due() const noexcept;
    void charge(Cube& cube, std::uint32_t bytes, bool shared) noexcept;
    void line_up(std::size_t cube, Instant now) noexcept;

    std::vector<Cube> cubes_;
    std::vector<std::uint8_t> index_;  // by QoS-id
    std::uint8_t otherwise_ = 0;
    std::uint64_t own_bytes_ = 0;
    std::uint64_t shared_used_ = 0;
    Backlog backlog_;
    // Cubes with a guarantee and something to send: by the time from which they may, and by
    // deadline once that has come.
    Heap later_;
    Heap urgent_;
    Heap shares_;  // all cubes with something to send, by virtual time
    std::uint64_t virtual_now_ = 0;
    // To shares, in fifteenths of bytes: one for each byte sent as guaranteed.
    std::uint64_t owed_ = 0;
};
static_assert(Scheduler<QosScheduler>);

}  // namespace sluice::rmt
