#include <rte_ring.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dataplane/clock.hpp"
#include "rig.hpp"

using namespace sluice;
using namespace sluice::dp;
using namespace sluice::dp::test;

TEST_CASE("load() on a running graph keeps stages and loses nothing") {
    constexpr std::uint32_t kMore = 5000;
    Rig rig;
    auto* digest = new Digest();
    auto* numbers = new Numbers(rig.pool->get(), {kMore});
    const auto hold = Backpressure::hold;
    rig.load({{node_on("n", "numbers", 1), node_on("d", "digest", 2)}, {edge("n", "d", hold)}},
             {{"n", numbers}, {"d", digest}});
    rig.runtime->start();
    std::uint32_t total = kMore;
    for (unsigned round = 0; round < 12; ++round) {
        CHECK(rig.post(numbers, kMore));
        total += kMore;
        // The digest moves on, and a stage comes between and goes again.
        const unsigned at = 1 + round % 3;
        if (round % 2 == 0)
            rig.load({{node_on("n", "numbers", 1), node_on("p", "pass", 3),
                       node_on("d", "digest", at)},
                      {edge("n", "p", hold), edge("p", "d", hold)}},
                     {{"p", [] {
                           struct Pass : Stage {
                               void process(LoopCtx& ctx, Burst& b) noexcept override {
                                   ctx.emit(0, b.pkts, b.count);
                               }
                           };
                           return static_cast<Stage*>(new Pass());
                       }()}});
        else
            rig.load({{node_on("n", "numbers", 1), node_on("d", "digest", at)},
                      {edge("n", "d", hold)}},
                     {});
        CHECK(rig.runtime->running());
        CHECK(rig.runtime->stage("n") == numbers);
    }
    CHECK(eventually([&] { return digest->shown() == total; }));
    rig.runtime->stop();
    CHECK(digest->in_order());
    CHECK(rig.stats("n").packets_out == total);
    CHECK(rig.stats("d").packets_in == total);
    CHECK(rig.all_drops() == 0);
    CHECK(rig.pool->in_use() == 0);
}

TEST_CASE("load() says what is missing and leaves the plan before in place") {
    Rig rig;
    auto* digest = new Digest();
    const Graph g{{node_on("d", "digest", 1)}, {}};
    rig.load(g, {{"d", digest}});
    auto more = plan({{node_on("d", "digest", 1), node_on("n", "numbers", 1)}, {}}, rig.kinds,
                     rig.placement);
    REQUIRE(more);
    auto loaded = rig.runtime->load(std::move(*more), rig.kinds, {});
    REQUIRE_FALSE(loaded);
    CHECK(loaded.error().message == "stage 'n' of the plan was not made");
    auto elsewhere = plan(g, rig.kinds, workers({1, 9}));
    REQUIRE(elsewhere);
    loaded = rig.runtime->load(std::move(*elsewhere), rig.kinds, {});
    REQUIRE_FALSE(loaded);
    CHECK(loaded.error().message == "the plan uses lcore 9, which has no loop");
    CHECK(rig.runtime->stage("d") == digest);
}

TEST_CASE("a runtime needs lcores that EAL has and that nobody uses") {
    auto bad = Runtime::create(workers({1, 77}));
    REQUIRE_FALSE(bad);
    CHECK(bad.error().message == "lcore 77 is not one of EAL's (-l, --lcores)");
    bad = Runtime::create(workers({0}));
    REQUIRE_FALSE(bad);
    CHECK(bad.error().message ==
          "lcore 0 runs the control thread, the dataplane needs another");
    Rig rig;
    bad = Runtime::create(workers({1}));
    CHECK_FALSE(bad);
}

TEST_CASE("clear_stats starts all counts at zero") {
    Rig rig;
    auto* digest = new Digest();
    auto* numbers = new Numbers(rig.pool->get(), {700});
    rig.load({{node_on("n", "numbers", 1), node_on("f", "sieve", 1), node_on("d", "digest", 1)},
              {edge("n", "f"), edge("f", "d")}},
             {{"n", numbers}, {"f", new Sieve()}, {"d", digest}});
    rig.runtime->start();
    CHECK(eventually([&] { return digest->shown() == 600; }));
    rig.runtime->clear_stats();
    CHECK(rig.post(numbers, 70));
    CHECK(eventually([&] { return digest->shown() == 660; }));
    rig.runtime->stop();
    CHECK(rig.stats("n").packets_out == 70);
    CHECK(rig.stats("f").own.at(0).second == 10);
    CHECK(rig.all_drops() == 10);
    rig.runtime->clear_stats();
    CHECK(rig.stats("f").packets_in == 0);
    CHECK(rig.stats("f").own.at(0).second == 0);
    CHECK(rig.all_drops() == 0);
}

namespace {

class Letters : public Stage {
  public:
    void on_mail(LoopCtx&, const Mail& mail) noexcept override {
        inside.store(true, std::memory_order_release);
        while (shut.load(std::memory_order_acquire)) sched_yield();
        if (mail.arg != next_++) in_order = false;
        read.store(next_, std::memory_order_release);
    }
    std::atomic<bool> inside{false}, shut{false};
    std::atomic<std::uint32_t> read{0};
    bool in_order = true;

  private:
    std::uint32_t next_ = 0;
};

}  // namespace

TEST_CASE("mail comes in order, and a full mailbox says so") {
    Rig rig;
    auto* letters = new Letters();
    rig.load({{node_on("d", "digest", 1)}, {}}, {{"d", letters}});
    // Also while forwarding is stopped.
    for (std::uint32_t i = 0; i < 500; ++i) CHECK(rig.post(letters, i));
    CHECK(eventually([&] { return letters->read == 500u; }));
    rig.runtime->start();
    letters->inside = false;
    letters->shut = true;
    CHECK(rig.post(letters, 500));
    CHECK(eventually([&] { return letters->inside.load(); }));
    std::uint32_t posted = 501;
    while (rig.post(letters, posted)) ++posted;
    CHECK(posted == 501 + 1023);
    letters->shut = false;
    CHECK(eventually([&] { return letters->read == posted; }));
    CHECK(rig.post(letters, posted));
    CHECK(eventually([&] { return letters->read == posted + 1; }));
    rig.runtime->stop();
    CHECK(letters->in_order);
    Digest stranger;
    CHECK_FALSE(rig.post(&stranger, 0));
}

TEST_CASE("mail that was sent before a plan changes is read before it changes") {
    Rig rig;
    auto* letters = new Letters();
    rig.load({{node_on("d", "digest", 1)}, {}}, {{"d", letters}});
    letters->shut = true;
    CHECK(rig.post(letters, 0));
    CHECK(eventually([&] { return letters->inside.load(); }));
    for (std::uint32_t i = 1; i < 300; ++i) CHECK(rig.post(letters, i));
    letters->shut = false;
    rig.load({{node_on("d", "digest", 2)}, {}}, {});
    CHECK(letters->read == 300u);
    CHECK(rig.post(letters, 300));
    CHECK(eventually([&] { return letters->read == 301u; }));
    CHECK(letters->in_order);
}

namespace {

class Alarm : public Stage {
  public:
    enum What : std::uint32_t { set, set_and_cancel, set_twice };
    // arg: microseconds from now.
    void on_mail(LoopCtx& ctx, const Mail& mail) noexcept override {
        const Duration wait = Duration::microseconds(mail.arg);
        if (mail.type == set_twice) ctx.set_deadline(ctx.now + wait / 50);
        due_ = ctx.now + wait;
        ctx.set_deadline(due_);
        if (mail.type == set_and_cancel) ctx.set_deadline(Instant::never());
    }
    void on_timeout(LoopCtx& ctx) noexcept override {
        if (!due_.is_never() && ctx.now < due_) early = true;
        fired.fetch_add(1);
    }
    std::atomic<unsigned> fired{0};
    std::atomic<bool> early{false};

  private:
    Instant due_ = Instant::never();
};

}  // namespace

TEST_CASE("deadlines are met once, the last one counts, and they outlive a stop") {
    Rig rig;
    auto* one = new Alarm();
    auto* two = new Alarm();
    rig.load({{node_on("d", "digest", 1), node_on("e", "digest", 1)}, {}},
             {{"d", one}, {"e", two}});
    rig.runtime->start();
    // A new plan asks everybody for their deadlines.
    CHECK(eventually([&] { return one->fired == 1u && two->fired == 1u; }));

    CHECK(rig.post(one, 500));
    CHECK(rig.post(two, 20000));
    CHECK(eventually([&] { return two->fired == 2u; }));
    CHECK(one->fired == 2u);

    CHECK(rig.post(one, 500, Alarm::set_and_cancel));
    CHECK(rig.post(two, 5000, Alarm::set_twice));
    CHECK(eventually([&] { return two->fired == 3u; }));
    CHECK(one->fired == 2u);

    rig.runtime->stop();
    CHECK(rig.post(one, 1000));
    CHECK(rig.post(two, 1));
    const std::uint64_t rounds = rig.lcore(1).iterations;
    CHECK(eventually([&] { return rig.lcore(1).iterations > rounds + 4; }));
    CHECK(two->fired == 3u);
    rig.runtime->start();
    CHECK(eventually([&] { return one->fired == 3u && two->fired == 4u; }));
    rig.runtime->stop();
    CHECK_FALSE(one->early);
    CHECK_FALSE(two->early);
}

TEST_CASE("packets that a timer or a mail emits into a full lossless edge are not forgotten") {
    struct Spring : Stage {
        explicit Spring(rte_mempool* p) : pool(p) {}
        void on_mail(LoopCtx& ctx, const Mail& mail) noexcept override {
            for (std::uint32_t i = 0; i < mail.arg; ++i) {
                rte_mbuf* m = rte_pktmbuf_alloc(pool);
                rte_pktmbuf_append(m, 60);
                number_of(m) = next++;
                ctx.emit(0, m);
            }
        }
        rte_mempool* pool;
        std::uint32_t next = 0;
    };
    Rig rig;
    auto* digest = new Digest(false);
    auto* spring = new Spring(rig.pool->get());
    KindInfo silent = KindInfo::source_of("numbers");
    silent.source = false;  // nothing but mail makes it do anything
    silent.poll_reaches = 0;
    rig.kinds["numbers"] = silent;
    rig.load({{node_on("n", "numbers", 1), node_on("d", "digest", 2)},
              {edge("n", "d", Backpressure::hold, 128)}},
             {{"n", spring}, {"d", digest}});
    rig.runtime->start();
    CHECK(rig.post(spring, 1));
    CHECK(eventually([&] { return rig.stats("d").packets_in == 1; }));
    CHECK(rig.post(spring, 128));  // fills the ring
    CHECK(rig.post(spring, 100));  // is held
    CHECK(eventually([&] { return rig.stats("n").packets_out == 229; }));
    digest->open();
    CHECK(eventually([&] { return digest->shown() == 229; }));
    rig.runtime->stop();
    CHECK(digest->in_order());
    CHECK(rig.all_drops() == 0);
    CHECK(rig.pool->in_use() == 0);
}

namespace {

// Waits on an eventfd of its own; produces nothing.
class Sleeper : public Stage {
  public:
    explicit Sleeper(Wait answer) : answer_(answer) {}
    Wait wait_arm(LoopCtx&, int) noexcept override {
        armed.fetch_add(1);
        return answer_;
    }
    void wait_disarm(LoopCtx&) noexcept override { disarmed.fetch_add(1); }
    std::atomic<std::uint64_t> armed{0}, disarmed{0};

  private:
    const Wait answer_;
};

}  // namespace

TEST_CASE("an idle lcore sleeps, and wakes for packets, mail, deadlines and new plans") {
    IdleSettings idle;
    idle.spin = Duration::microseconds(1);
    idle.nap = Duration::microseconds(1);
    Rig rig(8191, idle);
    auto* digest = new Digest();
    auto* numbers = new Numbers(rig.pool->get(), {0});
    auto* alarm = new Alarm();
    auto* sleeper = new Sleeper(Wait::armed);
    const Graph g{{node_on("n", "numbers", 1), node_on("d", "digest", 2), node_on("a", "digest", 3),
                   node_on("s", "gen", 3)},
                  {edge("n", "d")}};
    rig.load(g, {{"n", numbers}, {"d", digest}, {"a", alarm}, {"s", sleeper}});
    rig.runtime->start();
    const auto slept_again = [&](unsigned lcore) {
        const std::uint64_t sleeps = rig.lcore(lcore).sleeps;
        return eventually([&] { return rig.lcore(lcore).sleeps > sleeps; });
    };
    for (std::uint64_t i = 1; i <= 30; ++i) {
        CHECK(slept_again(2));
        CHECK(rig.post(numbers, 1));  // mail wakes lcore 1, its packet wakes lcore 2
        CHECK(eventually([&] { return digest->shown() == i; }));
    }
    CHECK(slept_again(3));
    const unsigned fired = alarm->fired;
    CHECK(rig.post(alarm, 5000));
    CHECK(eventually([&] { return alarm->fired == fired + 1; }));
    CHECK_FALSE(alarm->early);
    for (int i = 0; i < 10; ++i) {
        CHECK(slept_again(3));
        rig.load(g, {});
    }
    rig.runtime->stop();
    CHECK(sleeper->armed != 0u);
    CHECK(sleeper->armed == sleeper->disarmed);
    CHECK(rig.pool->in_use() == 0);
}

TEST_CASE("an lcore with something that cannot wake it looks again by itself") {
    IdleSettings idle;
    idle.spin = idle.nap = Duration::microseconds(1);
    Rig rig(8191, idle);
    rig.load({{node_on("n", "numbers", 1), node_on("d", "digest", 1)}, {edge("n", "d")}},
             {{"n", new Numbers(rig.pool->get(), {0})}, {"d", new Digest()}});
    rig.runtime->start();
    CHECK(eventually([&] { return rig.lcore(1).sleeps > 20; }));
    rig.runtime->stop();
    CHECK(rig.lcore(1).sleep_cycles > 0);
}

TEST_CASE("a busy lcore never sleeps") {
    Rig rig;
    rig.runtime.reset();
    rig.placement.idle_of[LcoreId(2)] = Idle::busy;
    auto made = Runtime::create(rig.placement);
    REQUIRE(made);
    rig.runtime = std::move(*made);
    CHECK(eventually([&] { return rig.lcore(1).sleeps > 0 && rig.lcore(2).iterations > 10000; }));
    CHECK(rig.lcore(2).sleeps == 0);
    CHECK(rig.lcore(2).idle == Idle::busy);
}

TEST_CASE("a waker kicks a sleeper only") {
    Waker waker;
    waker.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    std::uint64_t kicks = 0;
    waker.wake_if_sleeping();
    CHECK(read(waker.fd, &kicks, sizeof(kicks)) == -1);
    waker.sleeping = true;
    waker.wake_if_sleeping();
    waker.wake_if_sleeping();
    CHECK(read(waker.fd, &kicks, sizeof(kicks)) == sizeof(kicks));
    CHECK(kicks == 2);
    close(waker.fd);
}

TEST_CASE("cycles are charged to the stage that spends them") {
    struct Spends : Stage {
        void process(LoopCtx& ctx, Burst& b) noexcept override {
            const std::uint64_t end = rte_rdtsc() + 20000;
            while (rte_rdtsc() < end) rte_pause();
            ctx.emit(0, b.pkts, b.count);
        }
    };
    Rig rig;
    auto* digest = new Digest();
    rig.load({{node_on("n", "numbers", 1), node_on("p", "pass", 1), node_on("d", "digest", 1)},
              {edge("n", "p"), edge("p", "d")}},
             {{"n", new Numbers(rig.pool->get(), {32000})}, {"p", new Spends()}, {"d", digest}});
    rig.runtime->start();
    CHECK(eventually([&] { return digest->shown() == 32000; }));
    rig.runtime->stop();
    CHECK(rig.stats("p").cycles_per_packet >= 20000.0 / 32);
    CHECK(rig.stats("p").sampled_packets > 0);
    CHECK(rig.stats("n").sampled_packets > 0);
    CHECK(rig.stats("d").sampled_packets > 0);
}
