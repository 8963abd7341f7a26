#include <catch2/catch.hpp>

#include "normal_dif/core/efcp/congestion.hpp"

using namespace sluice;
using namespace sluice::efcp;

namespace {

constexpr Duration kRtt = Duration::milliseconds(40);

// A path of which each round trip is told in four acknowledgements.
struct Path {
    RateEstimate policy;
    Instant now{1'000'000'000};

    struct Round {
        std::uint32_t delivered = 0;
        Duration rtt = kRtt;
        std::uint32_t lost = 0;
        std::uint32_t in_flight = 0;  // 0: what is delivered in a round
        bool limited_by_user = false;
        Duration time{};  // of the round; 0: as rtt
    };
    void round(const Round& r) {
        for (unsigned i = 1; i <= 4; ++i) {
            now = now + r.rtt / 4;
            AckSample sample;
            sample.now = now;
            sample.delivered = r.delivered / 4;
            sample.lost = i == 1 ? r.lost : 0;
            sample.in_flight = r.in_flight != 0 ? r.in_flight : r.delivered;
            sample.limited_by_user = r.limited_by_user;
            sample.rtt = r.rtt;
            sample.rtt_min = kRtt;
            sample.round_ended = i == 4;
            sample.round_time = r.time.ns != 0 ? r.time : r.rtt;
            sample.round_delivered = r.delivered;
            sample.round_lost = r.lost;
            policy.on_ack(sample);
        }
    }
    std::uint32_t window() const { return policy.limits().window; }
    // PDUs that may leave in one round trip without a queue.
    double paced() const { return policy.limits().pdus_per_second * kRtt.to_seconds(); }
    // So many doublings, each window filled.
    void start(unsigned rounds) {
        for (unsigned i = 0; i < rounds; ++i) round({.delivered = window()});
    }
    // Finds a path that delivers 1024 in a round trip, and no queue any more.
    void settle() {
        start(5);
        round({.delivered = 1024, .in_flight = 2000});
        round({.delivered = 1024, .rtt = kRtt * 3 / 2, .in_flight = 2000});
        round({.delivered = 1024, .in_flight = 1000});
    }
};

}  // namespace

TEST_CASE("a rate estimate starts by doubling in each round trip", "[congestion]") {
    Path path;
    CHECK(path.window() == RateEstimate::kFirstWindow);
    for (std::uint32_t expected = 64; expected <= 1u << 20; expected *= 2) {
        path.start(1);
        CHECK(path.window() == expected);
        // All of it leaves within the round, or there would be less to double.
        CHECK(path.paced() == Approx(2 * expected));
    }
}

TEST_CASE("startup grows slower once the path delays", "[congestion]") {
    Path path;
    path.start(5);
    path.round({.delivered = 1024, .rtt = kRtt * 11 / 8});  // more in less than twice the time
    CHECK(path.window() == 1024 + 1024 / 4);
    CHECK(path.paced() == Approx(2 * 1280));
}

TEST_CASE("startup ends with the first round that only made a queue", "[congestion]") {
    Path path;
    path.start(5);
    path.round({.delivered = 1024});
    CHECK(path.window() == 2048);
    SECTION("seen by the delay") {
        path.round({.delivered = 1536, .rtt = kRtt * 3 / 2, .in_flight = 2048});
        CHECK(path.window() == 2048);  // twice what is delivered in a round trip without a queue
        CHECK(path.paced() < 512);     // the queue drains
        path.round({.delivered = 1024, .in_flight = 1025});
        CHECK(path.paced() < 512);
        path.round({.delivered = 1024, .in_flight = 1023});
        CHECK(path.paced() == Approx(1024));
    }
    SECTION("seen by losses where there is no room for one") {
        path.round({.delivered = 1024, .lost = 512, .in_flight = 2048});
        CHECK(path.paced() < 512);
    }
    SECTION("not by chance: losses that do not slow it down") {
        path.round({.delivered = 1800, .lost = 400});
        CHECK(path.window() == 2048 + 1800);
    }
}

TEST_CASE("without a queue startup takes its time to end", "[congestion]") {
    Path path;
    path.start(5);
    path.round({.delivered = 1024});
    for (int i = 0; i < 2; ++i) {
        path.round({.delivered = 1024});
        CHECK(path.paced() > 1024 * 2);
    }
    path.round({.delivered = 1024, .in_flight = 5000});
    CHECK(path.paced() < 512);
}

TEST_CASE("a user that sends little does not widen the window", "[congestion]") {
    Path path;
    for (int i = 0; i < 20; ++i) path.round({.delivered = 16, .limited_by_user = true});
    CHECK(path.window() == RateEstimate::kFirstWindow);
}

TEST_CASE("a probe gives back what it has put in a queue, and no more", "[congestion]") {
    Path path;
    path.settle();
    CHECK(path.paced() == Approx(1024));
    while (path.paced() < 1100) path.round({.delivered = 1024, .in_flight = 1024});
    CHECK(path.paced() == Approx(1280));
    path.round({.delivered = 1024, .in_flight = 1280});
    CHECK(path.paced() == Approx(768));
    SECTION("all of a round if it takes that long") {
        path.round({.delivered = 1024, .in_flight = 1100});
        CHECK(path.paced() == Approx(1024));
    }
    SECTION("less than a round") {
        AckSample sample;
        sample.delivered = 1;
        sample.in_flight = 1023;
        sample.rtt = sample.rtt_min = kRtt;
        path.policy.on_ack(sample);
        CHECK(path.paced() == Approx(1024));
    }
}

TEST_CASE("losses count as capacity unless there is a queue", "[congestion]") {
    Path path;
    path.settle();
    const double before = path.paced();
    SECTION("by chance") {
        path.round({.delivered = 1024, .lost = 50});
        CHECK(path.paced() > before * 1.04);
    }
    SECTION("of a short queue") {
        path.round({.delivered = 1024, .rtt = kRtt * 11 / 10, .lost = 50, .time = kRtt});
        CHECK(path.paced() <= before);
    }
}

TEST_CASE("full queues slow it down, but not what startup filled", "[congestion]") {
    Path path;
    path.start(5);
    path.round({.delivered = 1024});
    for (int i = 0; i < 3; ++i)
        path.round({.delivered = 1024, .rtt = kRtt * 2, .lost = 900, .in_flight = 3000,
                    .time = kRtt});
    // The queue is gone within the round in which the last losses are found.
    path.round({.delivered = 1024, .rtt = kRtt * 2, .lost = 900, .in_flight = 1000,
                .time = kRtt});
    CHECK(path.paced() == Approx(1024));
    path.round({.delivered = 1024, .rtt = kRtt * 2, .lost = 300, .in_flight = 2000,
                .time = kRtt});
    CHECK(path.paced() == Approx(1024 * 0.85));
}
