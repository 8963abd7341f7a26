#include "support.hpp"

using namespace sluice;
using namespace sluice::capture;
using namespace sluice::capture::test;
using Catch::Matchers::Contains;

namespace {

std::vector<std::uint8_t> counting(unsigned length, std::uint8_t first = 0) {
    std::vector<std::uint8_t> v(length);
    for (unsigned i = 0; i < length; ++i) v[i] = static_cast<std::uint8_t>(first + i);
    return v;
}

}  // namespace

TEST_CASE("packets are recorded with their bytes, length and time") {
    Pool pool;
    Bench bench;
    const Packet a(pool.packet(60, 1));
    const Packet b(pool.packet(1500, 2));
    tap_at(bench.tap(), 1'700'000'000'000'000'001, a.get());
    tap_at(bench.tap(), 1'700'000'000'000'000'002, b.get());
    CHECK(!bench.round(0));
    const auto got = bench.records();
    REQUIRE(got.size() == 2);
    CHECK(got[0].wall_ns == 1'700'000'000'000'000'001);
    CHECK(got[0].original == 60);
    CHECK(got[0].data == counting(60, 1));
    CHECK(got[1].wall_ns == 1'700'000'000'000'000'002);
    CHECK(got[1].data == counting(1500, 2));
    CHECK(bench.tap().counters().bytes.get() == 1560);
    CHECK(bench.drain.counters().bytes.get() == 1560);
    bench.check_accounts();
}

TEST_CASE("a file with microseconds says so and cuts the time") {
    Pool pool;
    CaptureConfig c = small_config();
    c.resolution = pcap::Resolution::us;
    c.linktype = pcap::Linktype::user0;
    Bench bench(c);
    const Packet a(pool.packet(60));
    tap_at(bench.tap(), 5'000'001'999, a.get());
    bench.round(0);
    CHECK(bench.stamps() == std::vector<std::int64_t>{5'000'001'000});
    auto reader = pcap::Reader::open(bench.sink.bytes(), "captured");
    REQUIRE(reader);
    CHECK(reader->resolution() == pcap::Resolution::us);
    CHECK(reader->linktype() == pcap::Linktype::user0);
    CHECK(reader->snaplen() == c.snaplen);
}

TEST_CASE("segments are joined and snaplen cuts across them") {
    Pool pool;
    CaptureConfig c = small_config();
    c.snaplen = 250;
    Bench bench(c);
    const Packet short_one(pool.packet(249, 3, 100));
    const Packet exact(pool.packet(250, 4, 125));
    const Packet cut(pool.packet(1000, 5, 100));
    for (const Packet* p : {&short_one, &exact, &cut}) tap_at(bench.tap(), 1, p->get());
    bench.round(0);
    const auto got = bench.records();
    REQUIRE(got.size() == 3);
    CHECK(got[0].data == counting(249, 3));
    CHECK(got[1].data == counting(250, 4));
    CHECK(got[2].data == counting(250, 5));
    CHECK(got[2].original == 1000);
    bench.check_accounts();
}

TEST_CASE("empty segments and packets without bytes are recorded") {
    Pool pool;
    Bench bench;
    const Packet empty(pool.packet(0));
    const Packet gap(pool.packet(6, 0, 2));
    rte_pktmbuf_data_len(gap->next) = 0;  // says 6 bytes, its segments hold 4
    tap_at(bench.tap(), 1, empty.get());
    tap_at(bench.tap(), 2, gap.get());
    tap_at(bench.tap(), 3, empty.get());
    bench.round(0);
    const auto got = bench.records();
    REQUIRE(got.size() == 3);
    CHECK(got[0].data.empty());
    CHECK(got[0].original == 0);
    CHECK(got[1].data == std::vector<std::uint8_t>{0, 1, 4, 5});
    CHECK(got[1].original == 6);
    bench.check_accounts();
}

TEST_CASE("the longest packets fit a chunk that is just large enough") {
    Pool pool;
    CaptureConfig c = small_config();
    c.snaplen = 65535;
    c.chunk_bytes = 65535 + 16;
    Bench bench(c);
    const Packet longest(pool.packet(65535, 7));
    for (int i = 0; i < 4; ++i) tap_at(bench.tap(), i, longest.get());
    bench.round(0);
    const auto got = bench.records();
    REQUIRE(got.size() == 4);
    for (const Got& g : got) CHECK(g.data == counting(65535, 7));
    bench.check_accounts();
}

TEST_CASE("a record that ends exactly with its chunk leaves nothing over") {
    Pool pool;
    Bench bench;
    const Packet quarter(pool.packet(1024 - 16));
    tap_at(bench.tap(), 1, quarter.get(), 16);
    CHECK(bench.tap().counters().no_buffer.get() == 0);
    const Packet tiny(pool.packet(0));
    tap_at(bench.tap(), 2, tiny.get());
    CHECK(bench.tap().counters().no_buffer.get() == 1);
    bench.round(0);
    CHECK(bench.records().size() == 16);
    bench.check_accounts();
}

TEST_CASE("without a free chunk packets are counted, and taken again when there is one") {
    Pool pool;
    Bench bench;
    const Packet p(pool.packet(1000));  // 4 records a chunk, 16 in all
    tap_at(bench.tap(), 1, p.get(), 10);
    tap_at(bench.tap(), 2, p.get(), 10);
    tap_at(bench.tap(), 3, p.get(), 5);
    const TapCounters& c = bench.tap().counters();
    CHECK(c.received.get() == 25);
    CHECK(c.recorded.get() == 16);
    CHECK(c.no_buffer.get() == 9);
    CHECK(c.bytes.get() == 16000);
    bench.round(0);
    bench.check_accounts();
    tap_at(bench.tap(), 4, p.get(), 17);
    CHECK(c.received.get() == 42);
    CHECK(c.recorded.get() == 32);
    bench.round(0);
    const auto stamps = bench.stamps();
    CHECK(std::count(stamps.begin(), stamps.end(), 1) == 10);
    CHECK(std::count(stamps.begin(), stamps.end(), 2) == 6);
    CHECK(std::count(stamps.begin(), stamps.end(), 4) == 16);
    bench.check_accounts();
}

TEST_CASE("what is in a chunk that is not full is taken, and the chunk goes on") {
    Pool pool;
    Bench bench;
    const Packet p(pool.packet(100));
    for (int i = 1; i <= 200; ++i) {
        tap_at(bench.tap(), i, p.get());
        bench.round(0);
        CHECK(bench.drain.counters().captured.get() == static_cast<std::uint64_t>(i));
    }
    CHECK(bench.no_buffer() == 0);
    bench.check_accounts();
}

TEST_CASE("stamps of a tap never run backwards") {
    Pool pool;
    Bench bench;
    const Packet p(pool.packet(10));
    for (const std::int64_t now : {100, 50, 120, 119}) tap_at(bench.tap(), now, p.get());
    bench.round(0);
    CHECK(bench.stamps() == std::vector<std::int64_t>{100, 100, 120, 120});
}

TEST_CASE("configurations that cannot work are refused") {
    const auto refused = [](auto change) {
        CaptureConfig c = small_config();
        change(c);
        auto r = checked(c);
        return r ? std::string() : r.error().message;
    };
    CHECK(refused([](CaptureConfig&) {}).empty());
    CHECK_THAT(refused([](CaptureConfig& c) { c.snaplen = 4081; }),
               Contains("4096 bytes cannot hold the longest record of 4097"));
    CHECK(refused([](CaptureConfig& c) { c.snaplen = 4080; }).empty());
    CHECK_THAT(refused([](CaptureConfig& c) { c.snaplen = 0; }), Contains("expected 1 to 262144"));
    CHECK_THAT(refused([](CaptureConfig& c) { c.snaplen = 0xffffffff; }), Contains("snaplen"));
    CHECK_THAT(refused([](CaptureConfig& c) { c.chunk_bytes = 0xffffffff; }),
               Contains("at most 67108864"));
    CHECK_THAT(refused([](CaptureConfig& c) { c.chunks = 1; }), Contains("2 to 65536"));
    CHECK_THAT(refused([](CaptureConfig& c) { c.merge_window = Duration{}; }),
               Contains("merge window"));
    CHECK_THAT(refused([](CaptureConfig& c) { c.flush_interval = Duration::seconds(61); }),
               Contains("flush interval"));
    CaptureConfig c = small_config();
    c.chunk_bytes = 4097;
    CHECK(checked(c)->chunk_bytes == 8192);
}

TEST_CASE("chunks that do not fit into the memory are an error, not a crash") {
    CaptureConfig c = small_config();
    c.chunks = 65536;
    const WallClock clock{WallClock::Reading{}};
    Doorbell doorbell;
    auto tap = CaptureTap::create(c, clock, doorbell);
    REQUIRE(!tap);
    CHECK(tap.error().code == ENOMEM);
    CHECK_THAT(tap.error().message, Contains("65536 chunks of 4096 bytes"));
}
