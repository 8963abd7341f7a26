#pragma once

#include "capture/capture_tap.hpp"
#include "dataplane/kind.hpp"
#include "dataplane/stage.hpp"

namespace sluice::capture {

// The end of a path: records every packet that arrives, and frees it. What found no buffer is
// dropped here as capture_no_buffer; what the disk did not take shows in the capture's stats.
class CaptureStage final : public dp::Stage {
  public:
    // The tap belongs to this stage alone and outlives it, or its last packet at least.
    explicit CaptureStage(CaptureTap& tap) noexcept : tap_(tap) {}

    static dp::KindInfo kind();

    void process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept override;

    enum Count : unsigned { kRecorded, kBytes };

  private:
    CaptureTap& tap_;
};

}  // namespace sluice::capture
