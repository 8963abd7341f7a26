#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

#include "dataplane/mempool.hpp"
#include "dataplane/published.hpp"
#include "dataplane/punt.hpp"

using namespace sluice;
using namespace sluice::dp;

namespace {

bool readable(int fd) {
    pollfd p{fd, POLLIN, 0};
    return poll(&p, 1, 0) == 1;
}

std::unique_ptr<Punt> make_punt(unsigned capacity) {
    auto made = Punt::create("test_punt", capacity);
    if (!made) FAIL(made.error().message);
    return std::move(*made);
}

struct Tracked {
    static inline std::atomic<int> alive{0};
    explicit Tracked(int v) : value(v) { ++alive; }
    ~Tracked() {
        value = -1;
        --alive;
    }
    int value;
};

}  // namespace

TEST_CASE("punt: in order until it is full") {
    auto punt = make_punt(64);
    PuntItem item;
    for (item.arg = 0; item.arg < 63; ++item.arg) CHECK(punt->push(item) == Punt::Pushed::ok);
    CHECK(punt->push(item) == Punt::Pushed::full);
    PuntItem out[40];
    CHECK(punt->drain(out, 40) == 40);
    CHECK(out[39].arg == 39);
    CHECK(punt->drain(out, 40) == 23);
    CHECK(out[22].arg == 62);
    CHECK(punt->drain(out, 40) == 0);
    CHECK(punt->push(item) == Punt::Pushed::ok);
}

TEST_CASE("punt: a quota limits what waits, not what passes") {
    auto punt = make_punt(64);
    PuntQuota quota(3);
    PuntItem item, free;
    item.quota = &quota;
    for (int round = 0; round < 10; ++round) {
        for (int i = 0; i < 3; ++i) CHECK(punt->push(item) == Punt::Pushed::ok);
        CHECK(punt->push(item) == Punt::Pushed::over_quota);
        CHECK(punt->push(free) == Punt::Pushed::ok);
        PuntItem out[8];
        CHECK(punt->drain(out, 8) == 4);
    }
    // A full ring gives the quota back.
    for (int i = 0; i < 63; ++i) CHECK(punt->push(free) == Punt::Pushed::ok);
    for (int i = 0; i < 5; ++i) CHECK(punt->push(item) == Punt::Pushed::full);
    PuntItem out[64];
    CHECK(punt->drain(out, 64) == 63);
    for (int i = 0; i < 3; ++i) CHECK(punt->push(item) == Punt::Pushed::ok);
    CHECK(punt->drain(out, 64) == 3);
}

TEST_CASE("punt: the descriptor is written when the queue turns non-empty, not for each item") {
    auto punt = make_punt(64);
    CHECK_FALSE(readable(punt->fd()));
    PuntItem item, out[8];
    for (int i = 0; i < 3; ++i) punt->push(item);
    CHECK(readable(punt->fd()));
    std::uint64_t kicks = 0;
    CHECK(read(punt->fd(), &kicks, sizeof(kicks)) == sizeof(kicks));
    CHECK(kicks == 1);
    CHECK(punt->drain(out, 8) == 3);
    CHECK_FALSE(readable(punt->fd()));
    punt->push(item);
    CHECK(readable(punt->fd()));
    CHECK(punt->drain(out, 8) == 1);
    CHECK_FALSE(readable(punt->fd()));
}

TEST_CASE("punt: several producers, and a receiver that sleeps on the descriptor") {
    constexpr std::uint64_t kEach = 20000;
    auto punt = make_punt(256);
    std::vector<std::thread> producers;
    for (std::uint32_t who = 0; who < 2; ++who)
        producers.emplace_back([&, who] {
            PuntItem item;
            item.type = who;
            for (std::uint64_t i = 0; i < kEach;) {
                item.words[0] = i;
                if (punt->push(item) == Punt::Pushed::ok) ++i;
                else std::this_thread::yield();
            }
        });
    std::uint64_t next[2] = {0, 0};
    bool in_order = true;
    bool timed_out = false;
    while (next[0] + next[1] < 2 * kEach && !timed_out) {
        pollfd p{punt->fd(), POLLIN, 0};
        timed_out = poll(&p, 1, 20000) != 1;  // a lost wake-up
        PuntItem out[32];
        for (unsigned n = 32; n == 32;) {
            n = punt->drain(out, 32);
            for (unsigned i = 0; i < n; ++i)
                in_order &= out[i].words[0] == next[out[i].type]++;
        }
    }
    CHECK_FALSE(timed_out);
    for (std::thread& t : producers) t.join();
    CHECK(in_order);
}

TEST_CASE("published: the old value goes when every lcore has been quiescent, and not before") {
    {
        Qsbr qsbr;
        qsbr.attach(1);
        qsbr.attach(2);
        Published<Tracked> p(qsbr);
        CHECK(p.read() == nullptr);
        p.publish(std::make_unique<const Tracked>(1));
        const Tracked* old = p.read();
        p.publish(std::make_unique<const Tracked>(2));
        CHECK(p.read()->value == 2);
        CHECK(old->value == 1);
        CHECK(p.reclaim() == 1);
        qsbr.quiescent(1);
        CHECK(p.reclaim() == 1);
        CHECK(old->value == 1);
        qsbr.quiescent(2);
        CHECK(p.reclaim() == 0);
        CHECK(Tracked::alive == 1);

        // A sleeper holds nothing and stalls nobody.
        qsbr.offline(1);
        p.publish(std::make_unique<const Tracked>(3));
        CHECK(p.reclaim() == 1);
        qsbr.quiescent(2);
        CHECK(p.reclaim() == 0);
        qsbr.online(1);
        CHECK(p.read()->value == 3);
        p.publish(std::make_unique<const Tracked>(4));
        qsbr.quiescent(2);
        CHECK(p.reclaim() == 1);
        qsbr.detach(1);
        CHECK(p.reclaim() == 0);
        qsbr.detach(2);
    }
    CHECK(Tracked::alive == 0);
}

TEST_CASE("published: readers never see a value that was let go") {
    {
        Qsbr qsbr;
        Published<Tracked> p(qsbr);
        p.publish(std::make_unique<const Tracked>(1));
        std::atomic<bool> quit{false};
        std::atomic<bool> wrong{false};
        std::atomic<int> ready{0};
        std::vector<std::thread> readers;
        for (unsigned lcore = 1; lcore <= 2; ++lcore)
            readers.emplace_back([&, lcore] {
                qsbr.attach(lcore);
                ++ready;
                int last = 0;
                for (unsigned i = 0; !quit; ++i) {
                    const Tracked* t = p.read();
                    std::this_thread::yield();
                    if (t->value < last) wrong = true;
                    last = t->value;
                    qsbr.quiescent(lcore);
                    if (i % 16 == 0) {
                        qsbr.offline(lcore);
                        std::this_thread::yield();
                        qsbr.online(lcore);
                    }
                }
                qsbr.detach(lcore);
            });
        while (ready != 2) std::this_thread::yield();
        for (int i = 2; i < 3000; ++i) {
            p.publish(std::make_unique<const Tracked>(i));
            if (i % 64 == 0) qsbr.synchronize();
        }
        qsbr.synchronize();
        CHECK(p.reclaim() == 0);
        quit = true;
        for (std::thread& t : readers) t.join();
        CHECK_FALSE(wrong);
    }
    CHECK(Tracked::alive == 0);
}

TEST_CASE("mempool: what is impossible is refused in one sentence") {
    Mempool::Options o;
    o.name = "bad";
    o.count = 1023;
    const auto refused = [&] {
        auto made = Mempool::create(o);
        REQUIRE_FALSE(made);
        CHECK(made.error().message.find('\n') == std::string::npos);
        return made.error().message;
    };
    o.data_size = 100;
    CHECK(refused() == "mbuf data size 100 is out of range, expected 256 to 65407 bytes");
    o.data_size = 2048;
    o.cache = 513;
    CHECK(refused().find("cache of at most 512") != std::string::npos);
    o.cache = 512;
    o.count = 700;
    CHECK(refused().find("700 mbufs with a cache of 512") != std::string::npos);
    o.cache = 0;
    o.count = 0;
    CHECK(refused().find("0 mbufs") != std::string::npos);
    o.cache = 32;
    o.count = 1u << 24;
    CHECK(refused().find("give EAL more with -m") != std::string::npos);
}
