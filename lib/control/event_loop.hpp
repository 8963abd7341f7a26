#pragma once

#include <csignal>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "base/types.hpp"

namespace sluice::control {

using TimerId = StrongId<struct TimerTag, std::uint64_t>;

// The control thread's epoll loop. Everything but post() and stop() belongs to that one thread.
class EventLoop {
  public:
    using FdCallback = std::function<void(std::uint32_t epoll_events)>;
    using Callback = std::function<void()>;

    static Result<std::unique_ptr<EventLoop>> create();
    ~EventLoop();
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;

    // `events` as for epoll_ctl (EPOLLIN, EPOLLOUT, ...), level-triggered. A regular file or
    // /dev/null, which epoll refuses, counts as always readable. The loop does not own the fd:
    // remove it before closing it, from any callback, its own too.
    Result<> add_fd(int fd, std::uint32_t events, FdCallback callback);
    Result<> modify_fd(int fd, std::uint32_t events);
    void remove_fd(int fd);

    // Timers on CLOCK_MONOTONIC, to the millisecond. A periodic one that comes late is not made up
    // for. cancel() of one that fired or is unknown does nothing.
    TimerId after(Duration delay, Callback callback);
    TimerId every(Duration period, Callback callback);
    void cancel(TimerId id);

    // SIGINT, SIGTERM, SIGHUP and SIGUSR1 arrive here through a signalfd, and SIGPIPE is ignored.
    // Blocks them in the calling thread: call it before other threads are made, which inherit that.
    Result<> handle_signals(std::function<void(int signal)> callback);

    // Thread-safe: `callback` runs on the loop's thread, soon.
    void post(Callback callback);

    // Until stop(), which may be called from anywhere, before run() too.
    void run();
    // One round: waits at most `timeout` for something to do. False once stopped.
    bool run_once(Duration timeout);
    void stop() noexcept;
    bool stopped() const noexcept;

    static Instant now() noexcept;

  private:
    struct Impl;
    explicit EventLoop(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::control
