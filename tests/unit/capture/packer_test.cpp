#include "capture/packer.hpp"

#include <algorithm>
#include <set>

#include "block_support.hpp"

namespace sluice::capture {
namespace {

using test::blocks;
using test::Parsed;
using test::parsed;
using test::Seen;
using test::Shelf;
using test::Traffic;

constexpr Format kFormats[] = {Format::pcap_ns, Format::pcap_us, Format::pcapng};
constexpr std::uint32_t kSnaplen = 1500;

Packer::Options options(Format format, std::uint32_t snaplen = kSnaplen) {
    Packer::Options o;
    o.format = format;
    o.snaplen = snaplen;
    o.section.application = "test";
    o.interfaces = {{"p0", "", ""}};
    return o;
}

// Until it has said everything and the shelf has it.
void finish(Packer& packer, Shelf& shelf, std::int64_t now_ns) {
    for (int i = 0; i < 10; ++i) {
        shelf.drain();
        if (packer.finish(now_ns)) break;
    }
    CHECK(packer.finish(now_ns));
    shelf.drain();
    CHECK(shelf.empty());
}

std::vector<std::size_t> counts(const Shelf& shelf) {
    std::vector<std::size_t> out;
    for (const Shelf::File& f : shelf.files()) out.push_back(f.records);
    return out;
}

void check(const Traffic& traffic, const Shelf& shelf, Format format) {
    CHECK(traffic.packed() + traffic.lost() + traffic.refused() == traffic.offered());
    CHECK(shelf.counted() == traffic.packed());
    CHECK(shelf.wrong(format) == "");
    const std::vector<Seen> records = shelf.records(format);
    CHECK(records.size() == traffic.packed());
    CHECK(traffic.wrong(records, format == Format::pcapng) == "");
    std::uint64_t bytes = 0;
    for (const Seen& r : records) bytes += r.data.size();
    CHECK(bytes == traffic.bytes());
}

// ---- records ----

TEST_CASE("Packets of all lengths, cut and in segments, are in the file", "[packer]") {
    const Format format = GENERATE(from_range(std::begin(kFormats), std::end(kFormats)));
    Traffic traffic(9000);
    auto pool = blocks(64 << 10, 8);
    Packer packer(*pool, options(format, 9216));
    Shelf shelf(*pool);
    std::vector<unsigned> all;
    for (unsigned i = 0; i < traffic.shapes(); ++i) all.push_back(i);
    for (const std::uint32_t snaplen : {9216u, 9000u, 1500u, 255u, 64u, 1u}) {
        for (std::size_t at = 0; at < all.size(); at += 32) {
            const auto end = std::min(at + 32, all.size());
            traffic.burst(packer, {all.begin() + static_cast<std::ptrdiff_t>(at),
                                   all.begin() + static_cast<std::ptrdiff_t>(end)}, snaplen);
            shelf.drain();
        }
    }
    finish(packer, shelf, traffic.now_ns());
    CHECK(traffic.packed() == traffic.offered());
    CHECK(shelf.files().size() == 1);
    check(traffic, shelf, format);
}

TEST_CASE("Only those that were chosen are packed, with their own stamps", "[packer]") {
    const Format format = GENERATE(from_range(std::begin(kFormats), std::end(kFormats)));
    Traffic traffic;
    auto pool = blocks(8192, 8);
    Packer packer(*pool, options(format));
    Shelf shelf(*pool);
    traffic.burst(packer, {5, 6, 7, 8, 9}, kSnaplen, {1, 3, 4});
    traffic.burst(packer, {5, 6, 7}, kSnaplen, {});
    traffic.burst(packer, {5, 6, 7}, kSnaplen, {2});
    finish(packer, shelf, traffic.now_ns());
    CHECK(traffic.packed() == 4);
    check(traffic, shelf, format);
}

TEST_CASE("Records go on in the next block wherever a block ends", "[packer]") {
    const Format format = GENERATE(from_range(std::begin(kFormats), std::end(kFormats)));
    auto pool = blocks(4096, 8);
    Traffic own(1600, 1, 2500);
    const unsigned a = own.add(1480);
    const unsigned pieces = own.add(200, 33);
    const unsigned whole = own.add(200);
    const unsigned none = own.add(0);
    std::set<std::size_t> offsets;  // of the block's end from the last record's
    for (std::uint32_t n = 0; n <= 1500; ++n) {
        own.forget();
        const unsigned filler = own.add(n);
        const unsigned b = n % 2 == 0 ? pieces : whole;
        Packer packer(*pool, options(format));
        Shelf shelf(*pool);
        own.burst(packer, {a, a, filler, b, none, b, a}, kSnaplen);
        finish(packer, shelf, own.now_ns());
        REQUIRE(own.packed() == 7);
        const std::string wrong = shelf.wrong(format) + shelf.wrong_wholes(format) +
                                  own.wrong(shelf.records(format), true);
        INFO("filler of " << n);
        REQUIRE(wrong == "");
        offsets.insert(4096 - shelf.files()[0].wholes.at(0));
        if (pool->free_count() != 8) FAIL("blocks were not given back");
    }
    // pcapng's records are multiples of four.
    const std::size_t step = format == Format::pcapng ? 4 : 1;
    for (std::size_t o = 0; o < 200; o += step) CHECK(offsets.count(o) == 1);
}

TEST_CASE("Stamps never run backwards, whatever the clocks do", "[packer]") {
    Traffic traffic;
    auto pool = blocks(8192, 4);
    Packer packer(*pool, options(Format::pcap_ns));
    Shelf shelf(*pool);
    const auto packets = traffic.packets_of({1, 2, 3});
    for (const std::int64_t first : {5'000'000'000, 4'000'000'000, 6'000'000'000}) {
        Packer::Batch batch;
        batch.packets = packets.data();
        batch.count = 3;
        batch.wall = {first, std::int64_t{500'000'000} << 16};
        batch.snaplen = kSnaplen;
        packer.pack(batch);
    }
    finish(packer, shelf, 9'000'000'000);
    const auto records = shelf.records(Format::pcap_ns);
    REQUIRE(records.size() == 9);
    CHECK(records[0].wall_ns == 5'000'000'000);
    CHECK(std::is_sorted(records.begin(), records.end(), [](const Seen& a, const Seen& b) {
        return a.wall_ns < b.wall_ns;
    }));
}

// ---- files ----

TEST_CASE("A capture that saw nothing is a file without packets", "[packer]") {
    const Format format = GENERATE(from_range(std::begin(kFormats), std::end(kFormats)));
    const bool idle_before = GENERATE(false, true);
    auto pool = blocks(4096, 4);
    Packer packer(*pool, options(format));
    Shelf shelf(*pool);
    if (idle_before) packer.idle(Traffic::kBaseNs);
    finish(packer, shelf, Traffic::kBaseNs);
    CHECK(counts(shelf) == std::vector<std::size_t>{0});
    CHECK(shelf.files()[0].ended);
    CHECK(shelf.wrong(format) == "");
    CHECK(pool->free_count() == 4);
    if (format != Format::pcapng) CHECK(shelf.files()[0].bytes.size() == pcap::kFileHeaderBytes);
}

TEST_CASE("Files have as many packets as was asked for", "[packer]") {
    const Format format = GENERATE(from_range(std::begin(kFormats), std::end(kFormats)));
    Traffic traffic;
    auto pool = blocks(8192, 16);
    Packer::Options o = options(format);
    o.next_file.packets = 10;
    Packer packer(*pool, o);
    Shelf shelf(*pool);
    Rng rng(1);
    for (const std::size_t n : {3u, 7u, 1u, 9u, 10u, 64u, 6u, 3u}) {
        std::vector<unsigned> which(n);
        for (unsigned& w : which) w = static_cast<unsigned>(rng.below(traffic.shapes()));
        traffic.burst(packer, which, kSnaplen);
        shelf.drain();
    }
    finish(packer, shelf, traffic.now_ns());
    CHECK(counts(shelf) ==
          std::vector<std::size_t>{10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 3});
    check(traffic, shelf, format);
}

TEST_CASE("Files are as long as was asked for", "[packer]") {
    const Format format = GENERATE(from_range(std::begin(kFormats), std::end(kFormats)));
    const std::uint64_t limit = GENERATE(2000u, 4096u, 5000u, 20000u);
    Traffic traffic;
    auto pool = blocks(4096, 16);
    Packer::Options o = options(format);
    o.next_file.bytes = limit;
    Packer packer(*pool, o);
    Shelf shelf(*pool);
    Rng rng(limit);
    for (int i = 0; i < 100; ++i) {
        traffic.burst(packer, traffic.some(rng, 16), kSnaplen);
        shelf.drain();
    }
    finish(packer, shelf, traffic.now_ns());
    CHECK(shelf.files().size() > 5);
    check(traffic, shelf, format);
    if (format == Format::pcapng) return;  // whose trailer comes behind
    for (std::size_t i = 0; i < shelf.files().size(); ++i) {
        const Shelf::File& f = shelf.files()[i];
        CHECK(f.bytes.size() <= limit);
        // The next packet did not fit any more.
        if (i + 1 == shelf.files().size()) continue;
        const Parsed next = parsed(shelf.files()[i + 1].bytes, format);
        CHECK(f.bytes.size() + pcap::kRecordHeaderBytes + next.records.at(0).data.size() > limit);
    }
}

TEST_CASE("A packet that is longer than the files are to be has a file of its own", "[packer]") {
    const Format format = GENERATE(from_range(std::begin(kFormats), std::end(kFormats)));
    Traffic traffic;
    const unsigned big = traffic.add(1400);
    const unsigned small = traffic.add(60);
    auto pool = blocks(4096, 16);
    Packer::Options o = options(format);
    o.next_file.bytes = 1024;
    Packer packer(*pool, o);
    Shelf shelf(*pool);
    for (int i = 0; i < 20; ++i) {
        traffic.burst(packer, {big, small, small, big}, kSnaplen);
        shelf.drain();
    }
    finish(packer, shelf, traffic.now_ns());
    CHECK(traffic.packed() == 80);
    check(traffic, shelf, format);
    for (const Shelf::File& f : shelf.files()) CHECK(f.records <= 2);
}

TEST_CASE("A header longer than the files are to be leaves room for a packet", "[packer]") {
    Traffic traffic;
    auto pool = blocks(8192, 16);
    Packer::Options o = options(Format::pcapng);
    o.interfaces[0].filter = std::string(1500, 'f');
    o.next_file.bytes = 1024;
    Packer packer(*pool, o);
    Shelf shelf(*pool);
    for (int i = 0; i < 20; ++i) {
        traffic.burst(packer, {6, 6, 6}, kSnaplen);
        shelf.drain();
    }
    finish(packer, shelf, traffic.now_ns());
    CHECK(counts(shelf) == std::vector<std::size_t>(60, 1));
    check(traffic, shelf, Format::pcapng);
}

TEST_CASE("After a while the next file begins", "[packer]") {
    const Format format = GENERATE(from_range(std::begin(kFormats), std::end(kFormats)));
    Traffic traffic;
    auto pool = blocks(8192, 8);
    Packer::Options o = options(format);
    o.next_file.duration = Duration{10 * Traffic::kStepNs};
    Packer packer(*pool, o);
    Shelf shelf(*pool);
    SECTION("with packets") {
        for (int i = 0; i < 12; ++i) {
            traffic.burst(packer, {3, 4, 5, 6, 7}, kSnaplen);
            shelf.drain();
        }
        finish(packer, shelf, traffic.now_ns());
        CHECK(counts(shelf) == std::vector<std::size_t>(6, 10));
    }
    SECTION("without packets, though an empty file is not followed by another") {
        traffic.burst(packer, {3}, kSnaplen);
        for (int i = 0; i < 50; ++i) {
            traffic.wait(1);
            packer.idle(traffic.now_ns());
            shelf.drain();
        }
        CHECK(counts(shelf) == std::vector<std::size_t>{1});  // the second has no block sealed yet
        finish(packer, shelf, traffic.now_ns());
        CHECK(counts(shelf) == std::vector<std::size_t>{1, 0});
    }
    check(traffic, shelf, format);
}

TEST_CASE("A file ends when asked to", "[packer]") {
    const Format format = GENERATE(from_range(std::begin(kFormats), std::end(kFormats)));
    Traffic traffic;
    auto pool = blocks(8192, 8);
    Packer packer(*pool, options(format));
    Shelf shelf(*pool);
    traffic.burst(packer, {3, 4, 5}, kSnaplen);
    packer.rotate();
    SECTION("by packets") { traffic.burst(packer, {6, 7}, kSnaplen); }
    SECTION("without any") {
        packer.idle(traffic.now_ns());
        packer.idle(traffic.now_ns());
        traffic.burst(packer, {6, 7}, kSnaplen);
    }
    finish(packer, shelf, traffic.now_ns());
    CHECK(counts(shelf) == std::vector<std::size_t>{3, 2});
    check(traffic, shelf, format);
}

TEST_CASE("An empty file ends when asked to", "[packer]") {
    // As after the disk refused it: only a new file makes things right.
    auto pool = blocks(8192, 8);
    Packer packer(*pool, options(Format::pcap_ns));
    Shelf shelf(*pool);
    packer.idle(1);
    packer.rotate();
    packer.idle(2);
    packer.idle(3);
    finish(packer, shelf, 4);
    CHECK(counts(shelf) == std::vector<std::size_t>{0, 0});
}

// ---- the end ----

TEST_CASE("Exactly as many packets as were asked for are captured", "[packer]") {
    const Format format = GENERATE(from_range(std::begin(kFormats), std::end(kFormats)));
    const std::uint64_t count = GENERATE(1u, 2u, 63u, 64u, 65u, 1000u);
    Traffic traffic;
    auto pool = blocks(64 << 10, 32);
    Packer::Options o = options(format);
    o.stop.packets = count;
    Packer packer(*pool, o);
    Shelf shelf(*pool);
    Rng rng(count);
    while (!packer.over()) {
        CHECK(traffic.refused() == 0);
        traffic.burst(packer, traffic.some(rng), kSnaplen);
        shelf.drain();
    }
    CHECK(traffic.packed() == count);
    // What still comes before somebody notices.
    for (int i = 0; i < 3; ++i) traffic.burst(packer, {1, 2}, kSnaplen);
    packer.rotate();
    packer.idle(traffic.now_ns());
    finish(packer, shelf, traffic.now_ns());
    CHECK(traffic.packed() == count);
    CHECK(shelf.files().size() == 1);
    CHECK(traffic.lost() == 0);
    check(traffic, shelf, format);
}

TEST_CASE("A capture that is over begins no file any more", "[packer]") {
    Traffic traffic;
    auto pool = blocks(8192, 8);
    Packer::Options o = options(Format::pcap_ns);
    o.stop.packets = 10;
    SECTION("by packets") { o.next_file.packets = 10; }
    SECTION("by time") { o.next_file.duration = Duration{1}; }
    Packer packer(*pool, o);
    Shelf shelf(*pool);
    traffic.burst(packer, std::vector<unsigned>(10, 5), kSnaplen);
    CHECK(packer.over());
    traffic.burst(packer, {1, 2}, kSnaplen);
    packer.idle(traffic.now_ns());
    finish(packer, shelf, traffic.now_ns());
    CHECK(traffic.refused() == 2);
    CHECK(counts(shelf) == std::vector<std::size_t>{10});
}

TEST_CASE("The capture ends when its file is long enough", "[packer]") {
    const Format format = GENERATE(from_range(std::begin(kFormats), std::end(kFormats)));
    const std::uint64_t limit = GENERATE(2000u, 8192u, 50000u);
    Traffic traffic;
    auto pool = blocks(8192, 16);
    Packer::Options o = options(format);
    o.stop.bytes = limit;
    Packer packer(*pool, o);
    Shelf shelf(*pool);
    Rng rng(limit);
    while (!packer.over()) {
        traffic.burst(packer, traffic.some(rng, 20), kSnaplen);
        shelf.drain();
    }
    CHECK(traffic.burst(packer, {1}, kSnaplen).refused == 1);
    finish(packer, shelf, traffic.now_ns());
    CHECK(shelf.files().size() == 1);
    CHECK(traffic.lost() == 0);
    check(traffic, shelf, format);
    if (format != Format::pcapng) {
        CHECK(shelf.files()[0].bytes.size() <= limit);
        CHECK(shelf.files()[0].bytes.size() + kSnaplen + 16 > limit);
    }
}

TEST_CASE("The capture ends after so many files", "[packer]") {
    const Format format = GENERATE(from_range(std::begin(kFormats), std::end(kFormats)));
    Traffic traffic;
    auto pool = blocks(8192, 16);
    Packer::Options o = options(format);
    o.stop_files = 3;
    SECTION("of packets") { o.next_file.packets = 7; }
    SECTION("of bytes") { o.next_file.bytes = 6000; }
    SECTION("of time") { o.next_file.duration = Duration{Traffic::kStepNs * 20}; }
    Packer packer(*pool, o);
    Shelf shelf(*pool);
    Rng rng(7);
    for (int i = 0; i < 500 && !packer.over(); ++i) {
        traffic.burst(packer, traffic.some(rng, 20), kSnaplen);
        shelf.drain();
    }
    CHECK(packer.over());
    finish(packer, shelf, traffic.now_ns());
    CHECK(shelf.files().size() == 3);
    CHECK(traffic.lost() == 0);
    check(traffic, shelf, format);
}

// ---- no blocks ----

TEST_CASE("Without free blocks packets are lost, and it goes on later", "[packer]") {
    const Format format = GENERATE(from_range(std::begin(kFormats), std::end(kFormats)));
    Traffic traffic;
    auto pool = blocks(4096, 4);
    Packer packer(*pool, options(format));
    Shelf shelf(*pool);
    Rng rng(3);
    for (int round = 0; round < 5; ++round) {
        const std::uint64_t lost = traffic.lost();
        while (traffic.lost() == lost) traffic.burst(packer, traffic.some(rng), kSnaplen);
        // Still none.
        CHECK(traffic.burst(packer, {60}, kSnaplen).packed <= 1);
        const std::uint64_t packed = traffic.packed();
        shelf.drain();
        traffic.burst(packer, traffic.some(rng, 5), kSnaplen);
        CHECK(traffic.packed() > packed);
    }
    finish(packer, shelf, traffic.now_ns());
    CHECK(traffic.lost() > 5);
    CHECK(shelf.files().size() == 1);
    check(traffic, shelf, format);
    CHECK(pool->free_count() == 4);
}

TEST_CASE("Without blocks the present file goes on; the next begins when there are", "[packer]") {
    const Format format = GENERATE(from_range(std::begin(kFormats), std::end(kFormats)));
    Traffic traffic;
    auto pool = blocks(4096, 4);
    std::vector<Block*> taken;
    Packer packer(*pool, options(format));
    Shelf shelf(*pool);
    traffic.burst(packer, {6}, kSnaplen);
    while (Block* b = pool->take()) taken.push_back(b);
    CHECK(taken.size() == 3);
    packer.rotate();
    SECTION("noticed by packets") {
        traffic.burst(packer, {6}, kSnaplen);
        for (Block* b : taken) pool->give_back(b);
        traffic.burst(packer, {6}, kSnaplen);
    }
    SECTION("noticed when idle") {
        packer.idle(traffic.now_ns());
        for (Block* b : taken) pool->give_back(b);
        packer.idle(traffic.now_ns());
        traffic.burst(packer, {6}, kSnaplen);
    }
    finish(packer, shelf, traffic.now_ns());
    CHECK(traffic.lost() == 0);
    CHECK(shelf.files().size() == 2);
    check(traffic, shelf, format);
}

TEST_CASE("The trailer waits for a block", "[packer]") {
    Traffic traffic;
    auto pool = blocks(4096, 2);
    Packer packer(*pool, options(Format::pcapng));
    Shelf shelf(*pool);
    std::vector<unsigned> which(40, traffic.add(500));
    traffic.burst(packer, which, kSnaplen);
    CHECK(traffic.lost() > 0);
    CHECK_FALSE(packer.finish(traffic.now_ns()));
    finish(packer, shelf, traffic.now_ns());
    check(traffic, shelf, Format::pcapng);
    CHECK(pool->free_count() == 2);
}

TEST_CASE("Statistics say what was told", "[packer]") {
    Traffic traffic;
    auto pool = blocks(8192, 8);
    Packer::Options o = options(Format::pcapng);
    o.next_file.packets = 4;
    Packer packer(*pool, o);
    std::uint64_t asked = 0;
    packer.on_totals([&asked](unsigned interface_id, PackerTotals& t) {
        CHECK(interface_id == 0);
        ++asked;
        t = {100 * asked, 90 * asked, 7 * asked, 3 * asked, "disk_error=5"};
    });
    Shelf shelf(*pool);
    traffic.burst(packer, {1, 2, 3, 4, 5, 6}, kSnaplen);
    finish(packer, shelf, traffic.now_ns());
    REQUIRE(shelf.files().size() == 2);
    for (std::uint64_t i = 1; i <= 2; ++i) {
        const Parsed p = parsed(shelf.files()[i - 1].bytes, Format::pcapng);
        REQUIRE(p.statistics.size() == 1);
        const pcap::NgStats& s = p.statistics[0];
        CHECK(s.received == 100 * i);
        CHECK(s.filter_accept == 90 * i);
        CHECK(s.os_drop == 7 * i);
        CHECK(s.if_drop == 3 * i);
        CHECK(s.comment == "disk_error=5");
        CHECK(s.start_ns <= p.records.front().wall_ns);
        CHECK(s.start_ns >= Traffic::kBaseNs);
        CHECK(p.records[0].flags == 1);
    }
}

TEST_CASE("Packets of several interfaces are told apart", "[packer]") {
    Traffic traffic;
    auto pool = blocks(8192, 8);
    Packer::Options o = options(Format::pcapng);
    o.interfaces.push_back({"p1", "the other one", "udp"});
    Packer packer(*pool, o);
    Shelf shelf(*pool);
    const auto packets = traffic.packets_of({1, 2, 3});
    for (const std::uint32_t id : {0u, 1u, 0u}) {
        Packer::Batch batch;
        batch.packets = packets.data();
        batch.count = 3;
        batch.wall = {Traffic::kBaseNs, 0};
        batch.snaplen = kSnaplen;
        batch.interface_id = id;
        batch.direction = id + 1;
        CHECK(packer.pack(batch).packed == 3);
    }
    packer.on_totals([](unsigned id, PackerTotals& t) { t.received = 10 + id; });
    finish(packer, shelf, Traffic::kBaseNs + 1);
    auto reader = pcap::NgReader::open(shelf.files().at(0).bytes, "captured");
    REQUIRE(reader);
    std::vector<std::uint32_t> ids;
    for (;;) {
        const auto r = reader->next();
        REQUIRE(r);
        if (!*r) break;
        ids.push_back((*r)->interface_id);
        CHECK((*r)->flags == (*r)->interface_id + 1);
    }
    CHECK(ids == std::vector<std::uint32_t>{0, 0, 0, 1, 1, 1, 0, 0, 0});
    REQUIRE(reader->interfaces().size() == 2);
    CHECK(reader->interfaces()[1].name == "p1");
    CHECK(reader->interfaces()[1].description == "the other one");
    CHECK(reader->interfaces()[1].filter == "udp");
    REQUIRE(reader->statistics().size() == 2);
    CHECK(reader->statistics()[0].received == 10);
    CHECK(reader->statistics()[1].received == 11);
}

TEST_CASE("Without a header the blocks are nothing but records", "[packer]") {
    Traffic traffic;
    auto pool = blocks(4096, 8);
    Packer::Options o = options(Format::pcap_ns);
    o.bare = true;
    Packer packer(*pool, o);
    Shelf shelf(*pool);
    Rng rng(4);
    for (int i = 0; i < 50; ++i) {
        traffic.burst(packer, traffic.some(rng, 20), kSnaplen);
        shelf.drain();
    }
    finish(packer, shelf, traffic.now_ns());
    REQUIRE(shelf.files().size() == 1);
    const auto header =
        pcap::file_header(pcap::Linktype::ethernet, pcap::Resolution::ns, kSnaplen);
    std::vector<std::byte> file(header.begin(), header.end());
    const auto& records = shelf.files()[0].bytes;
    file.insert(file.end(), records.begin(), records.end());
    const Parsed p = parsed(file, Format::pcap_ns);
    CHECK(p.error == "");
    CHECK(p.records.size() == traffic.packed());
    CHECK(traffic.wrong(p.records, false) == "");
}

// ---- anything ----

class Story {
  public:
    Story(std::uint64_t seed, Format format)
        : rng_(seed),
          format_(format),
          pool_(blocks(block_bytes(), static_cast<std::uint32_t>(rng_.between(3, 12)))),
          options_(limits()),
          packer_(*pool_, options_),
          shelf_(*pool_) {}

    // What went wrong; empty: nothing.
    std::string tell(Traffic& traffic) {
        const auto steps = rng_.between(1, 120);
        for (std::uint64_t i = 0; i < steps; ++i) step(traffic);
        for (int i = 0; i < 5 && !packer_.finish(traffic.now_ns()); ++i) shelf_.drain();
        if (!packer_.finish(traffic.now_ns())) return "it does not end";
        shelf_.drain();
        if (!shelf_.empty()) return "blocks are left unsealed";
        return verdict(traffic);
    }

  private:
    std::uint32_t block_bytes() { return static_cast<std::uint32_t>(4096 * rng_.between(1, 3)); }
    Packer::Options limits() {
        Packer::Options o = options(format_);
        if (rng_.chance(0.4)) o.next_file.bytes = rng_.between(1024, 40'000);
        if (rng_.chance(0.4)) o.next_file.packets = rng_.between(1, 200);
        if (rng_.chance(0.4))
            o.next_file.duration =
                Duration{static_cast<std::int64_t>(rng_.between(1, 300)) * Traffic::kStepNs};
        if (rng_.chance(0.2)) o.stop.bytes = rng_.between(1024, 60'000);
        if (rng_.chance(0.2)) o.stop.packets = rng_.between(1, 2000);
        if (rng_.chance(0.2)) o.stop_files = static_cast<std::uint32_t>(rng_.between(1, 10));
        return o;
    }
    void step(Traffic& traffic) {
        switch (rng_.below(8)) {
            case 0: packer_.idle(traffic.now_ns()); break;
            case 1:
                traffic.wait(static_cast<unsigned>(rng_.below(100)));
                packer_.idle(traffic.now_ns());
                break;
            case 2:
                if (rng_.chance(0.2)) packer_.rotate();
                break;
            case 3: shelf_.take(static_cast<unsigned>(rng_.between(1, 4))); break;
            case 4: shelf_.give_back(static_cast<unsigned>(rng_.between(1, 4))); break;
            case 5: {
                const auto which = traffic.some(rng_);
                std::vector<std::uint16_t> passed;
                for (std::size_t k = 0; k < which.size(); ++k)
                    if (rng_.chance(0.5)) passed.push_back(static_cast<std::uint16_t>(k));
                count(traffic.burst(packer_, which, snaplen(), passed));
                break;
            }
            default: count(traffic.burst(packer_, traffic.some(rng_), snaplen())); break;
        }
    }
    std::uint32_t snaplen() {
        return rng_.chance(0.5) ? kSnaplen : static_cast<std::uint32_t>(rng_.between(1, kSnaplen));
    }
    void count(const Packer::Outcome& o) {
        if (o.refused != 0 && !packer_.over()) refused_early_ = true;
        if (was_over_ && o.packed + o.lost != 0) packed_late_ = true;
        was_over_ = packer_.over();
    }
    std::string verdict(const Traffic& t) const {
        if (refused_early_) return "refused before it was over";
        if (packed_late_) return "packed after it was over";
        if (t.packed() + t.lost() + t.refused() != t.offered()) return "sums";
        if (shelf_.counted() != t.packed()) return "blocks count other records";
        if (const std::string w = shelf_.wrong(format_); !w.empty()) return w;
        for (const Shelf::File& f : shelf_.files()) {
            if (!f.ended) return "a file has no end";
            if (options_.next_file.packets != 0 && f.records > options_.next_file.packets)
                return "too many packets in a file";
            for (const std::uint64_t limit : {options_.next_file.bytes, options_.stop.bytes})
                if (limit != 0 && format_ != Format::pcapng && f.records > 1 &&
                    f.bytes.size() > limit)
                    return "a file is too long";
        }
        if (options_.stop_files != 0 && shelf_.files().size() > options_.stop_files)
            return "too many files";
        if (options_.stop.packets != 0 && t.packed() > options_.stop.packets)
            return "too many packets";
        const std::vector<Seen> records = shelf_.records(format_);
        if (records.size() != t.packed()) return "records are missing";
        return t.wrong(records, format_ == Format::pcapng);
    }

    Rng rng_;
    const Format format_;
    std::unique_ptr<BlockPool> pool_;
    const Packer::Options options_;
    Packer packer_;
    Shelf shelf_;
    bool refused_early_ = false, packed_late_ = false, was_over_ = false;
};

TEST_CASE("Whatever happens in whatever order, files are whole and sums are right", "[packer]") {
    const Format format = GENERATE(from_range(std::begin(kFormats), std::end(kFormats)));
    std::uint64_t lost = 0;
    std::uint64_t refused = 0;
    for (std::uint64_t seed = 0; seed < 150; ++seed) {
        Traffic traffic(1600, seed);
        Story story(seed, format);
        INFO("seed " << seed << " format " << static_cast<int>(format));
        REQUIRE(story.tell(traffic) == "");
        lost += traffic.lost();
        refused += traffic.refused();
    }
    // Or else it did not try what it is to try.
    CHECK(lost > 1000);
    CHECK(refused > 1000);
}

}  // namespace
}  // namespace sluice::capture
