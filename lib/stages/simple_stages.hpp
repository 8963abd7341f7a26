#pragma once

#include <rte_mempool.h>

#include <array>
#include <cstdint>

#include "dataplane/stage.hpp"
#include "stages/gen_frame.hpp"

namespace sluice::stages {

// Hands on what it is given: testpmd's io mode as a stage.
class Io : public dp::Stage {
  public:
    static dp::KindInfo kind();
    void process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept override;

    enum Count : unsigned { kBytes };
};

// Discards, and says so among the drops.
class Null : public dp::Stage {
  public:
    static dp::KindInfo kind();
    void process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept override;
};

// The end of the way: takes packets, and looks at the numbers of those that txgen made.
class Sink : public dp::Stage {
  public:
    static dp::KindInfo kind();
    void process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept override;

    enum Count : unsigned { kBytes, kNumbered, kMissing, kLate };

  private:
    std::array<std::uint64_t, kGenStreams> expected_{};
    // A stream may have begun before us: its first frame is where we start to count.
    std::array<bool, kGenStreams> known_{};
};

// Gives each packet to both outlets. Outlet 1 gets a clone: an mbuf of its own around the same
// bytes, which are therefore only to be read behind either outlet; the headers (length, metadata,
// chains) are each one's own.
class Tee : public dp::Stage {
  public:
    explicit Tee(rte_mempool* pool) noexcept : pool_(pool) {}

    static dp::KindInfo kind();
    void process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept override;

  private:
    rte_mempool* const pool_;
};

}  // namespace sluice::stages
