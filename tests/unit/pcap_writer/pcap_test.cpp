#include "pcap_writer/pcap.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <vector>

using namespace sluice;

namespace {

template <std::size_t N>
std::vector<unsigned> numbers(const std::array<std::byte, N>& bytes) {
    std::vector<unsigned> v;
    for (const std::byte b : bytes) v.push_back(std::to_integer<unsigned>(b));
    return v;
}

}  // namespace

TEST_CASE("file headers are the bytes of the format description") {
    CHECK(numbers(pcap::file_header(pcap::Linktype::ethernet, pcap::Resolution::ns, 65535)) ==
          std::vector<unsigned>{0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0,
                                0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0});
    CHECK(numbers(pcap::file_header(pcap::Linktype::user0, pcap::Resolution::us, 96)) ==
          std::vector<unsigned>{0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0,
                                0, 0, 0, 0, 96, 0, 0, 0, 147, 0, 0, 0});
}

TEST_CASE("record headers are the bytes of the format description") {
    std::array<std::byte, pcap::kRecordHeaderBytes> at{};
    const pcap::Stamp stamp = pcap::stamp_of(0x6543210f'000000ll, pcap::Resolution::ns);
    pcap::put_record_header(at.data(), {0x01020304, 999'999'999}, 60, 0x0000ffff);
    CHECK(numbers(at) == std::vector<unsigned>{4, 3, 2, 1, 0xff, 0xc9, 0x9a, 0x3b,
                                               60, 0, 0, 0, 0xff, 0xff, 0, 0});
    CHECK(pcap::record_stamp(at.data()) == pcap::Stamp{0x01020304, 999'999'999});
    CHECK(pcap::record_captured(at.data()) == 60);
    pcap::put_record_stamp(at.data(), stamp);
    CHECK(pcap::record_stamp(at.data()) == stamp);
    CHECK(pcap::record_captured(at.data()) == 60);
}

TEST_CASE("time stamps split into seconds and fraction and stay in range") {
    using pcap::Resolution;
    using pcap::Stamp;
    CHECK(pcap::stamp_of(1'700'000'000'123'456'789, Resolution::ns) ==
          Stamp{1'700'000'000, 123'456'789});
    CHECK(pcap::stamp_of(1'700'000'000'123'456'789, Resolution::us) ==
          Stamp{1'700'000'000, 123'456});
    CHECK(pcap::stamp_of(0, Resolution::ns) == Stamp{0, 0});
    CHECK(pcap::stamp_of(-1, Resolution::ns) == Stamp{0, 0});
    CHECK(pcap::stamp_of(INT64_MAX, Resolution::ns) == Stamp{0xffffffff, 999'999'999});
    CHECK(pcap::stamp_of(INT64_MAX, Resolution::us) == Stamp{0xffffffff, 999'999});
    for (const std::int64_t t : {std::int64_t{0}, std::int64_t{999'999'999},
                                 std::int64_t{1'000'000'000}, std::int64_t{1'234'567'890'123}}) {
        CHECK(pcap::wall_ns_of(pcap::stamp_of(t, Resolution::ns), Resolution::ns) == t);
        CHECK(pcap::wall_ns_of(pcap::stamp_of(t, Resolution::us), Resolution::us) ==
              t / 1000 * 1000);
    }
}
