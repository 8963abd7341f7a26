#pragma once

#include "capture/lane.hpp"
#include "dataplane/kind.hpp"
#include "dataplane/port_stages.hpp"
#include "dataplane/stage.hpp"
#include "dataplane/tap.hpp"

namespace sluice::capture {

// Receives from one queue of a port and records it: receive, stamp, filter, copy and free in one
// go, while all of it is in the cache. Without a lane it only receives and frees (--null): what
// the port and this machine can do at most.
class RecorderStage final : public dp::Stage {
  public:
    RecorderStage(const dp::Port& port, std::uint16_t queue, Lane* lane) noexcept
        : port_(port), queue_(queue), waiter_(port, queue), lane_(lane) {}
    ~RecorderStage() override;

    static dp::KindInfo kind();

    dp::Busy poll(dp::LoopCtx& ctx) noexcept override;
    dp::Wait wait_arm(dp::LoopCtx& ctx, int epoll_fd) noexcept override;
    void wait_disarm(dp::LoopCtx& ctx) noexcept override;

  private:
    // Who asks a ring for more while the other side is writing its next descriptors takes their
    // cache line away each time. So after a small burst the next one gets some time to come.
    static constexpr unsigned kFewPackets = dp::kBurstMax / 2;
    static constexpr Duration kBreath = Duration::microseconds(1);

    const dp::Port& port_;
    const std::uint16_t queue_;
    Instant next_{};
    dp::PortWaiter waiter_;
    Lane* const lane_;
    std::array<rte_mbuf*, dp::kBurstMax> early_{};  // found by the look after arming
    std::uint16_t early_count_ = 0;
};

// The other half of a lane or of a merge, on whichever lcore the plan puts it: a core of its own,
// or inline behind the recorder. With a thread of its own it has nothing to do here.
class WriterStage final : public dp::Stage {
  public:
    explicit WriterStage(WriterWork& work) noexcept : work_(work) {}

    static dp::KindInfo kind();

    dp::Busy poll(dp::LoopCtx& ctx) noexcept override;
    dp::Wait wait_arm(dp::LoopCtx& ctx, int epoll_fd) noexcept override;

  private:
    static constexpr Duration kPeriod = Duration::microseconds(20);

    WriterWork& work_;
    Instant next_{};
};

}  // namespace sluice::capture
