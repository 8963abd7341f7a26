#include "pcap_writer/pcapng_reader.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace sluice::pcap {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::uint32_t kSectionBytesMin = 28;
constexpr std::uint32_t kBlockBytesMax = 1u << 30;
constexpr std::size_t kInterfacesMax = 65536;
// Some DLTs are longer than their registered snapshot length; libpcap stops at 256 MiB for D-Bus.
constexpr std::uint32_t kCapturedMax = 1u << 28;
constexpr std::uint8_t kPowerOfTwo = 0x80;
constexpr std::uint16_t kEpbFlagsBytes = 4;

Wide power_of_ten(unsigned exponent) noexcept {
    Wide p = 1;
    for (unsigned i = 0; i < exponent; ++i) p *= 10;
    return p;
}

// What a stamp says in nanoseconds; fractions of one are cut off, what does not fit sticks to the
// end of the range.
std::int64_t ns_of(std::uint64_t stamp, std::uint8_t resolution, std::int64_t offset_s) noexcept {
    const unsigned exponent = resolution & 0x7fu;
    Wide ns = 0;
    if ((resolution & kPowerOfTwo) != 0)
        ns = (Wide{stamp} * 1'000'000'000u) >> exponent;
    else if (exponent <= 9)
        ns = Wide{stamp} * power_of_ten(9 - exponent);
    else if (exponent - 9 < 20)  // 10^20 is more than any stamp
        ns = Wide{stamp} / power_of_ten(exponent - 9);
    constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
    constexpr std::int64_t kSecond = 1'000'000'000;
    const std::int64_t base = ns > static_cast<Wide>(kMax) ? kMax : static_cast<std::int64_t>(ns);
    std::int64_t offset = 0;
    std::int64_t sum = 0;
    if (__builtin_mul_overflow(offset_s, kSecond, &offset) ||
        __builtin_add_overflow(base, offset, &sum))
        return offset_s < 0 ? std::numeric_limits<std::int64_t>::min() : kMax;
    return sum;
}

}  // namespace

struct NgReader::PacketFields {
    std::uint32_t interface_id = 0;
    std::optional<std::size_t> stamp_at;
    std::uint32_t captured = 0;
    std::uint32_t original = 0;
    std::size_t data_at = 0;
    bool has_options = true;
};

std::uint16_t NgReader::half(std::size_t at) const noexcept {
    const auto v = static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes_[at]) |
                                              std::to_integer<unsigned>(bytes_[at + 1]) << 8);
    return swapped_ ? __builtin_bswap16(v) : v;
}

std::uint32_t NgReader::word(std::size_t at) const noexcept {
    const std::uint32_t v = get_le32(&bytes_[at]);
    return swapped_ ? __builtin_bswap32(v) : v;
}

std::uint64_t NgReader::wide(std::size_t at) const noexcept {
    const std::uint64_t v = std::uint64_t{get_le32(&bytes_[at + 4])} << 32 | get_le32(&bytes_[at]);
    return swapped_ ? __builtin_bswap64(v) : v;
}

std::uint64_t NgReader::stamp(std::size_t at) const noexcept {
    return std::uint64_t{word(at)} << 32 | word(at + 4);
}

std::string NgReader::text(std::size_t at, std::size_t bytes) const {
    std::string s(bytes, '\0');
    std::transform(&bytes_[at], &bytes_[at] + bytes, s.begin(),
                   [](std::byte b) { return static_cast<char>(b); });
    return s;
}

Result<NgReader> NgReader::open(std::span<const std::byte> bytes, std::string_view name) {
    NgReader r;
    r.bytes_ = bytes;
    r.name_ = name;
    if (bytes.size() < kSectionBytesMin)
        return fail(EINVAL, "{}: {} bytes, expected a pcapng section header of at least {} bytes",
                    name, bytes.size(), kSectionBytesMin);
    if (r.word(0) != kNgSectionHeader)
        return fail(EINVAL, "{}: byte 0: {:#010x} does not start a pcapng file, expected {:#010x}",
                    name, r.word(0), kNgSectionHeader);
    SLUICE_TRY(const Block block, r.block_at(0));
    SLUICE_TRY_VOID(r.read_section(block));
    r.offset_ = block.bytes;
    return r;
}

// A section header turns the byte order before its length can be read.
Result<NgReader::Block> NgReader::block_at(std::size_t at) {
    const std::size_t left = bytes_.size() - at;
    if (left < kNgBlockBytesMin)
        return fail(EINVAL, "{}: byte {}: the file ends within a block ({} of at least {} bytes)",
                    name_, at, left, kNgBlockBytesMin);
    Block block;
    block.at = at;
    block.type = word(at);
    if (block.type == kNgSectionHeader) {
        const std::uint32_t magic = get_le32(&bytes_[at + 8]);
        if (magic != kNgByteOrderMagic && magic != __builtin_bswap32(kNgByteOrderMagic))
            return fail(EINVAL, "{}: byte {}: {:#010x} as byte-order magic, expected {:#010x}",
                        name_, at + 8, magic, kNgByteOrderMagic);
        swapped_ = magic != kNgByteOrderMagic;
    }
    block.bytes = word(at + 4);
    if (block.bytes < kNgBlockBytesMin || block.bytes > kBlockBytesMax)
        return fail(EINVAL, "{}: byte {}: a block of {} bytes, expected {} to {}", name_, at + 4,
                    block.bytes, kNgBlockBytesMin, kBlockBytesMax);
    if (block.bytes % 4 != 0)
        return fail(EINVAL, "{}: byte {}: a block of {} bytes, expected a multiple of 4", name_,
                    at + 4, block.bytes);
    if (block.bytes > left)
        return fail(EINVAL, "{}: byte {}: the file ends within a block ({} of {} bytes)", name_, at,
                    left, block.bytes);
    if (word(block.end()) != block.bytes)
        return fail(EINVAL, "{}: byte {}: a block of {} bytes says {} at its end", name_,
                    block.end(), block.bytes, word(block.end()));
    return block;
}

Result<> NgReader::need(const Block& block, std::size_t body_bytes, const char* what) const {
    const std::size_t body = block.bytes - kNgBlockBytesMin;
    if (body < body_bytes)
        return fail(EINVAL, "{}: byte {}: {} of {} bytes, expected at least {}", name_, block.at,
                    what, block.bytes, body_bytes + kNgBlockBytesMin);
    return {};
}

// The option at `at`, which moves behind it; nothing at the end of the options.
Result<std::optional<NgReader::Option>> NgReader::option_at(const Block& block,
                                                            std::size_t& at) const {
    const std::size_t left = block.end() - at;
    if (left == 0) return std::nullopt;
    // Blocks are multiples of 4, and so is everything in front of options: 4 bytes are left.
    Option option{half(at), at + 4, half(at + 2)};
    if (option.code == ng_option::kEnd) return std::nullopt;
    const std::size_t padded = (std::size_t{option.bytes} + 3) / 4 * 4;
    if (padded > left - 4)
        return fail(EINVAL, "{}: byte {}: option {} of {} bytes, but its block ends after {}",
                    name_, at, option.code, option.bytes, left - 4);
    at += 4 + padded;
    return option;
}

Result<> NgReader::read_section(const Block& block) {
    SLUICE_TRY_VOID(need(block, kSectionBytesMin - kNgBlockBytesMin, "a section header"));
    const std::uint16_t major = half(block.at + 12);
    if (major != 1)
        return fail(EINVAL, "{}: byte {}: version {}.{} of pcapng, expected 1.0", name_,
                    block.at + 12, major, half(block.at + 14));
    ++sections_;
    section_ = {};
    interfaces_.clear();
    std::size_t at = block.at + 24;
    for (;;) {
        SLUICE_TRY(const std::optional<Option> option, option_at(block, at));
        if (!option) return {};
        const std::string value = text(option->at, option->bytes);
        switch (option->code) {
            case ng_option::kComment: section_.comment = value; break;
            case ng_option::kSectionHardware: section_.hardware = value; break;
            case ng_option::kSectionOs: section_.os = value; break;
            case ng_option::kSectionApplication: section_.application = value; break;
            default: break;
        }
    }
}

Result<> NgReader::read_interface(const Block& block) {
    SLUICE_TRY_VOID(need(block, 8, "an interface description"));
    if (interfaces_.size() == kInterfacesMax)
        return fail(EINVAL, "{}: byte {}: more than {} interfaces", name_, block.at,
                    kInterfacesMax);
    NgReadInterface interface;
    interface.linktype = static_cast<Linktype>(half(block.at + 8));
    interface.snaplen = word(block.at + 12);
    std::size_t at = block.at + 16;
    for (;;) {
        SLUICE_TRY(const std::optional<Option> option, option_at(block, at));
        if (!option) break;
        const std::size_t n = option->bytes;
        switch (option->code) {
            case ng_option::kInterfaceName: interface.name = text(option->at, n); break;
            case ng_option::kInterfaceDescription:
                interface.description = text(option->at, n);
                break;
            case ng_option::kInterfaceFilter:
                if (n > 1 && bytes_[option->at] == std::byte{0})
                    interface.filter = text(option->at + 1, n - 1);
                break;
            case ng_option::kInterfaceSpeed:
                if (n == 8) interface.speed_bps = wide(option->at);
                break;
            case ng_option::kInterfaceResolution:
                if (n == 1)
                    interface.resolution = std::to_integer<std::uint8_t>(bytes_[option->at]);
                break;
            case ng_option::kInterfaceOffset:
                if (n == 8) interface.offset_s = static_cast<std::int64_t>(wide(option->at));
                break;
            default: break;
        }
    }
    interfaces_.push_back(std::move(interface));
    return {};
}

Result<> NgReader::read_statistics(const Block& block) {
    SLUICE_TRY_VOID(need(block, 12, "an interface statistics block"));
    NgStats stats;
    stats.interface_id = word(block.at + 8);
    if (stats.interface_id >= interfaces_.size())
        return fail(EINVAL, "{}: byte {}: statistics of interface {}, but {} are described", name_,
                    block.at + 8, stats.interface_id, interfaces_.size());
    const NgReadInterface& interface = interfaces_[stats.interface_id];
    const auto time = [&](std::size_t where) {
        return ns_of(stamp(where), interface.resolution, interface.offset_s);
    };
    stats.wall_ns = time(block.at + 12);
    std::size_t at = block.at + 20;
    for (;;) {
        SLUICE_TRY(const std::optional<Option> option, option_at(block, at));
        if (!option) break;
        if (option->code == ng_option::kComment) stats.comment = text(option->at, option->bytes);
        if (option->bytes != 8) continue;
        switch (option->code) {
            case ng_option::kStatsStart: stats.start_ns = time(option->at); break;
            case ng_option::kStatsEnd: stats.end_ns = time(option->at); break;
            case ng_option::kStatsReceived: stats.received = wide(option->at); break;
            case ng_option::kStatsInterfaceDrop: stats.if_drop = wide(option->at); break;
            case ng_option::kStatsFilterAccept: stats.filter_accept = wide(option->at); break;
            case ng_option::kStatsOsDrop: stats.os_drop = wide(option->at); break;
            case ng_option::kStatsDelivered: stats.delivered = wide(option->at); break;
            default: break;
        }
    }
    statistics_.push_back(std::move(stats));
    return {};
}

Result<NgRecord> NgReader::packet(const Block& block, const PacketFields& f) const {
    if (f.interface_id >= interfaces_.size())
        return fail(EINVAL, "{}: byte {}: a packet of interface {}, but {} are described", name_,
                    block.at, f.interface_id, interfaces_.size());
    if (f.captured > kCapturedMax || f.captured > block.end() - f.data_at)
        return fail(EINVAL, "{}: byte {}: a packet of {} bytes in a block with room for {}", name_,
                    block.at, f.captured, block.end() - f.data_at);
    const NgReadInterface& interface = interfaces_[f.interface_id];
    NgRecord record;
    record.interface_id = f.interface_id;
    record.linktype = interface.linktype;
    record.record.original = f.original;
    record.record.data = bytes_.subspan(f.data_at, f.captured);
    if (f.stamp_at)
        record.record.wall_ns = ns_of(stamp(*f.stamp_at), interface.resolution,
                                      interface.offset_s);
    if (!f.has_options) return record;
    // The padded packet fits too: both ends are multiples of 4.
    std::size_t at = f.data_at + (std::size_t{f.captured} + 3) / 4 * 4;
    for (;;) {
        SLUICE_TRY(const std::optional<Option> option, option_at(block, at));
        if (!option) return record;
        if (option->code == ng_option::kPacketFlags && option->bytes == kEpbFlagsBytes)
            record.flags = word(option->at);
        if (option->code == ng_option::kPacketDropCount && option->bytes == 8)
            record.drop_count = wide(option->at);
    }
}

Result<NgRecord> NgReader::read_enhanced(const Block& block) const {
    SLUICE_TRY_VOID(need(block, 20, "an enhanced packet block"));
    PacketFields f;
    f.interface_id = word(block.at + 8);
    f.stamp_at = block.at + 12;
    f.captured = word(block.at + 20);
    f.original = word(block.at + 24);
    f.data_at = block.at + kEpbHeadBytes;
    return packet(block, f);
}

Result<NgRecord> NgReader::read_obsolete(const Block& block) const {
    SLUICE_TRY_VOID(need(block, 20, "a packet block"));
    PacketFields f;
    f.interface_id = half(block.at + 8);  // and 16 bits of drops, ffff if not known
    f.stamp_at = block.at + 12;
    f.captured = word(block.at + 20);
    f.original = word(block.at + 24);
    f.data_at = block.at + 28;
    SLUICE_TRY(NgRecord record, packet(block, f));
    record.drop_count.reset();
    if (const std::uint16_t drops = half(block.at + 10); drops != 0xffff)
        record.drop_count = drops;
    return record;
}

Result<NgRecord> NgReader::read_simple(const Block& block) const {
    SLUICE_TRY_VOID(need(block, 4, "a simple packet block"));
    PacketFields f;
    f.original = word(block.at + 8);
    f.captured = f.original;
    if (!interfaces_.empty() && interfaces_[0].snaplen != 0)
        f.captured = std::min(f.captured, interfaces_[0].snaplen);
    f.data_at = block.at + 12;
    f.has_options = false;
    return packet(block, f);
}

Result<std::optional<NgRecord>> NgReader::next() {
    while (offset_ < bytes_.size()) {
        SLUICE_TRY(const Block block, block_at(offset_));
        std::optional<Result<NgRecord>> record;
        switch (block.type) {
            case kNgSectionHeader: SLUICE_TRY_VOID(read_section(block)); break;
            case kNgInterfaceDescription: SLUICE_TRY_VOID(read_interface(block)); break;
            case kNgInterfaceStatistics: SLUICE_TRY_VOID(read_statistics(block)); break;
            case kNgEnhancedPacket: record = read_enhanced(block); break;
            case kNgObsoletePacket: record = read_obsolete(block); break;
            case kNgSimplePacket: record = read_simple(block); break;
            default: break;  // unknown blocks are to be skipped
        }
        if (record && !*record) return fail(std::move(record->error()));
        offset_ += block.bytes;
        if (record) return **record;
    }
    return std::nullopt;
}

}  // namespace sluice::pcap
