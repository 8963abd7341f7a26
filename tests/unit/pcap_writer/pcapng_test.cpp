#include "pcap_writer/pcapng.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "pcap_writer/pcapng_reader.hpp"

using namespace sluice;
using Catch::Matchers::Contains;

namespace {

using File = std::vector<std::byte>;

void append(File& file, const std::vector<std::byte>& bytes) {
    file.insert(file.end(), bytes.begin(), bytes.end());
}

std::vector<std::byte> bytes_of(std::initializer_list<unsigned> list) {
    std::vector<std::byte> out;
    for (const unsigned v : list) out.push_back(static_cast<std::byte>(v));
    return out;
}

// In a buffer full of ones, so that a byte that is left out is seen.
std::vector<std::byte> packet_block(const std::vector<std::byte>& packet, std::uint32_t original,
                                    std::int64_t wall_ns, std::optional<std::uint64_t> drops = {},
                                    std::uint32_t interface_id = 0,
                                    pcap::Resolution resolution = pcap::Resolution::ns) {
    const auto captured = static_cast<std::uint32_t>(packet.size());
    const std::size_t bytes = pcap::epb_bytes(captured, drops.has_value());
    std::vector<std::byte> out(bytes + 8, std::byte{0xff});
    pcap::put_epb_head(out.data(), interface_id, wall_ns, resolution, captured, original,
                       drops.has_value());
    std::copy(packet.begin(), packet.end(), out.begin() + pcap::kEpbHeadBytes);
    pcap::put_epb_tail(out.data(), captured, pcap::kEpbInbound, drops);
    for (std::size_t i = bytes; i < out.size(); ++i) CHECK(out[i] == std::byte{0xff});
    out.resize(bytes);
    return out;
}

File start_of_file(pcap::NgInterface interface = {}) {
    File f = pcap::section_header({});
    append(f, pcap::interface_description(interface));
    return f;
}

pcap::NgRecord only_record(const File& f) {
    auto r = pcap::NgReader::open(f, "t.pcapng");
    REQUIRE(r);
    auto record = r->next();
    if (!record) FAIL(record.error().message);
    REQUIRE(*record);
    auto end = r->next();
    REQUIRE(end);
    CHECK(!*end);
    return **record;
}

std::string error_of(const File& f) {
    auto r = pcap::NgReader::open(f, "t.pcapng");
    while (r) {
        auto record = r->next();
        if (!record) {
            auto again = r->next();
            CHECK((!again && again.error().message == record.error().message));
            return record.error().message;
        }
        if (!*record) return "";
    }
    return r.error().message;
}

// Blocks of either byte order, written by another hand than the one under test.
struct Foreign {
    bool big = false;
    File file;

    void put(std::uint64_t v, unsigned bytes) {
        for (unsigned i = 0; i < bytes; ++i)
            file.push_back(static_cast<std::byte>(v >> 8 * (big ? bytes - 1 - i : i)));
    }
    void option(unsigned code, std::uint64_t value, unsigned bytes) {
        put(code, 2), put(bytes, 2), put(value, bytes);
        while (file.size() % 4 != 0) put(0, 1);
    }
    template <typename Body>
    void block(std::uint32_t type, Body body) {
        const std::size_t start = file.size();
        put(type, 4), put(0, 4);
        body();
        const std::size_t total = file.size() + 4 - start;
        put(total, 4);
        Foreign length{big, {}};
        length.put(total, 4);
        std::copy(length.file.begin(), length.file.end(),
                  file.begin() + static_cast<std::ptrdiff_t>(start + 4));
    }
    void section() {
        block(0x0a0d0d0a, [&] { put(0x1a2b3c4d, 4), put(1, 2), put(0, 2), put(~0ull, 8); });
    }
    void interface(unsigned linktype, unsigned snaplen, unsigned resolution,
                   std::int64_t offset_s = 0) {
        block(1, [&] {
            put(linktype, 2), put(0, 2), put(snaplen, 4);
            option(9, resolution, 1);
            if (offset_s != 0) option(14, static_cast<std::uint64_t>(offset_s), 8);
            put(0, 4);
        });
    }
    void packet(unsigned interface_id, std::uint64_t stamp, unsigned bytes) {
        block(6, [&] {
            put(interface_id, 4), put(stamp >> 32, 4), put(stamp & 0xffffffff, 4);
            put(bytes, 4), put(bytes + 1, 4);
            for (unsigned i = 0; i < bytes; ++i) put(i, 1);
            while (file.size() % 4 != 0) put(0, 1);
        });
    }
};

}  // namespace

TEST_CASE("the bytes of an enhanced packet block") {
    const std::vector<std::byte> packet = bytes_of({0xa1, 0xa2, 0xa3, 0xa4, 0xa5});
    CHECK(packet_block(packet, 99, 0x0102030405060708, 0x1122, 7) ==
          bytes_of({6, 0, 0, 0, 64, 0, 0, 0, 7, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5,  // stamp
                    5, 0, 0, 0, 99, 0, 0, 0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0, 0, 0,
                    2, 0, 4, 0, 1, 0, 0, 0,                             // epb_flags
                    4, 0, 8, 0, 0x22, 0x11, 0, 0, 0, 0, 0, 0,           // epb_dropcount
                    0, 0, 0, 0, 64, 0, 0, 0}));
    static_assert(pcap::epb_bytes(0, false) == 44);
    static_assert(pcap::epb_bytes(1, false) == 48);
    static_assert(pcap::epb_bytes(64, true) == 28 + 64 + 8 + 12 + 4 + 4);
}

TEST_CASE("packets of every length come back") {
    for (unsigned n = 0; n < 70; ++n)
        for (const bool drops : {false, true}) {
            File f = start_of_file();
            std::vector<std::byte> packet(n, std::byte{0xee});
            append(f, packet_block(packet, n + 3, 1'600'000'000'123'456'789,
                                   drops ? std::optional<std::uint64_t>(n) : std::nullopt));
            const pcap::NgRecord r = only_record(f);
            CHECK(std::equal(r.record.data.begin(), r.record.data.end(), packet.begin(),
                             packet.end()));
            CHECK(r.record.original == n + 3);
            CHECK(r.record.wall_ns == 1'600'000'000'123'456'789);
            CHECK(r.flags == pcap::kEpbInbound);
            CHECK(r.drop_count.has_value() == drops);
            if (drops) CHECK(*r.drop_count == n);
            CHECK(r.linktype == pcap::Linktype::ethernet);
        }
}

TEST_CASE("stamps are in the unit of their interface") {
    File f = start_of_file({.resolution = pcap::Resolution::us});
    append(f, packet_block({}, 0, 1'600'000'000'123'456'789, {}, 0, pcap::Resolution::us));
    CHECK(only_record(f).record.wall_ns == 1'600'000'000'123'456'000);
    File g = start_of_file();
    append(g, packet_block({}, 0, -5));
    CHECK(only_record(g).record.wall_ns == 0);
}

TEST_CASE("what describes a section, an interface and its drops comes back") {
    pcap::NgSection section{"a board", "Linux", "sluice", "hello"};
    File f = pcap::section_header(section);
    append(f, pcap::interface_description({pcap::Linktype::user0, 4096, "vhost0", "Anschluß zwölf",
                                           "udp port 53", pcap::Resolution::us, 25'000'000'000}));
    pcap::NgStats stats;
    stats.wall_ns = 9'000'000'000'000'001'000;
    stats.start_ns = 1'000;
    stats.end_ns = 2'000;
    stats.received = 1ull << 40;
    stats.os_drop = 0;
    stats.comment = "no_chunk=5 disk_error=0";
    append(f, pcap::interface_statistics(stats, pcap::Resolution::us));
    CHECK(f.size() % 4 == 0);
    auto r = pcap::NgReader::open(f, "t.pcapng");
    REQUIRE(r);
    auto end = r->next();
    if (!end) FAIL(end.error().message);
    CHECK(!*end);
    CHECK(r->section().hardware == "a board");
    CHECK(r->section().os == "Linux");
    CHECK(r->section().application == "sluice");
    CHECK(r->section().comment == "hello");
    REQUIRE(r->interfaces().size() == 1);
    const pcap::NgReadInterface& i = r->interfaces()[0];
    CHECK(i.linktype == pcap::Linktype::user0);
    CHECK(i.snaplen == 4096);
    CHECK(i.name == "vhost0");
    CHECK(i.description == "Anschluß zwölf");
    CHECK(i.filter == "udp port 53");
    CHECK(i.speed_bps == 25'000'000'000);
    CHECK(i.resolution == 6);
    REQUIRE(r->statistics().size() == 1);
    const pcap::NgStats& s = r->statistics()[0];
    CHECK(s.wall_ns == stats.wall_ns);
    CHECK(s.start_ns == 1'000);
    CHECK(s.end_ns == 2'000);
    CHECK(s.received == 1ull << 40);
    CHECK(s.os_drop == 0u);
    CHECK(!s.if_drop);
    CHECK(!s.filter_accept);
    CHECK(!s.delivered);
    CHECK(s.comment == stats.comment);
}

TEST_CASE("empty texts are left out") {
    CHECK(pcap::section_header({}).size() == 28 + 4);
    CHECK(pcap::interface_description({}).size() == 20 + 8 + 4);  // if_tsresol always stands
    CHECK(pcap::interface_statistics({}, pcap::Resolution::ns).size() == 24 + 4);
}

TEST_CASE("texts too long for an option end at a whole character") {
    std::string text(65534, 'x');
    text += "\u00e9 and more";  // two bytes, of which one would fit
    File f = pcap::section_header({.comment = text});
    append(f, pcap::interface_description({.filter = text}));
    auto r = pcap::NgReader::open(f, "t.pcapng");
    REQUIRE(r);
    CHECK(r->section().comment == text.substr(0, 65534));
    REQUIRE(r->next());
    REQUIRE(r->interfaces().size() == 1);
    CHECK(r->interfaces()[0].filter == text.substr(0, 65534));
}

TEST_CASE("both byte orders, every resolution, and offsets are read") {
    struct Case {
        unsigned resolution;
        std::uint64_t stamp;
        std::int64_t offset_s;
        std::int64_t wall_ns;
    };
    const Case cases[] = {
        {6, 1'600'000'000'123'456, 0, 1'600'000'000'123'456'000},
        {9, 1'600'000'000'123'456'789, 0, 1'600'000'000'123'456'789},
        {0, 1'600'000'000, 0, 1'600'000'000'000'000'000},
        {12, 1'234'567, 0, 1'234},
        {3, 1'500, 10, 11'500'000'000},
        {9, 5, -1, -999'999'995},
        {127, ~0ull, 0, 0},
        {0x80, 3, 0, 3'000'000'000},
        {0x80 + 10, 1536, 0, 1'500'000'000},
        {0x80 + 32, 3ull << 31, 0, 1'500'000'000},
        {0x80 + 127, ~0ull, 0, 0},
        {0, ~0ull, 0, std::numeric_limits<std::int64_t>::max()},
        {9, 0, std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::min()},
    };
    for (const bool big : {false, true})
        for (const Case& c : cases) {
            Foreign f{big, {}};
            f.section();
            f.interface(147, 0, c.resolution, c.offset_s);
            f.packet(0, c.stamp, 5);
            const pcap::NgRecord r = only_record(f.file);
            INFO("resolution " << c.resolution << " stamp " << c.stamp);
            CHECK(r.record.wall_ns == c.wall_ns);
            CHECK(r.record.data.size() == 5);
            CHECK(r.record.original == 6);
            CHECK(r.linktype == pcap::Linktype::user0);
        }
}

TEST_CASE("simple and old packet blocks, unknown blocks, and several sections") {
    Foreign f;
    f.section();
    f.interface(1, 4, 6);
    f.block(3, [&] { f.put(9, 4), f.put(0x04030201, 4); });  // cut to the snapshot length
    f.block(0x0bad, [&] { f.put(1, 4), f.put(2, 4), f.put(3, 4); });
    f.big = true;
    f.section();
    f.interface(1, 0, 6);
    f.interface(147, 0, 9);
    f.packet(1, 77, 3);
    f.block(2, [&] {
        f.put(1, 2), f.put(12, 2), f.put(0, 4), f.put(78, 4), f.put(4, 4), f.put(4, 4);
        f.put(0x05060708, 4);
    });
    auto r = pcap::NgReader::open(f.file, "t.pcapng");
    REQUIRE(r);
    std::vector<pcap::NgRecord> records;
    for (;;) {
        auto record = r->next();
        if (!record) FAIL(record.error().message);
        if (!*record) break;
        records.push_back(**record);
    }
    REQUIRE(records.size() == 3);
    CHECK(r->sections() == 2);
    CHECK(records[0].record.data.size() == 4);
    CHECK(records[0].record.original == 9);
    CHECK(records[0].record.wall_ns == 0);
    CHECK(records[1].interface_id == 1);
    CHECK(records[1].record.wall_ns == 77);
    CHECK(records[2].record.wall_ns == 78);
    CHECK(records[2].record.data[0] == std::byte{5});
    CHECK(records[2].drop_count == 12u);
}

TEST_CASE("pcapng that is broken is refused with the place") {
    CHECK_THAT(error_of({}), Contains("t.pcapng: 0 bytes, expected a pcapng section header"));
    CHECK_THAT(error_of(File(64)), Contains("byte 0: 0x00000000 does not start a pcapng file"));
    File f = start_of_file();
    const std::size_t at = f.size();
    append(f, packet_block(bytes_of({1, 2, 3}), 3, 5));

    File magic = f;
    magic[8] = std::byte{0};
    CHECK_THAT(error_of(magic), Contains("byte 8") && Contains("byte-order magic"));
    File version = f;
    version[12] = std::byte{2};
    CHECK_THAT(error_of(version), Contains("byte 12: version 2.0 of pcapng, expected 1.0"));
    File length = f;
    length[at + 4] = std::byte{49};
    CHECK_THAT(error_of(length), Contains("a block of 49 bytes, expected a multiple of 4"));
    File tail = f;
    tail[tail.size() - 4] = std::byte{44};
    CHECK_THAT(error_of(tail), Contains("a block of 48 bytes says 44 at its end"));
    File interface = f;
    interface[at + 8] = std::byte{1};
    CHECK_THAT(error_of(interface), Contains("a packet of interface 1, but 1 are described"));
    File captured = f;
    captured[at + 20] = std::byte{21};
    CHECK_THAT(error_of(captured), Contains("a packet of 21 bytes in a block with room for 16"));
    File option = f;
    for (const unsigned bytes : {9u, 12u, 40u}) {
        option[at + 34] = static_cast<std::byte>(bytes);
        CHECK_THAT(error_of(option), Contains("option 2 of " + std::to_string(bytes) +
                                              " bytes, but its block ends after 8"));
    }
}

TEST_CASE("no bytes lead the pcapng reader out of the file") {
    Foreign f{true, {}};
    f.section();
    f.interface(1, 0, 0x8a, 5);
    for (unsigned i = 0; i < 8; ++i) f.packet(0, i, i * 3);
    File ours = start_of_file({.name = "p", .filter = "ip"});
    for (unsigned i = 0; i < 8; ++i)
        append(ours, packet_block(std::vector<std::byte>(i), i, i, i));
    append(ours, pcap::interface_statistics({.received = 1, .comment = "c"},
                                            pcap::Resolution::ns));
    // Every prefix, in memory of exactly its size, so that ASan sees a step too far.
    for (const File& whole : {f.file, ours})
        for (std::size_t n = 0; n < whole.size(); ++n) {
            const File part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
            error_of(part);
        }
    Rng rng(7);
    for (unsigned round = 0; round < 4000; ++round) {
        File broken = round % 2 == 0 ? f.file : ours;
        for (std::uint64_t k = rng.between(1, 4); k > 0; --k)
            broken[rng.below(broken.size())] = static_cast<std::byte>(rng.next());
        error_of(broken);
    }
}
