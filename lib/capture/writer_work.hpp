#pragma once

#include <pthread.h>

#include <atomic>

#include "base/instant.hpp"
#include "base/result.hpp"

namespace sluice::capture {

// The half of a capture that writes: on an lcore of its own, inline behind a recorder, or, where
// writing may block, in a thread.
class WriterWork {
  public:
    virtual ~WriterWork();

    // True if there was something to do.
    virtual bool write(Instant now) noexcept = 0;
    // Whether write() may block, so that it has no place on a polling lcore.
    virtual bool wants_thread() const noexcept = 0;
    // Before a polling lcore calls write(): what may block goes elsewhere.
    virtual Result<> prepare_for_lcore() = 0;

    Result<> start_thread();
    bool threaded() const noexcept { return threaded_; }

  protected:
    // Before what write() needs goes away.
    void stop_thread() noexcept;

  private:
    void run_thread() noexcept;

    pthread_t thread_{};
    bool threaded_ = false;
    std::atomic<bool> stop_thread_{false};
};

}  // namespace sluice::capture
