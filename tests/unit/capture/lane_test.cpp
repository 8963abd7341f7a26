#include "capture/lane.hpp"

#include <sys/stat.h>
#include <zstd.h>

#include <algorithm>

#include "block_support.hpp"
#include "dataplane/clock.hpp"

namespace sluice::capture {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using test::file_bytes;
using test::Parsed;
using test::parsed;
using test::Seen;
using test::TempDir;
using test::Traffic;

constexpr std::uint32_t kLongest = 1600;

// A lane with small blocks in a folder of its own. Time of day is the loop's time.
class Rig {
  public:
    Rig() {
        config.port = "p0";
        config.queue = 3;
        config.file = dir.file("a.pcap");
        config.snaplen = 2000;
        config.block_bytes = 512 << 10;
        config.buffer_bytes = 4 << 20;
        config.preallocate = 4 << 20;
        config.io = IoKind::posix;
    }
    void open() {
        auto made = Lane::create(config, clock);
        if (!made) FAIL(made.error().message);
        lane = std::move(*made);
    }

    // Polled every millisecond.
    void record(const std::vector<unsigned>& which) {
        now = now + Duration::milliseconds(1);
        const auto packets = traffic.packets_of(which);
        lane->record(now, packets.data(), static_cast<unsigned>(packets.size()),
                     packets.size() == dp::kBurstMax, 1);
        sent.insert(sent.end(), which.begin(), which.end());
    }
    // With a writer that keeps up.
    void send(unsigned bursts) {
        for (; bursts != 0; --bursts) {
            record(traffic.some(rng));
            if (lane->threaded()) continue;
            do lane->write(now);
            while (lane->stats().buffer_percent > 60);
        }
    }
    void close() {
        const auto closed = lane->close();
        if (!closed) FAIL(closed.error().message);
        // And again changes nothing.
        CHECK(lane->close());
    }

    std::vector<std::string> names() const {
        std::vector<std::string> out;
        for (const auto& e : fs::directory_iterator(dir.path))
            out.push_back(e.path().filename().string());
        std::sort(out.begin(), out.end());
        return out;
    }
    std::vector<Seen> records() const {
        std::vector<Seen> all;
        for (const std::string& name : names()) {
            Parsed p = parsed(file_bytes(dir.file(name.c_str())), config.format);
            CHECK(p.error == "");
            all.insert(all.end(), p.records.begin(), p.records.end());
        }
        return all;
    }
    bool is(const Seen& r, unsigned shape, std::uint32_t snaplen) const {
        const Traffic::Shape& s = traffic.shape(shape);
        if (r.original != s.length || r.data.size() != std::min(s.length, snaplen)) return false;
        for (std::size_t i = 0; i < r.data.size(); ++i)
            if (r.data[i] != static_cast<std::byte>(s.first + i)) return false;
        return true;
    }
    // All that was sent, in order, and none more.
    std::string wrong(const std::vector<Seen>& records) const {
        if (records.size() != sent.size())
            return fmt::format("{} of {}", records.size(), sent.size());
        std::int64_t last = 0;
        for (std::size_t i = 0; i < sent.size(); ++i) {
            if (!is(records[i], sent[i], config.snaplen)) return fmt::format("packet {}", i);
            if (records[i].wall_ns < last || records[i].wall_ns > now.ns)
                return fmt::format("stamp of packet {}", i);
            last = records[i].wall_ns;
        }
        return "";
    }
    void check_sums() const {
        const LaneStats s = lane->stats();
        CHECK(s.received == s.filtered + s.sampled_out + s.cut_off + s.no_chunk + s.packed);
        CHECK(s.packed == s.written + s.disk_error);
        CHECK(s.pending == 0);
    }

    TempDir dir;
    LaneConfig config;
    WallClock clock{WallClock::Reading{}};
    Traffic traffic{kLongest};
    Rng rng{11};
    Instant now{5'000'000'000};
    std::vector<unsigned> sent;
    std::unique_ptr<Lane> lane;
};

// What a container may refuse.
bool have_uring() {
    alignas(4096) static std::byte page[4096];
    if (pcap::make_uring_io(page, 4, {})) return true;
    WARN("no io_uring here");
    return false;
}

TEST_CASE("From packets to a file", "[lane]") {
    Rig rig;
    rig.config.format = GENERATE(Format::pcap_ns, Format::pcap_us, Format::pcapng);
    rig.config.io = GENERATE(IoKind::automatic, IoKind::uring, IoKind::posix);
    if (rig.config.io == IoKind::uring && !have_uring()) return;
    rig.open();
    if (rig.config.io != IoKind::automatic)
        CHECK(rig.lane->stats().io == (rig.config.io == IoKind::uring ? "uring" : "posix"));
    rig.send(300);
    rig.close();
    CHECK(rig.names() == std::vector<std::string>{"a.pcap"});
    CHECK(rig.wrong(rig.records()) == "");
    const LaneStats s = rig.lane->stats();
    CHECK(s.received == rig.sent.size());
    CHECK(s.written == rig.sent.size());
    CHECK(s.files == 1);
    CHECK(s.file == rig.config.file);
    CHECK(s.file_bytes == fs::file_size(rig.config.file));
    CHECK(s.file_bytes > 5 * rig.config.block_bytes);
    CHECK(s.port == "p0");
    CHECK(s.queue == 3);
    CHECK(s.error == "");
    CHECK(s.buffer_percent == 0);
    CHECK_FALSE(s.over);
    rig.check_sums();
}

TEST_CASE("A writer in a thread of its own", "[lane]") {
    Rig rig;
    rig.config.buffer_bytes = 32 << 20;  // for all of it, so that nothing depends on its speed
    rig.open();
    CHECK(rig.lane->wants_thread());
    REQUIRE(rig.lane->start_thread());
    CHECK(rig.lane->threaded());
    rig.send(300);
    rig.close();
    CHECK(rig.wrong(rig.records()) == "");
    rig.check_sums();
}

TEST_CASE("A capture that received nothing leaves a file that says so", "[lane]") {
    Rig rig;
    rig.config.format = GENERATE(Format::pcap_ns, Format::pcapng);
    rig.config.io = GENERATE(IoKind::automatic, IoKind::posix);
    const bool polled = GENERATE(false, true);
    rig.open();
    if (polled) {
        for (int i = 0; i < 200; ++i) {
            rig.now = rig.now + Duration::milliseconds(10);
            rig.lane->nothing(rig.now);
            rig.lane->write(rig.now);
        }
        // Already there for whoever looks.
        CHECK(fs::exists(rig.config.file));
    }
    rig.close();
    CHECK(rig.names() == std::vector<std::string>{"a.pcap"});
    const Parsed p = parsed(file_bytes(rig.config.file), rig.config.format);
    CHECK(p.error == "");
    CHECK(p.records.empty());
    if (rig.config.format == Format::pcapng) {
        REQUIRE(p.statistics.size() == 1);
        CHECK(p.statistics[0].received == 0);
    }
    rig.check_sums();
}

TEST_CASE("Filter and snaplen change while it runs", "[lane]") {
    Rig rig;
    rig.config.format = GENERATE(Format::pcap_ns, Format::pcapng);
    rig.open();
    const std::vector<unsigned> which{rig.traffic.add(64), rig.traffic.add(500)};
    rig.record(which);  // 64, 500
    REQUIRE(rig.lane->change("greater 300", std::nullopt));
    rig.record(which);  // 500
    REQUIRE(rig.lane->change(std::nullopt, 100));
    rig.record(which);  // 500, cut
    REQUIRE(rig.lane->change("less 100", 10));
    rig.record(which);  // 64, cut
    CHECK(rig.lane->stats().filter == "less 100");
    CHECK(rig.lane->stats().snaplen == 10);
    // What is wrong changes nothing.
    const auto bad = rig.lane->change("udp prot 53", std::nullopt);
    REQUIRE_FALSE(bad);
    CHECK_THAT(bad.error().message, Contains("udp prot 53"));
    CHECK_FALSE(rig.lane->change("", 0));
    const auto longer = rig.lane->change("", 2001);
    REQUIRE_FALSE(longer);
    CHECK_THAT(longer.error().message, Contains("2001") && Contains("1 to 2000"));
    rig.record(which);  // 64, cut
    REQUIRE(rig.lane->change("", 2000));
    rig.record(which);  // 64, 500
    rig.close();
    const auto got = rig.records();
    const std::vector<std::pair<unsigned, std::uint32_t>> wanted{
        {0, 2000}, {1, 2000}, {1, 2000}, {1, 100}, {0, 10}, {0, 10}, {0, 2000}, {1, 2000}};
    REQUIRE(got.size() == wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i)
        CHECK(rig.is(got[i], which[wanted[i].first], wanted[i].second));
    CHECK(rig.lane->stats().filtered == 4);
    CHECK(rig.lane->stats().received == 12);
    rig.check_sums();
}

TEST_CASE("Every so many-th packet is kept, across bursts and behind the filter", "[lane]") {
    Rig rig;
    rig.config.sample = 3;
    rig.config.filter = "greater 100";
    rig.open();
    const unsigned small = rig.traffic.add(60);
    const unsigned big = rig.traffic.add(200);
    for (int i = 0; i < 10; ++i) rig.record({small, big, big, small, big, big, big});
    rig.close();
    const LaneStats s = rig.lane->stats();
    CHECK(s.received == 70);
    CHECK(s.filtered == 20);
    CHECK(s.written == 17);  // of 50: the first, the fourth, ...
    CHECK(s.sampled_out == 33);
    CHECK(rig.records().size() == 17);
    rig.check_sums();
}

TEST_CASE("What a flow has too much of is cut off, and counted", "[lane]") {
    Rig rig;
    rig.config.flow_cutoff = 1;
    rig.config.filter = "less 100";
    rig.open();
    const unsigned big = rig.traffic.add(200);
    // One UDP flow of IPv4, and what is no IP at all.
    const unsigned other = rig.traffic.add(60);
    const unsigned flow = rig.traffic.add(60);
    auto* b = rte_pktmbuf_mtod(rig.traffic.shape(flow).packet.get(), std::uint8_t*);
    std::memset(b + 12, 0, 48);
    b[12] = 0x08;
    b[14] = 0x45;
    b[17] = 46;
    b[23] = 17;
    b[29] = 1;
    b[33] = 2;
    for (int i = 0; i < 10; ++i) rig.record({big, flow, big, other, flow});
    rig.close();
    const LaneStats s = rig.lane->stats();
    CHECK(s.received == 50);
    CHECK(s.filtered == 20);
    CHECK(s.cut_off >= 18);
    CHECK(s.cut_off < 20);
    const auto records = rig.records();
    CHECK(records.size() == 30 - s.cut_off);
    CHECK(std::count_if(records.begin(), records.end(), [&](const Seen& r) {
              return rig.is(r, other, rig.config.snaplen);
          }) == 10);
    rig.check_sums();
}

TEST_CASE("It is over after exactly as many packets as were asked for", "[lane]") {
    Rig rig;
    rig.config.stop.packets = 100;
    rig.open();
    while (!rig.lane->over()) rig.send(1);
    rig.send(3);
    rig.close();
    CHECK(rig.records().size() == 100);
    CHECK(rig.lane->stats().received == 100);
    CHECK(rig.lane->stats().over);
    rig.check_sums();
}

TEST_CASE("Files rotate", "[lane]") {
    Rig rig;
    rig.config.format = GENERATE(Format::pcap_ns, Format::pcapng);
    rig.config.io = GENERATE(IoKind::automatic, IoKind::posix);
    SECTION("by size") { rig.config.rotation.bytes = 300'000; }
    SECTION("by packets") { rig.config.rotation.packets = 500; }
    SECTION("by time") { rig.config.rotation.duration = Duration::milliseconds(20); }
    SECTION("when asked") { rig.config.file = rig.dir.file("%{port}-%{queue}-%{count}.pcap"); }
    const bool asked = !rig.config.rotation.rotates();
    rig.open();
    for (int i = 0; i < 10; ++i) {
        rig.send(10);
        if (asked) rig.lane->rotate();
    }
    rig.close();
    CHECK(rig.names().size() == rig.lane->stats().files);
    CHECK(rig.names().size() >= 5);
    if (asked) CHECK(rig.names()[1].rfind("p0-3-", 0) == 0);
    CHECK(rig.wrong(rig.records()) == "");
    rig.check_sums();
}

TEST_CASE("Statistics add up", "[lane]") {
    Rig rig;
    rig.config.format = Format::pcapng;
    rig.config.filter = "greater 100";
    rig.open();
    rig.send(20);
    rig.lane->set_missed(77);
    rig.close();
    const LaneStats s = rig.lane->stats();
    const Parsed p = parsed(file_bytes(rig.config.file), Format::pcapng);
    REQUIRE(p.statistics.size() == 1);
    CHECK(p.statistics[0].received == s.received);
    CHECK(p.statistics[0].filter_accept == s.received - s.filtered);
    CHECK(p.statistics[0].os_drop == 0);
    CHECK(p.statistics[0].if_drop == 77);
    CHECK_THAT(p.statistics[0].comment, Contains("filtered=" + std::to_string(s.filtered)) &&
                                            Contains("disk_error=0"));
    CHECK(s.filtered > 0);
    CHECK(p.records.size() == s.received - s.filtered);
}

TEST_CASE("No file has more packets than its statistics know of", "[lane]") {
    Rig rig;
    rig.config.format = Format::pcapng;
    rig.config.rotation.packets = 5;
    rig.open();
    rig.record(std::vector<unsigned>(23, 7));
    rig.close();
    std::uint64_t before = 0;
    for (const std::string& name : rig.names()) {
        const Parsed p = parsed(file_bytes(rig.dir.file(name.c_str())), Format::pcapng);
        REQUIRE(p.statistics.size() == 1);
        before += p.records.size();
        CHECK(*p.statistics[0].received >= before);
    }
}

TEST_CASE("Without a disk everything else is done", "[lane]") {
    Rig rig;
    rig.config.io = IoKind::none;
    rig.config.file.clear();
    rig.open();
    rig.send(50);
    rig.close();
    CHECK(rig.names().empty());
    CHECK(rig.lane->stats().written == rig.sent.size());
    rig.check_sums();
}

TEST_CASE("Compressed files unpack to whole ones", "[lane]") {
    Rig rig;
    rig.config.codec = pcap::Codec::zstd;
    rig.config.format = GENERATE(Format::pcap_ns, Format::pcapng);
    rig.open();
    rig.send(100);
    rig.close();
    CHECK(rig.names() == std::vector<std::string>{"a.pcap.zst"});
    const auto packed = file_bytes(rig.dir.file("a.pcap.zst"));
    std::vector<std::byte> file(std::size_t{16} << 20);
    const std::size_t n = ZSTD_decompress(file.data(), file.size(), packed.data(), packed.size());
    REQUIRE_FALSE(ZSTD_isError(n));
    file.resize(n);
    const Parsed p = parsed(file, rig.config.format);
    CHECK(p.error == "");
    CHECK(rig.wrong(p.records) == "");
    CHECK(rig.lane->stats().file_bytes == packed.size());
    rig.check_sums();
}

TEST_CASE("A lane that cannot write says why, and counts", "[lane]") {
    Rig rig;
    rig.config.stop_on_error = GENERATE(false, true);
    rig.config.io = GENERATE(IoKind::automatic, IoKind::posix);
    rig.open();
    fs::create_directory(rig.config.file);
    rig.send(5);
    CHECK(rig.lane->over() == rig.config.stop_on_error);
    const auto closed = rig.lane->close();
    REQUIRE_FALSE(closed);
    CHECK_THAT(closed.error().message, Contains("a.pcap"));
    CHECK(rig.lane->stats().error == closed.error().message);
    CHECK(rig.lane->stats().disk_error == rig.sent.size());
    rig.check_sums();
}

TEST_CASE("What a lane cannot do is said before it starts", "[lane]") {
    const Rig rig;
    const auto error_of = [&rig](auto change) {
        LaneConfig c = rig.config;
        change(c);
        const auto lane = Lane::create(c, rig.clock);
        REQUIRE_FALSE(lane);
        return lane.error().message;
    };
    CHECK_THAT(error_of([](LaneConfig& c) { c.file.clear(); }), Contains("no file"));
    CHECK_THAT(error_of([](LaneConfig& c) { c.snaplen = 0; }), Contains("snaplen of 0"));
    CHECK_THAT(error_of([](LaneConfig& c) { c.snaplen = 262145; }), Contains("1 to 262144"));
    CHECK_THAT(error_of([](LaneConfig& c) { c.sample = 0; }), Contains("sample 1/0"));
    CHECK_THAT(error_of([](LaneConfig& c) { c.buffer_bytes = 1 << 20; }),
               Contains("buffer of 1048576 bytes") && Contains("3 MiB"));
    CHECK_THAT(error_of([](LaneConfig& c) { c.rotation.files = 3; }), Contains("ring of 3"));
    CHECK_THAT(error_of([](LaneConfig& c) { c.rotation.bytes = 1023; }),
               Contains("files of 1023 bytes"));
    CHECK_THAT(error_of([](LaneConfig& c) { c.stop.bytes = 1; }), Contains("files of 1 bytes"));
    CHECK_THAT(error_of([](LaneConfig& c) {
                   c.file = "-";
                   c.rotation.packets = 3;
               }),
               Contains("one stream"));
    CHECK_THAT(error_of([](LaneConfig& c) { c.file = "/nowhere/at/all/a.pcap"; }),
               Contains("/nowhere/at/all"));
    CHECK_THAT(error_of([](LaneConfig& c) { c.filter = "port port"; }), Contains("port port"));
    // Blocks are made to fit the buffer.
    LaneConfig c = rig.config;
    c.block_bytes = 64 << 20;
    c.buffer_bytes = 3 << 20;
    const auto fitting = checked(c);
    REQUIRE(fitting);
    CHECK(fitting->block_bytes == 512 << 10);
}

}  // namespace
}  // namespace sluice::capture
