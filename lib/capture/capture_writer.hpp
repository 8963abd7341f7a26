#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "capture/capture_config.hpp"
#include "capture/capture_tap.hpp"
#include "capture/doorbell.hpp"
#include "capture/drain.hpp"
#include "capture/wall_clock.hpp"
#include "pcap_writer/sink.hpp"

namespace sluice::capture {

// received = captured + dropped_no_buffer + dropped_write_error + pending, and after stop()
// pending is 0.
struct CaptureStats {
    std::uint64_t received = 0;  // offered to the taps
    std::uint64_t captured = 0;  // in the file
    std::uint64_t bytes = 0;     // of the packets in the file
    std::uint64_t dropped_no_buffer = 0;
    std::uint64_t dropped_write_error = 0;
    std::uint64_t pending = 0;    // copied, on the way to the file
    std::uint64_t restamped = 0;  // too late for their place in the file; stamped later than seen
    std::string file;
    std::uint64_t file_bytes = 0;
    std::string error;  // the first one of writing
    bool running = false;
};

// A capture file, its taps, and the thread that writes. All functions are for the control thread.
class Capture {
  public:
    // Opens the file and starts the writer. EAL must be up: chunks are in its memory, and the
    // thread keeps off the lcores.
    static Result<std::unique_ptr<Capture>> start(const CaptureConfig& config);
    static Result<std::unique_ptr<Capture>> start(const CaptureConfig& config,
                                                  std::unique_ptr<pcap::Sink> sink);
    ~Capture();
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;

    // A tap for one lcore, at any time. It lives until remove_tap() or the end of the capture.
    Result<CaptureTap*> add_tap();
    // Its lcore no longer uses the tap (and has told so, by a quiescent state or otherwise). What
    // it has seen goes to the file all the same.
    void remove_tap(CaptureTap* tap);

    // Returns when all that the taps had committed before is in the file, or lost and counted.
    void flush();
    // Writes what is left, and closes the file. No tap may be in use any more. Returns the first
    // error that the writer met, if any.
    Result<> stop();

    CaptureStats stats() const;
    const CaptureConfig& config() const noexcept { return config_; }

  private:
    Capture(const CaptureConfig& config, std::unique_ptr<pcap::Sink> sink);
    Result<> launch();
    void run() noexcept;
    std::vector<Source*> sources();
    void reap();
    void adjust_clock();
    void answer_flush(std::uint64_t asked);

    const CaptureConfig config_;
    std::unique_ptr<pcap::Sink> sink_;
    WallClock clock_;
    Doorbell doorbell_;
    Drain drain_;
    pthread_t thread_{};
    bool running_ = false;
    Result<> outcome_;

    mutable std::mutex mutex_;
    std::vector<std::unique_ptr<Source>> sources_;
    std::uint64_t received_before_ = 0;  // by taps that are gone
    std::uint64_t no_buffer_before_ = 0;

    std::atomic<bool> stop_asked_{false};
    std::atomic<std::uint64_t> flush_asked_{0};
    std::mutex flush_mutex_;
    std::condition_variable flushed_;
    std::uint64_t flush_done_ = 0;

    // Writer only.
    Instant clock_checked_;
    bool ahead_told_ = false;
};

}  // namespace sluice::capture
