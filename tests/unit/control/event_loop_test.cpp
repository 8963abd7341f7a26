#include "control/event_loop.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <thread>
#include <vector>

using namespace sluice;
using namespace sluice::control;

namespace {

struct Pipe {
    int ends[2] = {-1, -1};
    Pipe() { REQUIRE(::pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0); }
    ~Pipe() {
        ::close(ends[0]);
        ::close(ends[1]);
    }
    void ring() const { REQUIRE(::write(ends[1], "x", 1) == 1); }
};

std::unique_ptr<EventLoop> made() {
    auto loop = EventLoop::create();
    REQUIRE(loop);
    return std::move(*loop);
}

}  // namespace

TEST_CASE("an fd removed by an earlier callback of the same round is not called") {
    auto loop = made();
    Pipe a;
    Pipe b;
    int calls = 0;
    // Whichever comes first removes the other.
    REQUIRE(loop->add_fd(a.ends[0], EPOLLIN, [&](std::uint32_t) {
        ++calls;
        loop->remove_fd(b.ends[0]);
    }));
    REQUIRE(loop->add_fd(b.ends[0], EPOLLIN, [&](std::uint32_t) {
        ++calls;
        loop->remove_fd(a.ends[0]);
    }));
    a.ring();
    b.ring();
    CHECK(loop->run_once(Duration::seconds(10)));
    CHECK(calls == 1);
}

TEST_CASE("an fd number that is reused in the same round is a new one") {
    auto loop = made();
    Pipe a;
    Pipe b;
    int old_calls = 0;
    int new_calls = 0;
    const auto replace = [&](int other) {
        ++old_calls;
        loop->remove_fd(other);
        REQUIRE(loop->add_fd(other, EPOLLOUT, [&](std::uint32_t) { ++new_calls; }));
    };
    REQUIRE(loop->add_fd(a.ends[0], EPOLLIN, [&](std::uint32_t) { replace(b.ends[0]); }));
    REQUIRE(loop->add_fd(b.ends[0], EPOLLIN, [&](std::uint32_t) { replace(a.ends[0]); }));
    a.ring();
    b.ring();
    CHECK(loop->run_once(Duration::seconds(10)));
    CHECK(old_calls == 1);
    CHECK(new_calls == 0);
}

TEST_CASE("a callback may remove itself, and its captures live until it returns") {
    auto loop = made();
    Pipe a;
    a.ring();
    auto text = std::make_shared<std::string>("still here");
    std::weak_ptr<std::string> watch = text;
    std::string seen;
    REQUIRE(loop->add_fd(a.ends[0], EPOLLIN, [&, text = std::move(text)](std::uint32_t) {
        loop->remove_fd(a.ends[0]);
        seen = *text;
    }));
    CHECK(loop->run_once(Duration::seconds(10)));
    CHECK(seen == "still here");
    CHECK(watch.expired());
}

TEST_CASE("fds are added once, changed, and refused when bad") {
    auto loop = made();
    Pipe a;
    CHECK(loop->add_fd(a.ends[1], 0, [](std::uint32_t) {}));
    CHECK(loop->add_fd(a.ends[1], 0, [](std::uint32_t) {}).error().code == EEXIST);
    CHECK(loop->modify_fd(a.ends[1], EPOLLOUT));
    CHECK(loop->modify_fd(12345, EPOLLIN).error().code == ENOENT);
    CHECK(loop->add_fd(12345, EPOLLIN, [](std::uint32_t) {}).error().code == EBADF);
    loop->remove_fd(12345);
}

TEST_CASE("files that epoll refuses are always ready") {
    auto loop = made();
    const int fd = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    int calls = 0;
    REQUIRE(loop->add_fd(fd, EPOLLIN, [&](std::uint32_t) {
        if (++calls == 3) loop->remove_fd(fd);
    }));
    for (int i = 0; i < 3; ++i) loop->run_once(Duration::seconds(10));
    CHECK(calls == 3);
    loop->run_once(Duration{});
    CHECK(calls == 3);
    ::close(fd);
}

TEST_CASE("timers fire in order, once or again, until cancelled") {
    auto loop = made();
    std::vector<int> order;
    loop->after(Duration::milliseconds(4), [&] { order.push_back(2); });
    loop->after(Duration::milliseconds(1), [&] { order.push_back(1); });
    const TimerId never = loop->after(Duration::milliseconds(2), [&] { order.push_back(99); });
    loop->cancel(never);
    TimerId ticking;
    int ticks = 0;
    ticking = loop->every(Duration::milliseconds(6), [&] {
        if (++ticks < 3) return;
        loop->cancel(ticking);
        loop->after(Duration::milliseconds(5), [&] { loop->stop(); });
    });
    loop->run();
    CHECK(order == std::vector<int>{1, 2});
    CHECK(ticks == 3);
    loop->cancel(ticking);
}

TEST_CASE("a timer that re-arms itself at once does not keep the loop") {
    auto loop = made();
    int fired = 0;
    std::function<void()> again = [&] {
        ++fired;
        loop->after(Duration{}, again);
    };
    loop->after(Duration{}, again);
    loop->run_once(Duration{});
    loop->run_once(Duration{});
    CHECK(fired == 2);
}

TEST_CASE("other threads post and stop") {
    auto loop = made();
    const auto loop_thread = std::this_thread::get_id();
    std::vector<int> seen;
    std::thread other([&] {
        for (int i = 0; i < 100; ++i)
            loop->post([&, i] {
                CHECK(std::this_thread::get_id() == loop_thread);
                seen.push_back(i);
            });
        loop->post([&] { loop->stop(); });
    });
    loop->run();
    other.join();
    CHECK(seen.size() == 100);
    CHECK(std::is_sorted(seen.begin(), seen.end()));
    CHECK_FALSE(loop->run_once(Duration::seconds(10)));
}

TEST_CASE("stop before run ends it at once") {
    auto loop = made();
    loop->stop();
    loop->run();
    CHECK(loop->stopped());
}

TEST_CASE("signals arrive as events") {
    auto loop = made();
    sigset_t before;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
    std::vector<int> seen;
    REQUIRE(loop->handle_signals([&](int signal) { seen.push_back(signal); }));
    ::kill(::getpid(), SIGHUP);
    ::kill(::getpid(), SIGUSR1);
    while (seen.size() < 2 && loop->run_once(Duration::seconds(10))) {
    }
    CHECK(std::count(seen.begin(), seen.end(), SIGHUP) == 1);
    CHECK(std::count(seen.begin(), seen.end(), SIGUSR1) == 1);
    loop.reset();
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}
