#pragma once

#include <atomic>
#include <cstdint>

#include "base/instant.hpp"
#include "base/result.hpp"

namespace sluice::capture {

// Wakes the writer. Ringing costs a system call only if it sleeps.
class Doorbell {
  public:
    Doorbell() = default;
    ~Doorbell();
    Doorbell(const Doorbell&) = delete;
    Doorbell& operator=(const Doorbell&) = delete;

    Result<> init();

    // Any thread, lcores too. What the caller did before is seen by the writer's next look.
    void ring() noexcept;

    // Writer: before it looks for work.
    void look() noexcept { state_.exchange(kAwake, std::memory_order_acq_rel); }
    // Writer: after it has looked. Returns at once if the bell rang since look().
    void wait(Duration at_most) noexcept;

  private:
    enum State : std::uint32_t { kAwake, kAsleep, kRung };

    // All changes are read-modify-write, so either the writer sees the ring or the ringer the
    // sleep: no fence is needed.
    std::atomic<std::uint32_t> state_{kAwake};
    int fd_ = -1;
};

}  // namespace sluice::capture
