#pragma once

#include <string>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "capture/lane.hpp"
#include "capture/wall_clock.hpp"
#include "control/value.hpp"

// What the captures of all roles have in common: sluice-capture's lanes and taps of other roles.
namespace sluice::app {

// Time of day of all captures of a process; told when the system's clock jumps.
class CaptureClock {
  public:
    CaptureClock();
    const capture::WallClock& wall() const noexcept { return wall_; }
    // Control thread, every 200 ms or so: true about once a second, and then adjust() is to follow.
    bool due() noexcept;
    void adjust();

  private:
    capture::WallClock wall_;
    Instant adjusted_;
    bool ahead_told_ = false;
};

// What the ports lost before a capture saw it.
struct PortLoss {
    std::uint64_t nic_missed = 0;
    std::uint64_t no_mbuf = 0;
};

// A row of "show capture" and of the report.
control::Value capture_row(const capture::LaneStats& stats, const std::string& state,
                           const PortLoss& loss);
// Adds what it lost to the rows of "show drops", if anything.
void add_drop_row(control::Value& rows, const std::string& stage, const char* reason,
                  std::uint64_t packets, const char* meaning);
void add_capture_drops(control::Value& rows, const std::string& stage,
                       const capture::LaneStats& stats);
// Of a capture that is over: every packet received is written, left out or lost.
Result<> check_sums(const capture::LaneStats& stats);

// The error of a command for captures that do not run; `port` may be "all".
tl::unexpected<Error> not_captured(const std::string& port);

}  // namespace sluice::app
