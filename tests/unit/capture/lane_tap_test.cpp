#include "capture/lane_tap.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <thread>

#include "block_support.hpp"
#include "capture/merge.hpp"
#include "dataplane/clock.hpp"
#include "dataplane/stage.hpp"

namespace sluice::capture {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using dp::Direction;
using test::file_bytes;
using test::Packet;
using test::Parsed;
using test::parsed;
using test::Pool;
using test::Seen;
using test::TempDir;

constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kBegin = 50'000 * kMs;

// Taps, each with a lane for each direction, and a merge into a file in a folder of its own. Time
// of day is the loop's time; without a thread, the writer runs when the test says so.
class Rig {
  public:
    Rig() {
        config.port = "p0";
        config.file = dir.file("a.pcap");
        config.buffer_bytes = 32 << 20;
        config.preallocate = 4 << 20;
        config.io = IoKind::posix;
        config.tapped = true;
    }
    void open(unsigned taps = 1, bool rx = true, bool tx = true) {
        std::vector<LaneConfig> lanes;
        for (unsigned i = 0; i < taps; ++i)
            for (const bool out : {false, true}) {
                if (!(out ? tx : rx)) continue;
                lanes.push_back(config);
                lanes.back().direction = out ? pcap::kEpbOutbound : pcap::kEpbInbound;
            }
        auto made = Merge::create(config, lanes, clock);
        if (!made) FAIL(made.error().message);
        merge = std::move(*made);
        std::size_t next = 0;
        for (unsigned i = 0; i < taps; ++i) {
            Lane* const in = rx ? &merge->lane(next++) : nullptr;
            Lane* const out = tx ? &merge->lane(next++) : nullptr;
            tap.emplace_back(in, out);
        }
    }
    void send(unsigned which, std::int64_t at, rte_mbuf* packet, unsigned times = 1,
              Direction direction = Direction::rx) {
        dp::LoopCtx ctx;
        ctx.now = Instant{at};
        const std::vector<rte_mbuf*> packets(times, packet);
        tap[which].tap(ctx, packets.data(), times, direction);
    }
    void write(std::int64_t at) {
        while (merge->write(Instant{at})) {
        }
    }
    void close() {
        const auto closed = merge->close();
        if (!closed) FAIL(closed.error().message);
        CHECK(merge->close());
    }
    Parsed file() const {
        Parsed p = parsed(file_bytes(config.file), config.format);
        CHECK(p.error == "");
        return p;
    }
    std::vector<std::int64_t> stamps() const {
        std::vector<std::int64_t> out;
        for (const Seen& r : file().records) out.push_back(r.wall_ns);
        return out;
    }
    void check_sums() const {
        const LaneStats s = merge->stats();
        CHECK(s.received ==
              s.written + s.disk_error + s.no_chunk + s.filtered + s.sampled_out + s.cut_off);
        CHECK(s.pending == 0);
    }

    TempDir dir;
    LaneConfig config;
    WallClock clock{WallClock::Reading{}};
    Pool pool{511};
    std::vector<LaneTap> tap;
    std::unique_ptr<Merge> merge;
};

bool is(const Seen& r, std::uint32_t length, std::uint8_t first, std::size_t kept) {
    if (r.original != length || r.data.size() != kept) return false;
    for (std::size_t i = 0; i < kept; ++i)
        if (r.data[i] != static_cast<std::byte>(first + i)) return false;
    return true;
}

// Output of a command; nothing if it is not installed.
std::string output_of(const std::string& command) {
    std::string text;
    std::FILE* f = ::popen((command + " 2>/dev/null").c_str(), "r");
    REQUIRE(f != nullptr);
    std::array<char, 4096> buffer;
    for (std::size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), f)) > 0;)
        text.append(buffer.data(), n);
    ::pclose(f);
    return text;
}

TEST_CASE("A tap's packets have their bytes, their iteration's time and their direction",
          "[tap]") {
    Rig rig;
    rig.config.format = Format::pcapng;
    rig.config.linktype = pcap::Linktype::user0;
    rig.open();
    const Packet in(rig.pool.packet(60, 1));
    const Packet out(rig.pool.packet(1500, 2, 400));
    rig.send(0, kBegin, in.get(), 3);
    rig.send(0, kBegin, out.get(), 2, Direction::tx);
    // A burst after a long silence is not spread over the silence.
    rig.send(0, kBegin + 5000 * kMs, in.get(), 2);
    rig.close();
    const Parsed p = rig.file();
    REQUIRE(p.records.size() == 7);
    for (unsigned i = 0; i < 7; ++i) {
        CAPTURE(i);
        const bool came_in = i < 3 || i > 4;
        CHECK(is(p.records[i], came_in ? 60 : 1500, came_in ? 1 : 2, came_in ? 60 : 1500));
        CHECK(p.records[i].flags == (came_in ? pcap::kEpbInbound : pcap::kEpbOutbound));
        CHECK(p.records[i].wall_ns == (i < 5 ? kBegin : kBegin + 5000 * kMs));
    }
    // One port, one interface: its statistics are of both directions.
    REQUIRE(p.statistics.size() == 1);
    CHECK(p.statistics[0].received == 7);
    CHECK(p.statistics[0].filter_accept == 7);
    rig.check_sums();
}

TEST_CASE("A tap takes one direction only", "[tap]") {
    for (const bool out : {false, true}) {
        Rig rig;
        rig.open(1, !out, out);
        const Packet p(rig.pool.packet(100));
        rig.send(0, kBegin, p.get(), 5, Direction::rx);
        rig.send(0, kBegin, p.get(), 9, Direction::tx);
        rig.close();
        CHECK(rig.merge->stats().received == (out ? 9 : 5));
        CHECK(rig.file().records.size() == (out ? 9 : 5));
        rig.check_sums();
    }
}

TEST_CASE("A tap is given more packets than a burst", "[tap]") {
    Rig rig;
    rig.open();
    const Packet p(rig.pool.packet(100));
    rig.send(0, kBegin, p.get(), 3 * dp::kBurstMax + 1);
    rig.send(0, kBegin + 1, p.get(), 0);
    rig.close();
    CHECK(rig.stamps() == std::vector<std::int64_t>(3 * dp::kBurstMax + 1, kBegin));
    rig.check_sums();
}

TEST_CASE("The longest SDUs in many segments, and snaplen across them", "[tap]") {
    Rig rig;
    rig.config.format = GENERATE(Format::pcap_ns, Format::pcapng);
    rig.config.snaplen = GENERATE(250u, 65004u, 262144u);
    rig.open();
    const Packet longest(rig.pool.packet(65004, 7, 1900));
    const Packet exact(rig.pool.packet(250, 4, 125));
    const Packet empty(rig.pool.packet(0));
    for (int i = 0; i < 40; ++i) {
        rig.send(0, kBegin + i * kMs, longest.get());
        rig.send(0, kBegin + i * kMs, exact.get(), 1, Direction::tx);
        rig.send(0, kBegin + i * kMs, empty.get(), 1, Direction::tx);
        rig.write(kBegin + i * kMs);
    }
    rig.close();
    const auto records = rig.file().records;
    REQUIRE(records.size() == 120);
    for (unsigned i = 0; i < 120; i += 3) {
        CAPTURE(i);
        CHECK(is(records[i], 65004, 7, std::min(65004u, rig.config.snaplen)));
        CHECK(is(records[i + 1], 250, 4, 250));
        CHECK(is(records[i + 2], 0, 0, 0));
    }
    rig.check_sums();
}

TEST_CASE("Taps of several lcores are merged in the order of time", "[tap]") {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        CAPTURE(seed);
        Rng rng(seed);
        Rig rig;
        const auto taps = static_cast<unsigned>(rng.between(2, 3));
        rig.config.format = rng.chance(0.5) ? Format::pcapng : Format::pcap_us;
        rig.open(taps);
        std::vector<Packet> packets;
        for (const unsigned length : {0u, 60u, 700u, 1999u, 3000u})
            packets.emplace_back(rig.pool.packet(length, 0, 650));
        std::int64_t now = kBegin;
        std::uint64_t offered = 0;
        for (int step = 0; step < 1000; ++step) {
            now += static_cast<std::int64_t>(rng.below(10 * kMs));
            if (rng.chance(0.4)) {
                rig.write(now);
                continue;
            }
            // Some beyond what a merge waits for.
            const std::int64_t late =
                rng.chance(0.1) ? static_cast<std::int64_t>(rng.below(200 * kMs)) : 0;
            const auto times = static_cast<unsigned>(rng.below(6));
            rig.send(static_cast<unsigned>(rng.below(taps)), now - late,
                     packets[rng.below(packets.size())].get(), times,
                     rng.chance(0.5) ? Direction::rx : Direction::tx);
            offered += times;
        }
        rig.close();
        const auto stamps = rig.stamps();
        CHECK(stamps.size() == offered);
        CHECK(std::is_sorted(stamps.begin(), stamps.end()));
        CHECK(rig.merge->stats().written == offered);
        rig.check_sums();
    }
}

TEST_CASE("The other direction of a tap is not waited for, another lcore's tap is", "[tap]") {
    const auto written = [](unsigned taps, std::int64_t later) {
        Rig rig;
        rig.open(taps);
        const Packet p(rig.pool.packet(60));
        rig.send(0, kBegin, p.get());
        rig.write(kBegin);             // begins the file
        rig.write(kBegin + later);     // past the flush interval only if later
        rig.write(kBegin + later + 1);
        const std::uint64_t packed = rig.merge->stats().bytes;
        rig.close();
        return packed;
    };
    CHECK(written(1, 1) == 60);
    CHECK(written(2, 1) == 0);
    CHECK(written(2, Merge::kWindow.ns + 1) == 60);
}

TEST_CASE("Several lcores, a writer's thread and somebody who changes the filter", "[tap]") {
    Rig rig;
    rig.config.buffer_bytes = 64 << 20;
    rig.open(3);
    REQUIRE(rig.merge->start_thread());
    constexpr unsigned kBursts = 2000;
    const Packet packets[] = {Packet(rig.pool.packet(60)), Packet(rig.pool.packet(61)),
                              Packet(rig.pool.packet(1514, 0, 500))};
    std::atomic<unsigned> running{3};
    std::vector<std::thread> lcores;
    for (unsigned i = 0; i < 3; ++i)
        lcores.emplace_back([&rig, &running, p = packets[i].get(), i] {
            for (unsigned n = 0; n < kBursts; ++n)
                rig.send(i, dp::TscClock::instance().now().ns, p, 1 + (n + i) % 8,
                         n % 3 == 0 ? Direction::tx : Direction::rx);
            running.fetch_sub(1);
        });
    for (unsigned n = 0; running.load() != 0; ++n) {
        for (std::size_t i = 0; i < rig.merge->lanes(); ++i)
            CHECK(rig.merge->lane(i).change(n % 2 == 0 ? "less 61" : "", std::nullopt));
        const LaneStats s = rig.merge->stats();
        CHECK(s.written <= s.received);
    }
    for (std::thread& t : lcores) t.join();
    rig.close();
    const LaneStats s = rig.merge->stats();
    CHECK(s.received == std::uint64_t{3} * kBursts / 8 * 36);
    CHECK(s.written > 0);
    rig.check_sums();
    const auto stamps = rig.stamps();
    CHECK(stamps.size() == s.written);
    CHECK(std::is_sorted(stamps.begin(), stamps.end()));

    const std::string info = output_of("capinfos -M " + rig.config.file);
    if (info.empty()) {
        WARN("capinfos is not installed; the file was read by our own reader only");
        return;
    }
    CHECK_THAT(info, Contains("Strict time order:   True"));
    CHECK_THAT(info, Contains("Number of packets:   " + std::to_string(s.written)));
    CHECK_THAT(info, Contains("File timestamp precision:  nanoseconds"));
    CHECK_THAT(info, Contains("File encapsulation:  ether"));
}

TEST_CASE("A tap that goes leaves what it has seen, while another goes on", "[tap]") {
    Rig rig;
    rig.open(2);
    const Packet p(rig.pool.packet(1000));
    std::int64_t now = kBegin;
    for (int i = 0; i < 10; ++i) rig.send(0, now += kMs, p.get(), 3);
    // It is never heard of again.
    for (int i = 0; i < 300; ++i) {
        rig.send(1, now += kMs, p.get(), 2);
        rig.write(now);
    }
    CHECK(rig.merge->stats().written >= 30 + 2 * 100);
    rig.close();
    CHECK(rig.merge->stats().written == 630);
    CHECK(rig.merge->stats().restamped == 0);
    rig.check_sums();
}

TEST_CASE("A writer that does not keep up costs packets, which are counted, and no memory",
          "[tap]") {
    Rig rig;
    rig.config.format = GENERATE(Format::pcap_ns, Format::pcapng);
    rig.open();
    const Packet p(rig.pool.packet(60'000, 3));
    std::int64_t now = kBegin;
    for (int i = 0; i < 100; ++i) rig.send(0, now += kMs, p.get(), 10);  // 60 MB
    LaneStats s = rig.merge->stats();
    CHECK(s.received == 1000);
    CHECK(s.no_chunk > 500);
    CHECK(s.packed > 100);
    CHECK(s.buffer_percent > 90);
    rig.write(now);
    rig.send(0, now += kMs, p.get(), 10);
    rig.close();
    s = rig.merge->stats();
    CHECK(s.received == 1010);
    CHECK(rig.file().records.size() == s.written);
    if (rig.config.format == Format::pcapng)
        CHECK(rig.file().statistics.at(0).os_drop == s.no_chunk);
    rig.check_sums();
}

TEST_CASE("Files of a tap rotate by time and when asked, with no packet in sight", "[tap]") {
    Rig rig;
    rig.config.file = rig.dir.file("%{count}.pcap");
    rig.config.rotation.duration = Duration::seconds(1);
    rig.open();
    const Packet p(rig.pool.packet(100));
    std::int64_t now = kBegin;
    const auto files = [&] {
        for (int i = 0; i < 3; ++i) rig.write(now += kMs);
        return rig.merge->stats().files;
    };
    CHECK(files() == 1);
    rig.send(0, now, p.get());
    CHECK(files() == 1);
    now += 1000 * kMs;
    CHECK(files() == 2);
    rig.merge->rotate();
    CHECK(files() == 3);
    rig.close();
    CHECK(rig.merge->stats().written == 1);
}

TEST_CASE("A merge is over after exactly as many packets as were asked for", "[tap]") {
    Rig rig;
    rig.config.stop.packets = 100;
    rig.config.format = GENERATE(Format::pcap_ns, Format::pcapng);
    rig.open(2);
    const Packet p(rig.pool.packet(100));
    std::int64_t now = kBegin;
    for (int i = 0; i < 30; ++i) {
        rig.send(0, now += kMs, p.get(), 4);
        rig.send(1, now, p.get(), 4, Direction::tx);
        rig.write(now);
    }
    rig.write(now + 200 * kMs);
    CHECK(rig.merge->over());
    rig.close();
    CHECK(rig.file().records.size() == 100);
    CHECK(rig.merge->stats().received == 100);
    if (rig.config.format == Format::pcapng)
        CHECK(rig.file().statistics.at(0).received == 100);
    rig.check_sums();
}

TEST_CASE("A reader that goes away ends the capture, and every packet is accounted for",
          "[tap]") {
    Rig rig;
    rig.config.file = rig.dir.file("fifo");
    REQUIRE(::mkfifo(rig.config.file.c_str(), 0600) == 0);
    const int reader = ::open(rig.config.file.c_str(), O_RDONLY | O_NONBLOCK);
    REQUIRE(reader >= 0);
    rig.open();
    const Packet p(rig.pool.packet(60));
    std::int64_t now = kBegin;
    rig.send(0, now, p.get(), 3);
    rig.write(now);
    ::close(reader);
    const auto handler = std::signal(SIGPIPE, SIG_IGN);
    // More than a merge takes at once.
    for (int i = 0; i < 400; ++i) rig.send(0, now += kMs, p.get(), 50);
    rig.write(now);
    rig.write(now + 500 * kMs);
    CHECK(rig.merge->over());
    for (int i = 0; i < 400; ++i) rig.send(0, now += kMs, p.get(), 50);
    const auto closed = rig.merge->close();
    std::signal(SIGPIPE, handler);
    REQUIRE_FALSE(closed);
    CHECK_THAT(closed.error().message, Contains("Broken pipe"));
    const LaneStats s = rig.merge->stats();
    CHECK(s.received == 40'003);
    CHECK(s.disk_error >= 40'000);
    rig.check_sums();
}

TEST_CASE("A file that cannot grow stays readable, and the rest is counted", "[tap]") {
    Rig rig;
    rig.config.preallocate = 0;
    rig.config.stop_on_error = GENERATE(false, true);
    rig.open();
    const Packet p(rig.pool.packet(1000, 9));
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{3 << 20, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    std::int64_t now = kBegin;
    for (int i = 0; i < 200; ++i) {
        rig.send(0, now += kMs, p.get(), 50);
        rig.write(now);
    }
    CHECK(rig.merge->over() == rig.config.stop_on_error);
    const auto closed = rig.merge->close();
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    REQUIRE_FALSE(closed);
    CHECK_THAT(closed.error().message, Contains("a.pcap"));
    const LaneStats s = rig.merge->stats();
    CHECK(s.received == 10000);
    CHECK(s.disk_error > 0);
    CHECK(s.error == closed.error().message);
    rig.check_sums();
    CHECK(rig.file().records.size() == s.written);
}

TEST_CASE("A capture of taps that cannot be says why and leaves the file alone", "[tap]") {
    Rig rig;
    std::FILE* const f = std::fopen(rig.config.file.c_str(), "w");
    REQUIRE(f != nullptr);
    std::fputs("mine", f);
    std::fclose(f);
    const auto error_of = [&rig](auto change) {
        LaneConfig c = rig.config;
        change(c);
        const auto merge = Merge::create(c, {c, c}, rig.clock);
        REQUIRE_FALSE(merge);
        return merge.error().message;
    };
    CHECK_THAT(error_of([](LaneConfig& c) { c.filter = "port port"; }), Contains("port port"));
    // libpcap knows no protocols of a private link type.
    CHECK_THAT(error_of([](LaneConfig& c) {
                   c.linktype = pcap::Linktype::user0;
                   c.filter = "udp";
               }),
               Contains("udp") && Contains("147"));
    CHECK_THAT(error_of([](LaneConfig& c) { c.snaplen = 0; }), Contains("snaplen of 0"));
    CHECK_THAT(error_of([](LaneConfig& c) { c.buffer_bytes = 1 << 20; }),
               Contains("buffer of 1048576 bytes"));
    CHECK_THAT(error_of([](LaneConfig& c) { c.file = "/nowhere/at/all/a.pcap"; }),
               Contains("/nowhere/at/all"));
    CHECK(fs::file_size(rig.config.file) == 4);
}

TEST_CASE("A filter of a VMPI port looks at lengths and bytes", "[tap]") {
    Rig rig;
    rig.config.linktype = pcap::Linktype::user0;
    rig.config.filter = GENERATE("greater 100", "link[0] = 9");
    rig.open();
    const Packet small(rig.pool.packet(60, 1));
    const Packet big(rig.pool.packet(200, 9));
    rig.send(0, kBegin, small.get(), 5);
    rig.send(0, kBegin, big.get(), 2, Direction::tx);
    rig.close();
    CHECK(rig.merge->stats().filtered == 5);
    CHECK(rig.file().records.size() == 2);
    rig.check_sums();
}

}  // namespace
}  // namespace sluice::capture
