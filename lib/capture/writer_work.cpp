#include "capture/writer_work.hpp"

#include <rte_lcore.h>
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <cstring>

#include "base/check.hpp"
#include "dataplane/clock.hpp"

namespace sluice::capture {
namespace {

// A block takes at least some hundreds of microseconds to fill. Longer where nothing comes: a
// capture of an idle port shall cost next to nothing.
constexpr Duration kNapFirst = Duration::microseconds(200);
constexpr Duration kNapLongest = Duration::milliseconds(2);

}  // namespace

WriterWork::~WriterWork() { SLUICE_CHECK(!threaded_); }

void WriterWork::run_thread() noexcept {
    Duration nap = kNapFirst;
    while (!stop_thread_.load(std::memory_order_acquire)) {
        if (write(dp::TscClock::instance().now())) {
            nap = kNapFirst;
            continue;
        }
        const timespec t{0, static_cast<long>(nap.ns)};
        ::nanosleep(&t, nullptr);
        nap = std::min(kNapLongest, nap * 2);
    }
}

Result<> WriterWork::start_thread() {
    // Signals are the main thread's, and a broken pipe is an error of write() like others.
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const auto body = [](void* self) -> void* {
        static_cast<WriterWork*>(self)->run_thread();
        return nullptr;
    };
    const int error = rte_ctrl_thread_create(&thread_, "sluice-capture", nullptr, body, this);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (error != 0)
        return fail(-error, "capture: the writer's thread did not start: {}",
                    std::strerror(-error));
    threaded_ = true;
    return {};
}

void WriterWork::stop_thread() noexcept {
    if (!threaded_) return;
    stop_thread_.store(true, std::memory_order_release);
    ::pthread_join(thread_, nullptr);
    threaded_ = false;
}

}  // namespace sluice::capture
