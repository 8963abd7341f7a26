#include "pcap_writer/pcap_reader.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "base/rng.hpp"

using namespace sluice;
using Catch::Matchers::Contains;

namespace {

using File = std::vector<std::byte>;

void append(File& file, const std::byte* bytes, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) file.push_back(bytes[i]);
}

File file_of(pcap::Resolution resolution, unsigned records) {
    File f;
    const auto header = pcap::file_header(pcap::Linktype::ethernet, resolution, 65535);
    append(f, header.data(), header.size());
    for (unsigned i = 0; i < records; ++i) {
        const std::vector<std::byte> data(i * 7, static_cast<std::byte>(i));
        std::byte h[pcap::kRecordHeaderBytes];
        pcap::put_record_header(h, {100 + i, i}, i * 7, i * 7 + 1);
        append(f, h, sizeof h);
        append(f, data.data(), data.size());
    }
    return f;
}

// The file as a big-endian machine would have written it.
File swapped(File f) {
    const auto turn = [&f](std::size_t at, std::size_t n) {
        std::reverse(f.begin() + static_cast<std::ptrdiff_t>(at),
                     f.begin() + static_cast<std::ptrdiff_t>(at + n));
    };
    turn(0, 4), turn(4, 2), turn(6, 2);
    for (std::size_t at = 8; at < 24; at += 4) turn(at, 4);
    for (std::size_t at = 24; at < f.size();) {
        const std::size_t captured = pcap::record_captured(&f[at]);
        for (std::size_t i = 0; i < 16; i += 4) turn(at + i, 4);
        at += 16 + captured;
    }
    return f;
}

std::string error_of(const File& f) {
    auto r = pcap::Reader::open(f, "t.pcap");
    while (r) {
        auto record = r->next();
        if (!record) return record.error().message;
        if (!*record) return "";
    }
    return r.error().message;
}

void check_records(const File& f, pcap::Resolution resolution) {
    auto r = pcap::Reader::open(f, "t.pcap");
    REQUIRE(r);
    CHECK(r->linktype() == pcap::Linktype::ethernet);
    CHECK(r->resolution() == resolution);
    CHECK(r->snaplen() == 65535);
    for (unsigned i = 0; i < 5; ++i) {
        auto record = r->next();
        REQUIRE(record);
        REQUIRE(*record);
        CHECK((*record)->wall_ns ==
              (100 + std::int64_t{i}) * 1'000'000'000 + i * pcap::ns_per_fraction(resolution));
        CHECK((*record)->original == i * 7 + 1);
        REQUIRE((*record)->data.size() == i * 7);
        for (const std::byte b : (*record)->data) CHECK(b == static_cast<std::byte>(i));
    }
    auto end = r->next();
    REQUIRE(end);
    CHECK(!*end);
    CHECK(r->offset() == f.size());
}

}  // namespace

TEST_CASE("both resolutions and both byte orders are read") {
    for (const auto resolution : {pcap::Resolution::us, pcap::Resolution::ns}) {
        const File f = file_of(resolution, 5);
        check_records(f, resolution);
        check_records(swapped(f), resolution);
    }
}

TEST_CASE("the linktype is separated from what is known of check sequences") {
    File f = file_of(pcap::Resolution::us, 0);
    f[23] = std::byte{0x24};  // FCS length known: 2 words
    auto r = pcap::Reader::open(f, "t.pcap");
    REQUIRE(r);
    CHECK(r->linktype() == pcap::Linktype::ethernet);
}

TEST_CASE("what is not a pcap file is refused with the reason") {
    CHECK_THAT(error_of({}), Contains("t.pcap: 0 bytes, expected a pcap file header of 24"));
    File f = file_of(pcap::Resolution::ns, 1);
    CHECK_THAT(error_of(File(f.begin(), f.begin() + 23)), Contains("23 bytes"));

    File bad = f;
    bad[0] = std::byte{0x4e};
    CHECK_THAT(error_of(bad), Contains("byte 0: 0xa1b23c4e is not the magic"));
    bad = f;
    pcap::put_le32(bad.data(), 0x0a0d0d0a);
    CHECK_THAT(error_of(bad), Contains("pcapng"));
    bad = f;
    pcap::put_le32(bad.data(), 0xa1b2cd34);
    CHECK_THAT(error_of(bad), Contains("modified"));
    bad = f;
    bad[6] = std::byte{3};
    CHECK_THAT(error_of(bad), Contains("byte 4: version 2.3 of the format, expected 2.4"));
}

TEST_CASE("broken records are refused with their place") {
    File f = file_of(pcap::Resolution::ns, 2);  // records at 24 (0 bytes) and 40 (7 bytes)
    REQUIRE(f.size() == 63);
    CHECK_THAT(error_of(File(f.begin(), f.end() - 1)),
               Contains("byte 56: the file ends within a packet (6 of 7 bytes)"));
    CHECK_THAT(error_of(File(f.begin(), f.begin() + 55)),
               Contains("byte 40: the file ends within a record header (15 of 16 bytes)"));
    File bad = f;
    pcap::put_le32(&bad[44], 1'000'000'000);
    CHECK_THAT(error_of(bad), Contains("byte 44: 1000000000 as fraction"));
    bad = f;
    pcap::put_le32(&bad[48], 0xffffffff);
    CHECK_THAT(error_of(bad), Contains("byte 48: a record of 4294967295 bytes"));

    // The error stays.
    auto r = pcap::Reader::open(bad, "t.pcap");
    REQUIRE(r);
    REQUIRE(r->next());
    CHECK(!r->next());
    CHECK(!r->next());
}

TEST_CASE("any bytes are read without leaving them") {
    Rng rng(1);
    unsigned refused = 0;
    for (unsigned round = 0; round < 2000; ++round) {
        File f = file_of(round % 2 ? pcap::Resolution::ns : pcap::Resolution::us, 4);
        for (std::uint64_t i = rng.between(1, 4); i > 0; --i)
            f[rng.below(f.size())] = static_cast<std::byte>(rng.next());
        // A copy of exactly this size, so that the address sanitizer sees a step outside.
        f.resize(rng.below(f.size() + 1));
        f.shrink_to_fit();
        refused += error_of(f).empty() ? 0 : 1;
    }
    CHECK(refused > 100);
}
