#include "capture/drain.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <csignal>

#include "base/rng.hpp"
#include "pcap_writer/sink_posix.hpp"
#include "support.hpp"

using namespace sluice;
using namespace sluice::capture;
using namespace sluice::capture::test;

namespace {

constexpr std::int64_t kMs = 1'000'000;
using Stamps = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("records of two taps come out in the order of time") {
    Pool pool;
    Bench bench(small_config(), 2);
    const Packet p(pool.packet(50));
    for (const std::int64_t t : {1, 4, 5, 9}) tap_at(bench.tap(0), t, p.get());
    for (const std::int64_t t : {2, 3, 5, 8, 10}) tap_at(bench.tap(1), t, p.get());
    // Tap 0 may still say something from 9 on.
    CHECK(bench.round(0));
    CHECK(bench.stamps() == Stamps{1, 2, 3, 4, 5, 5, 8, 9});
    tap_at(bench.tap(0), 11, p.get());
    CHECK(bench.round(0));
    CHECK(bench.stamps() == Stamps{1, 2, 3, 4, 5, 5, 8, 9, 10});
    CHECK(!bench.round(0, Drain::Take::all));
    CHECK(bench.stamps().back() == 11);
    CHECK(bench.drain.counters().restamped.get() == 0);
    bench.check_accounts();
}

TEST_CASE("a tap that is silent is waited for no longer than the merge window") {
    Pool pool;
    Bench bench(small_config(), 3);  // window 20 ms
    const Packet p(pool.packet(50));
    tap_at(bench.tap(0), 100 * kMs, p.get());
    tap_at(bench.tap(0), 101 * kMs, p.get());
    CHECK(bench.round(119 * kMs));
    CHECK(bench.stamps().empty());
    CHECK(bench.round(120 * kMs));
    CHECK(bench.stamps() == Stamps{100 * kMs});
    // It speaks up in time.
    tap_at(bench.tap(1), 100 * kMs + 1, p.get());
    CHECK(!bench.round(121 * kMs));
    CHECK(bench.stamps() == Stamps{100 * kMs, 100 * kMs + 1, 101 * kMs});
    CHECK(bench.drain.counters().restamped.get() == 0);
}

TEST_CASE("a record that comes too late is kept, with the time of the one before it") {
    Pool pool;
    Bench bench(small_config(), 2);
    const Packet p(pool.packet(50));
    const Packet q(pool.packet(51));
    tap_at(bench.tap(0), 100 * kMs, p.get());
    bench.round(200 * kMs);
    tap_at(bench.tap(1), 90 * kMs, q.get(), 2);
    tap_at(bench.tap(1), 110 * kMs, q.get());
    bench.round(300 * kMs);
    CHECK(bench.stamps() == Stamps{100 * kMs, 100 * kMs, 100 * kMs, 110 * kMs});
    CHECK(bench.records()[1].original == 51);
    CHECK(bench.drain.counters().restamped.get() == 2);
    bench.check_accounts();
}

TEST_CASE("a tap that comes second continues where the first one was") {
    Pool pool;
    Bench bench;
    const Packet p(pool.packet(50));
    tap_at(bench.tap(0), 10, p.get());
    tap_at(bench.tap(0), 20, p.get());
    bench.round(0);
    tap_at(bench.add_tap(), 15, p.get());
    tap_at(bench.tap(1), 25, p.get());
    tap_at(bench.tap(0), 30, p.get());
    bench.round(0, Drain::Take::all);
    CHECK(bench.stamps() == Stamps{10, 20, 20, 25, 30});
    CHECK(bench.drain.counters().restamped.get() == 1);
}

TEST_CASE("a busy tap does not run out of chunks because of a silent one") {
    Pool pool;
    Bench bench(small_config(), 2);  // four chunks of four records each
    const Packet p(pool.packet(1000));
    for (int i = 0; i < 16; ++i) tap_at(bench.tap(0), 1000 + i, p.get());
    CHECK(bench.round(0));  // the silent tap's window is far from over
    const std::size_t relieved = bench.stamps().size();
    CHECK(relieved >= 4);
    CHECK(relieved < 16);  // but not more than needed is taken ahead of it
    for (int i = 16; i < 1000; ++i) {
        tap_at(bench.tap(0), 1000 + i, p.get());
        if (i % 4 == 3) bench.round(0);
    }
    CHECK(bench.no_buffer() == 0);
    bench.round(0, Drain::Take::all);
    CHECK(bench.stamps().size() == 1000);
    bench.check_accounts();
}

TEST_CASE("a retired tap is emptied and holds nobody up") {
    Pool pool;
    Bench bench(small_config(), 2);
    const Packet p(pool.packet(1000));
    for (int i = 1; i <= 9; ++i) tap_at(bench.tap(0), i, p.get());
    tap_at(bench.tap(1), 20, p.get());
    bench.source(0).retired.store(true);
    CHECK(!Drain::finished(bench.source(0)));  // not before the writer has looked
    CHECK(!bench.round(0));
    CHECK(Drain::finished(bench.source(0)));
    CHECK(!Drain::finished(bench.source(1)));
    CHECK(bench.stamps() == Stamps{1, 2, 3, 4, 5, 6, 7, 8, 9, 20});
    // One that was never used, too.
    bench.add_tap();
    bench.source(2).retired.store(true);
    bench.round(0);
    CHECK(Drain::finished(bench.source(2)));
}

TEST_CASE("whatever the taps do, the file is in order and nothing is unaccounted for") {
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        CAPTURE(seed);
        Rng rng(seed);
        Pool pool;
        const unsigned taps = 1 + static_cast<unsigned>(rng.below(4));
        CaptureConfig c = small_config();
        c.resolution = rng.chance(0.5) ? pcap::Resolution::us : pcap::Resolution::ns;
        Bench bench(c, taps);
        if (rng.chance(0.3)) bench.sink.set_bytes_max(1000 + rng.below(100'000));
        if (rng.chance(0.2)) bench.sink.set_can_truncate(false);
        std::vector<Packet> packets;
        for (const unsigned length : {0u, 60u, 700u, 1999u, 3000u})
            packets.emplace_back(pool.packet(length, static_cast<std::uint8_t>(length), 650));
        std::int64_t now = 50 * kMs;
        std::uint64_t offered = 0;
        for (int step = 0; step < 2000; ++step) {
            now += static_cast<std::int64_t>(rng.below(2 * kMs));
            if (rng.chance(0.4)) {
                bench.round(now);
                continue;
            }
            // Up to 40 ms late: some beyond the window.
            const std::int64_t late = rng.chance(0.1) ? static_cast<std::int64_t>(
                rng.below(40 * kMs)) : 0;
            const auto times = static_cast<unsigned>(rng.below(6));
            tap_at(bench.tap(static_cast<unsigned>(rng.below(taps))), now - late,
                   packets[rng.below(packets.size())].get(), times);
            offered += times;
        }
        CHECK(!bench.round(now, Drain::Take::all));
        CHECK(bench.received() == offered);
        bench.check_accounts();
        if (bench.drain.error().empty()) CHECK(bench.drain.counters().write_errors.get() == 0);
        if (bench.drain.counters().file_bytes.get() < 100'000 && !bench.drain.error().empty())
            CHECK(bench.drain.counters().write_errors.get() > 0);
        auto reader = pcap::Reader::open(bench.sink.bytes(), "captured");
        REQUIRE(reader);
        std::int64_t before = 0;
        std::uint64_t count = 0;
        for (;; ++count) {
            auto record = reader->next();
            // Only a file that could not be shortened ends within a record.
            if (!record) {
                CHECK(!bench.drain.error().empty());
                break;
            }
            if (!*record) break;
            CHECK((*record)->wall_ns >= before);
            before = (*record)->wall_ns;
        }
        CHECK(count == bench.drain.counters().captured.get());
    }
}

TEST_CASE("a full disk costs the packets that did not fit, and only these") {
    Pool pool;
    Bench bench;
    const Packet p(pool.packet(84));  // 100 bytes a record
    bench.sink.set_bytes_max(24 + 250);
    tap_at(bench.tap(), 1, p.get(), 5);
    bench.round(0);
    const DrainCounters& d = bench.drain.counters();
    CHECK(d.captured.get() == 2);
    CHECK(d.bytes.get() == 168);
    CHECK(d.write_errors.get() == 3);
    CHECK(bench.sink.bytes().size() == 224);
    CHECK_THAT(bench.drain.error(), Catch::Matchers::Contains("full"));
    tap_at(bench.tap(), 2, p.get(), 2);
    bench.round(0);
    CHECK(d.write_errors.get() == 5);
    // Somebody makes room.
    bench.sink.set_bytes_max(1'000'000);
    tap_at(bench.tap(), 3, p.get(), 2);
    bench.round(0);
    CHECK(d.captured.get() == 4);
    CHECK(bench.stamps() == Stamps{1, 1, 3, 3});
    bench.check_accounts();
}

TEST_CASE("a stream that broke within a record is not continued") {
    Pool pool;
    Bench bench;
    const Packet p(pool.packet(84));
    bench.sink.set_bytes_max(24 + 250);
    bench.sink.set_can_truncate(false);
    tap_at(bench.tap(), 1, p.get(), 5);
    bench.round(0);
    bench.sink.set_bytes_max(1'000'000);
    tap_at(bench.tap(), 2, p.get(), 5);
    bench.round(0);
    CHECK(bench.drain.counters().captured.get() == 2);
    CHECK(bench.drain.counters().write_errors.get() == 8);
    CHECK(bench.sink.bytes().size() == 274);
    bench.check_accounts();
}

TEST_CASE("a file that hits a size limit stays readable") {
    Pool pool;
    const TempDir dir;
    auto sink = pcap::PosixSink::open(dir.file("a.pcap"));
    REQUIRE(sink);
    const WallClock clock{WallClock::Reading{}};
    Doorbell doorbell;
    REQUIRE(doorbell.init());
    auto tap = CaptureTap::create(small_config(), clock, doorbell);
    REQUIRE(tap);
    Source source(std::move(*tap));
    Source* const sources[] = {&source};
    Drain drain(**sink, small_config());
    REQUIRE(drain.write_file_header());
    const Packet p(pool.packet(1000));
    tap_at(*source.tap, 1, p.get(), 16);

    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{5000, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    drain.round(sources, 0, Drain::Take::all);
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);

    CHECK(drain.counters().captured.get() == 4);
    CHECK(drain.counters().write_errors.get() == 12);
    tap_at(*source.tap, 2, p.get());
    drain.round(sources, 0, Drain::Take::all);
    REQUIRE((*sink)->close());
    auto bytes = pcap::load_file(dir.file("a.pcap"), 1 << 20);
    REQUIRE(bytes);
    CHECK(bytes->size() == drain.counters().file_bytes.get());
    CHECK(stamps_of(*bytes) == Stamps{1, 1, 1, 1, 2});
}
