#include "control/event_loop.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <ctime>
#include <limits>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/check.hpp"

namespace sluice::control {
namespace {

constexpr std::uint64_t kWakeKey = 0;
constexpr int kEventsPerRound = 32;

struct Watch {
    int fd;
    std::uint32_t events;
    bool always_ready;  // not known to epoll, see add_fd
    EventLoop::FdCallback callback;
};

struct Timer {
    Duration period;  // zero: one-shot
    EventLoop::Callback callback;
};

}  // namespace

struct EventLoop::Impl {
    int epoll = -1;
    int wake = -1;
    int signals = -1;
    std::atomic<bool> stopped{false};

    // Watches are found by a key that is never used twice, so that an event of a removed fd, or of
    // an older owner of the same number, finds nothing. Callbacks are held while they run.
    std::uint64_t next_key = kWakeKey + 1;
    std::unordered_map<std::uint64_t, std::shared_ptr<Watch>> watches;
    std::unordered_map<int, std::uint64_t> key_of_fd;

    std::uint64_t next_timer = 1;
    std::map<std::pair<Instant, std::uint64_t>, std::shared_ptr<Timer>> timers;
    std::unordered_map<std::uint64_t, Instant> deadline_of_timer;

    std::mutex posted_mutex;
    std::vector<Callback> posted;

    ~Impl() {
        for (const int fd : {epoll, wake, signals})
            if (fd >= 0) ::close(fd);
    }

    void ring() const noexcept {
        const std::uint64_t one = 1;
        // A full counter rings as well, and nothing else can go wrong.
        [[maybe_unused]] const auto written = ::write(wake, &one, sizeof one);
    }

    TimerId arm(Instant deadline, Duration period, Callback callback) {
        const std::uint64_t id = next_timer++;
        timers.emplace(std::pair(deadline, id),
                       std::make_shared<Timer>(Timer{period, std::move(callback)}));
        deadline_of_timer.emplace(id, deadline);
        return TimerId(id);
    }

    void dispatch(std::uint64_t key, std::uint32_t events) {
        if (key == kWakeKey) {
            std::uint64_t count = 0;
            [[maybe_unused]] const auto taken = ::read(wake, &count, sizeof count);
            return;
        }
        const auto found = watches.find(key);
        if (found == watches.end()) return;
        const std::shared_ptr<Watch> watch = found->second;
        watch->callback(events);
    }

    void run_posted() {
        std::vector<Callback> now;
        {
            const std::lock_guard lock(posted_mutex);
            now.swap(posted);
        }
        for (Callback& callback : now) callback();
    }

    // Only timers that were due when the round began, so that one that re-arms itself with no delay
    // cannot starve the rest.
    void fire_timers() {
        const Instant now = EventLoop::now();
        const std::uint64_t newer = next_timer;
        std::vector<std::pair<Instant, std::uint64_t>> due;
        for (const auto& [key, timer] : timers) {
            if (key.first > now) break;
            if (key.second < newer) due.push_back(key);
        }
        for (const auto& key : due) {
            const auto found = timers.find(key);
            if (found == timers.end()) continue;  // cancelled by one before it
            const std::shared_ptr<Timer> timer = found->second;
            timers.erase(found);
            if (timer->period > Duration{}) {
                Instant next = key.first + timer->period;
                if (next <= now) next = now + timer->period;
                deadline_of_timer[key.second] = next;
                timers.emplace(std::pair(next, key.second), timer);
            } else {
                deadline_of_timer.erase(key.second);
            }
            timer->callback();
        }
    }

    bool any_always_ready() const {
        return std::any_of(watches.begin(), watches.end(), [](const auto& entry) {
            return entry.second->always_ready && (entry.second->events & EPOLLIN) != 0;
        });
    }

    int wait_ms(Duration timeout) const {
        if (any_always_ready()) return 0;
        if (!timers.empty())
            timeout = std::min(timeout, timers.begin()->first.first - EventLoop::now());
        if (timeout.ns <= 0) return 0;
        // Upwards: a timer must not find itself early and spin.
        const std::int64_t ms = timeout.ns / 1000000 + (timeout.ns % 1000000 != 0 ? 1 : 0);
        return static_cast<int>(std::min<std::int64_t>(ms, std::numeric_limits<int>::max()));
    }

    void dispatch_always_ready() {
        std::vector<std::uint64_t> ready;
        for (const auto& [key, watch] : watches)
            if (watch->always_ready && (watch->events & EPOLLIN) != 0) ready.push_back(key);
        for (const std::uint64_t key : ready) dispatch(key, EPOLLIN);
    }
};

EventLoop::EventLoop(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

EventLoop::~EventLoop() = default;

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
    auto impl = std::make_unique<Impl>();
    impl->epoll = ::epoll_create1(EPOLL_CLOEXEC);
    impl->wake = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (impl->epoll < 0 || impl->wake < 0)
        return fail(errno, "cannot make the event loop: {}", std::strerror(errno));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = kWakeKey;
    if (::epoll_ctl(impl->epoll, EPOLL_CTL_ADD, impl->wake, &event) < 0)
        return fail(errno, "cannot make the event loop: {}", std::strerror(errno));
    return std::unique_ptr<EventLoop>(new EventLoop(std::move(impl)));
}

Result<> EventLoop::add_fd(int fd, std::uint32_t events, FdCallback callback) {
    if (impl_->key_of_fd.contains(fd))
        return fail(EEXIST, "file descriptor {} is in the event loop already", fd);
    const std::uint64_t key = impl_->next_key++;
    epoll_event event{};
    event.events = events;
    event.data.u64 = key;
    bool always_ready = false;
    if (::epoll_ctl(impl_->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        // EPERM is epoll's way to say that this file never blocks.
        if (errno != EPERM)
            return fail(errno, "cannot watch file descriptor {}: {}", fd, std::strerror(errno));
        always_ready = true;
    }
    impl_->watches.emplace(
        key, std::make_shared<Watch>(Watch{fd, events, always_ready, std::move(callback)}));
    impl_->key_of_fd.emplace(fd, key);
    return {};
}

Result<> EventLoop::modify_fd(int fd, std::uint32_t events) {
    const auto found = impl_->key_of_fd.find(fd);
    if (found == impl_->key_of_fd.end())
        return fail(ENOENT, "file descriptor {} is not in the event loop", fd);
    Watch& watch = *impl_->watches.at(found->second);
    epoll_event event{};
    event.events = events;
    event.data.u64 = found->second;
    if (!watch.always_ready && ::epoll_ctl(impl_->epoll, EPOLL_CTL_MOD, fd, &event) < 0)
        return fail(errno, "cannot watch file descriptor {}: {}", fd, std::strerror(errno));
    watch.events = events;
    return {};
}

void EventLoop::remove_fd(int fd) {
    const auto found = impl_->key_of_fd.find(fd);
    if (found == impl_->key_of_fd.end()) return;
    const auto watch = impl_->watches.find(found->second);
    if (!watch->second->always_ready) ::epoll_ctl(impl_->epoll, EPOLL_CTL_DEL, fd, nullptr);
    impl_->watches.erase(watch);
    impl_->key_of_fd.erase(found);
}

TimerId EventLoop::after(Duration delay, Callback callback) {
    return impl_->arm(now() + std::max(delay, Duration{}), Duration{}, std::move(callback));
}

TimerId EventLoop::every(Duration period, Callback callback) {
    SLUICE_CHECK(period > Duration{});
    return impl_->arm(now() + period, period, std::move(callback));
}

void EventLoop::cancel(TimerId id) {
    const auto found = impl_->deadline_of_timer.find(id.value);
    if (found == impl_->deadline_of_timer.end()) return;
    impl_->timers.erase(std::pair(found->second, id.value));
    impl_->deadline_of_timer.erase(found);
}

Result<> EventLoop::handle_signals(std::function<void(int)> callback) {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) sigaddset(&set, signal);
    if (const int error = ::pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0)
        return fail(error, "cannot block signals: {}", std::strerror(error));
    ::signal(SIGPIPE, SIG_IGN);
    if (impl_->signals >= 0) {
        remove_fd(impl_->signals);
        ::close(impl_->signals);
    }
    impl_->signals = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (impl_->signals < 0)
        return fail(errno, "cannot receive signals: {}", std::strerror(errno));
    const int fd = impl_->signals;
    return add_fd(fd, EPOLLIN, [fd, callback = std::move(callback)](std::uint32_t) {
        signalfd_siginfo info{};
        while (::read(fd, &info, sizeof info) == static_cast<ssize_t>(sizeof info))
            callback(static_cast<int>(info.ssi_signo));
    });
}

void EventLoop::post(Callback callback) {
    {
        const std::lock_guard lock(impl_->posted_mutex);
        impl_->posted.push_back(std::move(callback));
    }
    impl_->ring();
}

void EventLoop::run() {
    while (run_once(Duration::seconds(3600))) {
    }
}

bool EventLoop::run_once(Duration timeout) {
    if (stopped()) return false;
    std::array<epoll_event, kEventsPerRound> events;
    const int count =
        ::epoll_wait(impl_->epoll, events.data(), kEventsPerRound, impl_->wait_ms(timeout));
    // EINTR and the like mean no events; the round goes on with timers.
    for (int i = 0; i < count && !stopped(); ++i) {
        const epoll_event event = events[static_cast<std::size_t>(i)];
        impl_->dispatch(event.data.u64, event.events);
    }
    if (!stopped()) impl_->dispatch_always_ready();
    if (!stopped()) impl_->run_posted();
    if (!stopped()) impl_->fire_timers();
    return !stopped();
}

void EventLoop::stop() noexcept {
    impl_->stopped.store(true);
    impl_->ring();
}

bool EventLoop::stopped() const noexcept { return impl_->stopped.load(); }

Instant EventLoop::now() noexcept {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return Instant{static_cast<std::int64_t>(time.tv_sec) * 1000000000 + time.tv_nsec};
}

}  // namespace sluice::control
