#include "pcap_writer/pcapng.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

namespace sluice::pcap {
namespace {

constexpr std::uint16_t kVersionMajorNg = 1;
constexpr std::uint16_t kVersionMinorNg = 0;
constexpr std::uint64_t kSectionLengthUnknown = ~std::uint64_t{0};
constexpr std::size_t kOptionBytesMax = 65535;
// if_filter starts with what kind of filter it is: 0 is libpcap's language.
constexpr std::string_view kLibpcapFilter{"\0", 1};

// As much of the text as fits, without tearing a character of several bytes.
std::string_view fitting(std::string_view text, std::size_t bytes_max) noexcept {
    if (text.size() <= bytes_max) return text;
    std::size_t n = bytes_max;
    while (n > 0 && (static_cast<unsigned char>(text[n]) & 0xc0) == 0x80) --n;
    return text.substr(0, n);
}

// Behind what is in `bytes` already, which ends with a whole block.
class BlockBuilder {
  public:
    BlockBuilder(std::vector<std::byte>& bytes, std::uint32_t type)
        : bytes_(bytes), begin_(bytes.size()) {
        add32(type);
        add32(0);  // the length comes with finish()
    }

    void add16(std::uint16_t v) { put_le16(grow(2), v); }
    void add32(std::uint32_t v) { put_le32(grow(4), v); }
    void add64(std::uint64_t v) { put_le64(grow(8), v); }
    void add_stamp(std::int64_t wall_ns, Resolution resolution) {
        put_ng_stamp(grow(8), wall_ns, resolution);
    }

    void option(std::uint16_t code, std::string_view value) {
        add16(code);
        add16(static_cast<std::uint16_t>(value.size()));
        std::transform(value.begin(), value.end(), grow(value.size()),
                       [](char c) { return static_cast<std::byte>(c); });
        while (bytes_.size() % 4 != 0) bytes_.push_back(std::byte{0});
    }
    void text_option(std::uint16_t code, std::string_view value) {
        if (!value.empty()) option(code, fitting(value, kOptionBytesMax));
    }
    void option64(std::uint16_t code, std::uint64_t value) {
        add16(code);
        add16(8);
        add64(value);
    }
    void count_option(std::uint16_t code, const std::optional<std::uint64_t>& value) {
        if (value) option64(code, *value);
    }
    void stamp_option(std::uint16_t code, std::int64_t wall_ns, Resolution resolution) {
        if (wall_ns == 0) return;
        add16(code);
        add16(8);
        add_stamp(wall_ns, resolution);
    }

    void finish() {
        add16(ng_option::kEnd);
        add16(0);
        const auto bytes = static_cast<std::uint32_t>(bytes_.size() - begin_ + 4);
        add32(bytes);
        put_le32(&bytes_[begin_ + 4], bytes);
    }

  private:
    std::byte* grow(std::size_t n) {
        bytes_.resize(bytes_.size() + n);
        return bytes_.data() + bytes_.size() - n;
    }

    std::vector<std::byte>& bytes_;
    const std::size_t begin_;
};

}  // namespace

std::vector<std::byte> section_header(const NgSection& section) {
    std::vector<std::byte> out;
    BlockBuilder b(out, kNgSectionHeader);
    b.add32(kNgByteOrderMagic);
    b.add16(kVersionMajorNg);
    b.add16(kVersionMinorNg);
    b.add64(kSectionLengthUnknown);
    b.text_option(ng_option::kComment, section.comment);
    b.text_option(ng_option::kSectionHardware, section.hardware);
    b.text_option(ng_option::kSectionOs, section.os);
    b.text_option(ng_option::kSectionApplication, section.application);
    b.finish();
    return out;
}

std::vector<std::byte> interface_description(const NgInterface& interface) {
    std::vector<std::byte> out;
    BlockBuilder b(out, kNgInterfaceDescription);
    b.add16(static_cast<std::uint16_t>(interface.linktype));
    b.add16(0);
    b.add32(interface.snaplen);
    b.text_option(ng_option::kInterfaceName, interface.name);
    b.text_option(ng_option::kInterfaceDescription, interface.description);
    if (interface.speed_bps != 0) b.option64(ng_option::kInterfaceSpeed, interface.speed_bps);
    const char exponent = interface.resolution == Resolution::ns ? 9 : 6;
    b.option(ng_option::kInterfaceResolution, {&exponent, 1});
    if (!interface.filter.empty()) {
        std::string value(kLibpcapFilter);
        value += fitting(interface.filter, kOptionBytesMax - value.size());
        b.option(ng_option::kInterfaceFilter, value);
    }
    b.finish();
    return out;
}

void append_interface_statistics(std::vector<std::byte>& to, const NgStats& stats,
                                 Resolution resolution) {
    BlockBuilder b(to, kNgInterfaceStatistics);
    b.add32(stats.interface_id);
    b.add_stamp(stats.wall_ns, resolution);
    b.text_option(ng_option::kComment, stats.comment);
    b.stamp_option(ng_option::kStatsStart, stats.start_ns, resolution);
    b.stamp_option(ng_option::kStatsEnd, stats.end_ns, resolution);
    b.count_option(ng_option::kStatsReceived, stats.received);
    b.count_option(ng_option::kStatsInterfaceDrop, stats.if_drop);
    b.count_option(ng_option::kStatsFilterAccept, stats.filter_accept);
    b.count_option(ng_option::kStatsOsDrop, stats.os_drop);
    b.count_option(ng_option::kStatsDelivered, stats.delivered);
    b.finish();
}

std::vector<std::byte> interface_statistics(const NgStats& stats, Resolution resolution) {
    std::vector<std::byte> out;
    append_interface_statistics(out, stats, resolution);
    return out;
}

}  // namespace sluice::pcap
