#pragma once

#include <optional>
#include <string>
#include <vector>

#include "app/capture_cli.hpp"
#include "app/config.hpp"
#include "app/lanes.hpp"
#include "control/event_loop.hpp"

namespace sluice::app {

// What sluice-capture does beside capturing: shows how far it is, ends when it has enough, and
// reports.
class CaptureSession {
  public:
    CaptureSession(Lanes& lanes, const Config& config, const CaptureCli& cli,
                   control::EventLoop& loop);
    ~CaptureSession();
    CaptureSession(const CaptureSession&) = delete;
    CaptureSession& operator=(const CaptureSession&) = delete;

    // After everything has been written.
    void report();
    control::Value result() const;

  private:
    void look();

    Lanes& lanes_;
    const CaptureCli& cli_;
    control::EventLoop& loop_;
    Instant started_;
    Instant shown_;
    Duration longest_{};
    std::optional<Instant> ended_;  // before the rest was written
    bool progress_ = false;
    bool line_open_ = false;
    control::TimerId timer_{};
};

// --recover: the exit code.
int recover_files(const std::vector<std::string>& files);

}  // namespace sluice::app
