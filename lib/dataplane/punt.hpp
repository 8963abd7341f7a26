#pragma once

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"

namespace sluice::dp {

class Stage;
class LoopCtx;

// What an lcore tells the control thread: a management message (with its packet), or an event.
struct PuntItem {
    Stage* from = nullptr;
    rte_mbuf* packet = nullptr;  // the receiver's from now on
    std::uint32_t type = 0;
    std::uint32_t arg = 0;
    std::uint64_t words[2] = {0, 0};
    class PuntQuota* quota = nullptr;
};

// How much one port may have waiting at the control thread, so that one guest cannot starve it.
class PuntQuota {
  public:
    explicit PuntQuota(std::uint32_t limit) noexcept : limit_(limit) {}

  private:
    friend class Punt;
    std::atomic<std::uint32_t> waiting_{0};
    const std::uint32_t limit_;
};

// Workers to control: an MP/SC ring and an eventfd that is written only when the ring turns
// non-empty.
class Punt {
  public:
    static Result<std::unique_ptr<Punt>> create(const std::string& name, unsigned capacity);
    ~Punt();
    Punt(const Punt&) = delete;
    Punt& operator=(const Punt&) = delete;

    // lcore: false (and the packet stays the caller's) if the ring is full or the quota used up.
    enum class Pushed : std::uint8_t { ok, full, over_quota };
    Pushed push(const PuntItem& item) noexcept;

    // control: the descriptor to watch for reading, and the receiver.
    int fd() const noexcept { return fd_; }
    // Takes up to `most` items; call again while it returns `most`.
    unsigned drain(PuntItem* items, unsigned most) noexcept;

  private:
    Punt(rte_ring* ring, int fd) noexcept : ring_(ring), fd_(fd) {}

    rte_ring* ring_;
    int fd_;
    std::atomic<bool> signalled_{false};
};

}  // namespace sluice::dp
