#pragma once

#include "capture/lane.hpp"
#include "dataplane/tap.hpp"

namespace sluice::capture {

// Records what passes a stage, in lanes that feed a Merge: one for each direction, so that files
// can say which one a packet went. Owns nothing; belongs to the stage's lcore. A stage does not
// tell a tap when nothing passed, so that a lane fed by one knows nothing of the polls before:
// packets get the time of the iteration they passed in.
class LaneTap final : public dp::PacketTap {
  public:
    // nullptr: that direction is not captured.
    LaneTap(Lane* rx, Lane* tx) noexcept : rx_(rx), tx_(tx) {}

    void tap(dp::LoopCtx& ctx, rte_mbuf* const* packets, unsigned count,
             dp::Direction direction) noexcept override;

  private:
    Lane* const rx_;
    Lane* const tx_;
};

}  // namespace sluice::capture
